/* vmferry verify --all: the scrub. Every point in turn, the newest first, at a gentle rate. What
 * was verified is written down at once, so that a run that is stopped goes on where it was; what
 * is known to be damaged is always looked at again. */
#include <inttypes.h>
#include <json.h>
#include <string.h>

#include "commands/human.h"
#include "commands/verify.h"
#include "commands/watch.h"

struct scrub_point {
    const struct store_vm *vm;
    struct store_point point;
};

struct scrub {
    struct context *context;
    const struct verify_arguments *arguments;
    struct store_vm *vms;
    size_t vm_count;
    struct scrub_point *points;
    size_t count;
    json_object *array;
    size_t damaged, skipped;
};

static void scrub_free(struct scrub *scrub)
{
    free(scrub->vms);
    free(scrub->points);
    json_object_put(scrub->array);
}

static bool is_due(const struct scrub *scrub, const struct store_point *point)
{
    int64_t age_ms = (int64_t)scrub->arguments->age * 1000;

    return point->verify_error[0] || !point->verified_ms || !scrub->arguments->age_given ||
           store_now_ms() - point->verified_ms >= age_ms;
}

static int newest_first(const void *a, const void *b)
{
    int64_t left = ((const struct scrub_point *)a)->point.created_ms;
    int64_t right = ((const struct scrub_point *)b)->point.created_ms;

    return left < right ? 1 : left > right ? -1 : 0;
}

static int add_points(struct scrub *scrub, const struct store_vm *vm, struct error **err)
{
    CLEANUP_FREE struct store_point *points = NULL;
    struct scrub_point *bigger;
    size_t count;

    if (store_points(scrub->context->store, vm->id, &points, &count, err) < 0)
        return -1;
    bigger = reallocarray(scrub->points, scrub->count + count + 1, sizeof *bigger);
    if (!bigger)
        return error_set_errno(err, ENOMEM, "verifying");
    scrub->points = bigger;
    for (size_t i = 0; i < count; i++) {
        if (is_due(scrub, &points[i]))
            scrub->points[scrub->count++] = (struct scrub_point){ vm, points[i] };
    }
    return 0;
}

static int gather(struct scrub *scrub, struct error **err)
{
    if (scrub->arguments->vm) {
        scrub->vms = calloc(1, sizeof *scrub->vms);
        if (!scrub->vms)
            return error_set_errno(err, ENOMEM, "verifying");
        scrub->vm_count = 1;
        if (store_vm_find(scrub->context->store, scrub->arguments->vm, scrub->vms, err) < 0)
            return -1;
    } else if (store_vms(scrub->context->store, &scrub->vms, &scrub->vm_count, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < scrub->vm_count; i++) {
        if (add_points(scrub, &scrub->vms[i], err) < 0)
            return -1;
    }
    if (scrub->count)
        qsort(scrub->points, scrub->count, sizeof *scrub->points, newest_first);
    return 0;
}

/* "app01 point 3: ok, 40.0 MiB" */
static void tell(struct scrub *scrub, const struct scrub_point *what, const char *outcome,
                 const char *detail)
{
    json_object *object = json_object_new_object();

    json_object_object_add(object, "vm", json_object_new_string(what->vm->name));
    json_object_object_add(object, "point", json_object_new_int64(what->point.number));
    json_object_object_add(object, "outcome", json_object_new_string(outcome));
    json_object_object_add(object, "detail", json_object_new_string(detail));
    json_object_array_add(scrub->array, object);
    if (scrub->arguments->common.json)
        return;
    printf("%s point %u: %s%s%s\n", what->vm->name, what->point.number, outcome,
           detail[0] ? ", " : "", detail);
    fflush(stdout);
}

static void tell_damage(struct scrub *scrub, const struct scrub_point *what,
                        const struct verification *v)
{
    char text[1024] = "", one[256];
    size_t used = 0;

    for (size_t i = 0; i < v->point.count && used < sizeof text; i++) {
        check_describe(&v->replica[i], one, sizeof one);
        if (one[0])
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? "; " : "", one);
    }
    scrub->damaged++;
    tell(scrub, what, "DAMAGED", text);
}

static uint64_t bytes_of(const struct replica_point *point)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < point->count; i++)
        sum += point->disks[i].capacity;
    return sum;
}

/* Deleted since this run began. */
static bool is_gone(struct scrub *scrub, const struct scrub_point *what)
{
    CLEANUP_ERROR struct error *none = NULL;
    struct store_point point;

    return store_point_find(scrub->context->store, what->vm->id, what->point.number, &point,
                            &none) < 0 &&
           none->errnum == ENOENT;
}

/* An error only when it is to end here; what is wrong with one point is told. */
static int scrub_one(struct scrub *scrub, const struct scrub_point *what, struct bar *bar,
                     struct error **err)
{
    CLEANUP(verification_free) struct verification v = VERIFICATION_INIT;
    CLEANUP_ERROR struct error *problem = NULL;
    char bytes[HUMAN_MAX];

    v.context = scrub->context;
    v.vm = *what->vm;
    v.rate =
        scrub->arguments->rate_given ? scrub->arguments->rate : scrub->context->config.scrub_rate;
    if (verification_load(&v, what->point.number, &problem) < 0) {
        bool later = problem->errnum == EAGAIN || is_gone(scrub, what);

        *(later ? &scrub->skipped : &scrub->damaged) += 1;
        tell(scrub, what, later ? "skipped" : "UNREADABLE", error_message(problem));
        return 0;
    }
    if (verification_read(&v, bar, &problem) < 0) {
        if (problem->kind == ERROR_PAUSED)
            return error_move(err, &problem);
        scrub->damaged++;
        tell(scrub, what, "DAMAGED", error_message(problem));
        return 0;
    }
    if (v.passed)
        tell(scrub, what, "ok", human_bytes(bytes, bytes_of(&v.point)));
    else
        tell_damage(scrub, what, &v);
    return 0;
}

int verify_all(struct context *context, const struct verify_arguments *arguments,
               struct error **err)
{
    CLEANUP(scrub_free)
    struct scrub scrub = { .context = context,
                           .arguments = arguments,
                           .array = json_object_new_array() };

    if (gather(&scrub, err) < 0)
        return -1;
    for (size_t i = 0; i < scrub.count; i++) {
        CLEANUP_BAR struct bar *bar = bar_open(stderr, arguments->style);

        if (scrub_one(&scrub, &scrub.points[i], bar, err) < 0)
            return -1;
    }
    if (arguments->common.json) {
        if (print_json(steal_ptr(scrub.array), err) < 0)
            return -1;
    } else {
        printf("%zu restore point%s verified%s\n", scrub.count - scrub.skipped,
               scrub.count - scrub.skipped == 1 ? "" : "s",
               scrub.damaged ? "" : ", nothing is damaged");
    }
    return scrub.damaged ? error_set(err, "%zu of %zu restore point%s damaged, or can't be read",
                                     scrub.damaged, scrub.count, scrub.count == 1 ? " is" : "s are")
                         : 0;
}
