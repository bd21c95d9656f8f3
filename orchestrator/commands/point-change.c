/* vmferry point delete, pin, unpin, keep and prune. */
#include <json.h>
#include <string.h>

#include "commands/options.h"
#include "commands/point.h"
#include "commands/watch.h"
#include "job/prune.h"
#include "job/retire.h"
#include "log/log.h"
#include "table.h"

static int print_outcome(const struct store_vm *vm, unsigned number, const char *key,
                         json_object *value, struct error **err)
{
    json_object *object = json_object_new_object();

    json_object_object_add(object, "vm", json_object_new_string(vm->name));
    json_object_object_add(object, "point", json_object_new_int64(number));
    json_object_object_add(object, key, value);
    return print_json(object, err);
}

int point_delete(struct context *context, const struct store_vm *vm, unsigned number, bool newest,
                 bool json, struct error **err)
{
    const struct retire_options options = { .newest = newest, .cancel = cancel_on_signals() };

    if (job_retire(context->store, context->state_dir, vm, number, &options, err) < 0)
        return -1;
    if (json)
        return print_outcome(vm, number, "deleted", json_object_new_boolean(true), err);
    printf("%s: restore point %u is deleted\n", vm->name, number);
    return 0;
}

struct pinning {
    const struct store_vm *vm;
    unsigned number;
    bool pinned;
    struct store_point point; /* out */
};

static int pin(struct store *store, void *opaque, struct error **err)
{
    static const char *const words[] = { "not pinned", "pinned" };
    struct pinning *p = opaque;
    char subject[64];

    if (store_point_find(store, p->vm->id, p->number, &p->point, err) < 0 ||
        store_point_set_pinned(store, p->point.id, p->pinned, err) < 0)
        return -1;
    snprintf(subject, sizeof subject, "restore point %u", p->point.number);
    return store_audit_vm(store, p->vm->id, p->pinned ? "point pin" : "point unpin", subject,
                          words[p->point.pinned], words[p->pinned], err);
}

int point_pin(struct context *context, const struct store_vm *vm, unsigned number, bool pinned,
              bool json, struct error **err)
{
    struct pinning pinning = { .vm = vm, .number = number, .pinned = pinned };

    if (store_transaction(context->store, pin, &pinning, err) < 0)
        return -1;
    if (json)
        return print_outcome(vm, pinning.point.number, "pinned", json_object_new_boolean(pinned),
                             err);
    printf("%s: restore point %u is %s\n", vm->name, pinning.point.number,
           pinned ? "pinned: it stays whatever the retention rules say" : "not pinned any more");
    return 0;
}

int point_delete_all(struct context *context, const struct store_vm *vm, bool lost_pool, bool json,
                     struct error **err)
{
    if (job_retire_all(context->store, context->state_dir, vm, lost_pool, cancel_on_signals(),
                       err) < 0)
        return -1;
    if (json)
        return print_done("vm", vm->name, "deleted", err);
    printf("%s has no replica any more\n", vm->name);
    return 0;
}

struct keeping {
    const struct store_vm *vm;
    const char *keep;
};

static int write_keep(struct store *store, void *opaque, struct error **err)
{
    const struct keeping *k = opaque;
    char before[STORE_NAME];

    if (store_vm_keep(store, k->vm->id, before, err) < 0 ||
        store_vm_set_keep(store, k->vm->id, k->keep, err) < 0)
        return -1;
    return store_audit_vm(store, k->vm->id, "point keep", NULL, before[0] ? before : "default",
                          k->keep[0] ? k->keep : "default", err);
}

static int set_keep(struct context *context, const struct store_vm *vm, const char *keep,
                    struct error **err)
{
    struct keeping keeping = { .vm = vm };
    struct retention rules;

    keep += strspn(keep, " \t");
    if (strcmp(keep, "default") == 0)
        keep = "";
    keeping.keep = keep;
    if (retention_parse(keep, &rules, err) < 0)
        return -1;
    return store_transaction(context->store, write_keep, &keeping, err);
}

int point_keep(struct context *context, const struct store_vm *vm, const char *keep, bool json,
               struct error **err)
{
    const struct prune_options options = { .keep = context->config.keep, .dry_run = true };
    CLEANUP_PRUNE struct prune_result result = { 0 };
    json_object *object;

    if ((keep && set_keep(context, vm, keep, err) < 0) ||
        job_prune(context->store, context->state_dir, vm, &options, &result, err) < 0)
        return -1;
    if (!json) {
        printf("%s: keep %s (%s)\n", vm->name, result.keep,
               result.own                ? "its own rules"
               : context->config.keep[0] ? "of vmferry.conf"
                                         : "there are no rules");
        return 0;
    }
    object = json_object_new_object();
    json_object_object_add(object, "vm", json_object_new_string(vm->name));
    json_object_object_add(object, "keep", json_object_new_string(result.keep));
    json_object_object_add(object, "own", json_object_new_boolean(result.own));
    return print_json(object, err);
}

static const char *outcome_text(enum prune_outcome outcome)
{
    switch (outcome) {
    case PRUNE_GOES:
        return "goes";
    case PRUNE_DELETED:
        return "deleted";
    case PRUNE_WAITS:
        return "waits";
    case PRUNE_STAYS:
        break;
    }
    return "stays";
}

struct pruning {
    struct table table;
    json_object *array;
};

static void pruning_free(struct pruning *pruning)
{
    table_free(&pruning->table);
    json_object_put(pruning->array);
}

static void add_point(struct pruning *pruning, json_object *points, const struct store_vm *vm,
                      const struct prune_result *result, size_t i)
{
    const struct prune_point *point = &result->points[i];
    json_object *object = json_object_new_object();
    char why[PRUNE_WHY], time[TIME_TEXT];

    prune_why(result, i, why);
    json_object_object_add(object, "point", json_object_new_int64(point->point.number));
    json_object_object_add(object, "created_ms", json_object_new_int64(point->point.created_ms));
    json_object_object_add(object, "outcome", json_object_new_string(outcome_text(point->outcome)));
    json_object_object_add(object, "why",
                           json_object_new_string(point->reason[0] ? point->reason : why));
    json_object_array_add(points, object);
    table_cell(&pruning->table, "%s", vm->name);
    table_cell(&pruning->table, "%u", point->point.number);
    table_cell(&pruning->table, "%s", time_text(time, point->point.created_ms));
    table_cell(&pruning->table, "%s", outcome_text(point->outcome));
    table_cell(&pruning->table, "%s", point->reason[0] ? point->reason : why);
}

static int prune_one(struct context *context, const struct store_vm *vm, bool dry_run,
                     struct pruning *pruning, struct error **err)
{
    const struct prune_options options = { .keep = context->config.keep,
                                           .dry_run = dry_run,
                                           .cancel = dry_run ? NULL : cancel_on_signals() };
    CLEANUP_PRUNE struct prune_result result = { 0 };
    json_object *object = json_object_new_object();
    json_object *points = json_object_new_array();
    int r = job_prune(context->store, context->state_dir, vm, &options, &result, err);

    for (size_t i = 0; i < result.count; i++)
        add_point(pruning, points, vm, &result, i);
    json_object_object_add(object, "vm", json_object_new_string(vm->name));
    json_object_object_add(object, "keep", json_object_new_string(result.keep));
    json_object_object_add(object, "deleted", json_object_new_int64((int64_t)result.deleted));
    json_object_object_add(object, "points", points);
    if (r < 0)
        json_object_object_add(object, "error", json_object_new_string(error_message(*err)));
    json_object_array_add(pruning->array, object);
    return r;
}

/* One VM's failure does not keep the others from being pruned. */
static int prune_all(struct context *context, bool dry_run, struct pruning *pruning,
                     struct error **err)
{
    CLEANUP_FREE struct store_vm *vms = NULL;
    size_t count, failed = 0, paused = 0;

    if (store_vms(context->store, &vms, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        CLEANUP_ERROR struct error *problem = NULL;

        if (prune_one(context, &vms[i], dry_run, pruning, &problem) == 0)
            continue;
        *(problem->kind == ERROR_PAUSED ? &paused : &failed) += 1;
        log_problem(LEVEL_ERROR, "replica", problem, "%s", vms[i].name);
    }
    if (failed)
        return error_set(err, "%zu of %zu VMs could not be pruned", failed, count);
    return paused ? error_set_kind(err, ERROR_PAUSED, "of %zu VMs, the pruning of %zu is paused",
                                   count, paused)
                  : 0;
}

int point_prune(struct context *context, const struct store_vm *vm, bool dry_run, bool json,
                struct error **err)
{
    CLEANUP(pruning_free)
    struct pruning pruning = { .table = TABLE("VM", ">POINT", "TIME", "OUTCOME", "WHY"),
                               .array = json_object_new_array() };
    CLEANUP_ERROR struct error *unwritten = NULL;
    int r = vm ? prune_one(context, vm, dry_run, &pruning, err)
               : prune_all(context, dry_run, &pruning, err);

    if (!json)
        table_print(&pruning.table, stdout);
    else if (print_json(steal_ptr(pruning.array), r < 0 ? &unwritten : err) < 0)
        return -1;
    return r;
}
