/* Many VMs; see runs.h. */
#include "commands/runs.h"

#include <inttypes.h>
#include <string.h>

#include "commands/human.h"
#include "commands/options.h"
#include "job/find.h"
#include "job/moved.h"
#include "job/options.h"
#include "job/order.h"
#include "job/replicate.h"
#include "table.h"

void runs_free(struct runs *runs)
{
    for (size_t i = 0; i < runs->count; i++)
        json_object_put(runs->list[i].result);
    free(runs->list);
    *runs = (struct runs){ 0 };
}

/* One whose replica has taken over is the source no more. */
static bool is_replicated(const struct store_vm *vm)
{
    return strcmp(vm->state, "failed_over_live") != 0 && strcmp(vm->state, "committed") != 0;
}

static int choose_known(struct store *store, const char *source, struct runs *runs,
                        struct error **err)
{
    CLEANUP_FREE struct store_vm *vms = NULL;
    size_t count;

    if (store_vms(store, &vms, &count, err) < 0)
        return -1;
    runs->list = calloc(count ? count : 1, sizeof *runs->list);
    if (!runs->list)
        return error_set_errno(err, ENOMEM, "choosing VMs");
    for (size_t i = 0; i < count; i++) {
        if (is_replicated(&vms[i]) && (!source || strcmp(vms[i].source, source) == 0))
            runs->list[runs->count++].vm = vms[i];
    }
    return 0;
}

static bool is_chosen(const struct runs *runs, int64_t vm_id)
{
    for (size_t i = 0; i < runs->count; i++) {
        if (runs->list[i].vm.id == vm_id)
            return true;
    }
    return false;
}

static int choose_named(struct store *store, const char *state_dir, char *const *names, int count,
                        struct runs *runs, struct error **err)
{
    runs->list = calloc((size_t)count, sizeof *runs->list);
    if (!runs->list)
        return error_set_errno(err, ENOMEM, "choosing VMs");
    for (int i = 0; i < count; i++) {
        struct store_vm vm;

        if (job_find_vm(store, state_dir, names[i], NULL, &vm, err) < 0 ||
            moved_refuse(store, vm.id, 0, err) < 0)
            return -1;
        if (!is_chosen(runs, vm.id))
            runs->list[runs->count++].vm = vm;
    }
    return 0;
}

static int last_point(struct store *store, int64_t vm_id, int64_t *last_ms, struct error **err)
{
    CLEANUP_ERROR struct error *none = NULL;
    struct store_point point;

    *last_ms = 0;
    if (store_point_find(store, vm_id, 0, &point, &none) < 0)
        return none->errnum == ENOENT ? 0 : error_move(err, &none);
    *last_ms = point.completed_ms;
    return 0;
}

static int sort(struct store *store, struct runs *runs, struct error **err)
{
    CLEANUP_FREE struct order_item *items = calloc(runs->count + 1, sizeof *items);
    CLEANUP_FREE size_t *order = calloc(runs->count + 1, sizeof *order);
    struct run *sorted = calloc(runs->count + 1, sizeof *sorted);

    if (!items || !order || !sorted) {
        free(sorted);
        return error_set_errno(err, ENOMEM, "choosing VMs");
    }
    for (size_t i = 0; i < runs->count; i++) {
        items[i].source = runs->list[i].vm.source_id;
        if (last_point(store, runs->list[i].vm.id, &items[i].last_ms, err) < 0) {
            free(sorted);
            return -1;
        }
    }
    if (order_fair(items, runs->count, order) < 0) {
        free(sorted);
        return error_set_errno(err, ENOMEM, "choosing VMs");
    }
    for (size_t i = 0; i < runs->count; i++)
        sorted[i] = runs->list[order[i]];
    free(runs->list);
    runs->list = sorted;
    return 0;
}

int runs_choose(struct store *store, const char *state_dir, char *const *names, int name_count,
                const char *source, struct runs *runs, struct error **err)
{
    if ((name_count ? choose_named(store, state_dir, names, name_count, runs, err)
                    : choose_known(store, source, runs, err)) < 0)
        return -1;
    if (runs->count == 0)
        return error_set(err, "no VM of %s%s is known: `vmferry source refresh` looks for them",
                         source ? "source " : "any source", source ? source : "");
    return sort(store, runs, err);
}

static int create(struct store *store, struct run *run, const char *options, int64_t rate,
                  struct error **err)
{
    struct store_job job = { .vm_id = run->vm.id, .rate = rate };
    CLEANUP_ERROR struct error *refused = NULL;

    if (replicate_check_pool(store, &run->vm, options, &refused) < 0) {
        run->state = RUN_FAILED;
        snprintf(run->reason, sizeof run->reason, "%s", error_message(refused));
        return 0;
    }

    strcpy(job.type, JOB_REPLICATION);
    strcpy(job.sync_type, "incremental");
    if (job_options_merge("", options, job.options, sizeof job.options, err) < 0 ||
        store_job_create(store, &job, err) < 0)
        return -1;
    run->job_id = job.id;
    return 0;
}

/* It has been begun, or queued, before. */
static int take_on(struct store *store, struct run *run, const struct store_job *job,
                   const char *options, int64_t rate, struct error **err)
{
    char merged[STORE_TEXT];

    run->job_id = job->id;
    if (job_options_merge(job->options, options, merged, sizeof merged, err) < 0)
        return -1;
    if (strcmp(merged, job->options) != 0 && store_job_set_options(store, job->id, merged, err) < 0)
        return -1;
    return rate < 0 ? 0 : store_job_set_rate(store, job->id, rate, err);
}

static void leave(struct run *run, const struct store_job *job)
{
    char owner[OWNER_TEXT];

    run->state = RUN_ELSEWHERE;
    run->job_id = job->id;
    if (strcmp(job->status, "completed") == 0)
        snprintf(run->reason, sizeof run->reason, "another worker replicated it, as job %" PRId64,
                 job->id);
    else
        snprintf(run->reason, sizeof run->reason, "%s replicates it, as job %" PRId64,
                 owner_text(job, owner), job->id);
}

void runs_leave(struct store *store, struct run *run)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    struct store_job job;
    int64_t now_ms;

    if (run->errnum == EBUSY && run->job_id && store_clock_ms(store, &now_ms, &ignored) == 0 &&
        store_job_get(store, run->job_id, &job, &ignored) == 0 &&
        strcmp(job.type, JOB_REPLICATION) == 0 &&
        (claim_is_alive(&job, now_ms) || strcmp(job.status, "completed") == 0))
        leave(run, &job);
}

/* What the operator has paused stays so, unless they name the VM. */
static bool is_held(const struct store_job *job)
{
    return strcmp(job->status, "paused") == 0 && strcmp(job->paused_by, "operator") == 0;
}

static int queue(struct store *store, struct run *run, const char *options, int64_t rate,
                 int64_t now_ms, bool named, struct error **err)
{
    struct store_job job;
    bool found;

    if (store_job_open(store, run->vm.id, &found, &job, err) < 0)
        return -1;
    if (!found)
        return create(store, run, options, rate, err);
    if (!named && is_held(&job)) {
        run->state = RUN_PAUSED;
        run->job_id = job.id;
        snprintf(run->reason, sizeof run->reason,
                 "the operator has paused job %" PRId64 " (%s): left alone, `vmferry job resume "
                 "%" PRId64 "` goes on with it",
                 job.id, strcmp(job.type, JOB_REPLICATION) == 0 ? "replication" : job.type, job.id);
        return 0;
    }
    if (strcmp(job.type, JOB_REPLICATION) != 0)
        return 0; /* whoever is to run it finds out whether that is still in the way */
    if (!claim_is_alive(&job, now_ms))
        return take_on(store, run, &job, options, rate, err);
    leave(run, &job);
    return 0;
}

int runs_queue(struct store *store, struct runs *runs, const char *options, int64_t rate,
               bool named, struct error **err)
{
    int64_t now_ms;

    if (store_clock_ms(store, &now_ms, err) < 0)
        return -1;
    for (size_t i = 0; i < runs->count; i++) {
        CLEANUP_ERROR struct error *problem = NULL;

        if (queue(store, &runs->list[i], options, rate, now_ms, named, &problem) == 0)
            continue;
        if (problem->errnum != EEXIST)
            return error_move(err, &problem);
        i--; /* somebody was faster: look again */
    }
    return 0;
}

void runs_lay_down(struct store *store, struct runs *runs)
{
    for (size_t i = 0; i < runs->count; i++) {
        CLEANUP_ERROR struct error *ignored = NULL;
        struct run *run = &runs->list[i];

        if (run->state != RUN_QUEUED)
            continue;
        run->state = RUN_PAUSED;
        strcpy(run->reason, "stopped before it was begun");
        if (run->job_id)
            store_job_waits_no_more(store, run->job_id, run->reason, &ignored);
    }
}

static const char *state_name(const struct run *run)
{
    static const char *const names[] = {
        [RUN_QUEUED] = "queued", [RUN_RUNS] = "running",  [RUN_DONE] = "completed",
        [RUN_PAUSED] = "paused", [RUN_FAILED] = "failed", [RUN_ELSEWHERE] = "elsewhere"
    };
    json_object *up_to_date;

    if (run->state == RUN_DONE &&
        json_object_object_get_ex(run->result, "up_to_date", &up_to_date) &&
        json_object_get_boolean(up_to_date))
        return "up to date";
    return names[run->state];
}

static int64_t moved(const struct run *run)
{
    json_object *disks, *bytes;
    int64_t sum = 0;

    if (!json_object_object_get_ex(run->result, "disks", &disks))
        return 0;
    for (size_t i = 0; i < json_object_array_length(disks); i++) {
        if (json_object_object_get_ex(json_object_array_get_idx(disks, i), "bytes", &bytes))
            sum += json_object_get_int64(bytes);
    }
    return sum;
}

static void print_table(const struct runs *runs)
{
    CLEANUP_TABLE struct table table =
        TABLE("VM", "SOURCE", "RESULT", ">POINT", ">MOVED", ">SECONDS", "WHY");
    char bytes[HUMAN_MAX];

    for (size_t i = 0; i < runs->count; i++) {
        const struct run *run = &runs->list[i];
        json_object *point;

        table_cell(&table, "%s", run->vm.name);
        table_cell(&table, "%s", run->vm.source);
        table_cell(&table, "%s", state_name(run));
        if (json_object_object_get_ex(run->result, "point", &point))
            table_cell(&table, "%d", json_object_get_int(point));
        else
            table_cell(&table, "-");
        table_cell(&table, "%s", run->result ? human_bytes(bytes, (uint64_t)moved(run)) : "-");
        table_cell(&table, "%.1f", run->seconds);
        table_cell(&table, "%s", run->reason);
    }
    table_print(&table, stdout);
}

static json_object *run_to_json(const struct run *run)
{
    json_object *object = json_object_new_object();

    json_object_object_add(object, "vm", json_object_new_string(run->vm.name));
    json_object_object_add(object, "uuid", json_object_new_string(run->vm.uuid));
    json_object_object_add(object, "source", json_object_new_string(run->vm.source));
    json_object_object_add(object, "status", json_object_new_string(state_name(run)));
    json_object_object_add(object, "job", run->job_id ? json_object_new_int64(run->job_id) : NULL);
    json_object_object_add(object, "reason",
                           run->reason[0] ? json_object_new_string(run->reason) : NULL);
    json_object_object_add(object, "seconds", json_object_new_double(run->seconds));
    json_object_object_add(object, "result", json_object_get(run->result));
    return object;
}

int runs_print(const struct runs *runs, double seconds, bool json, struct error **err)
{
    json_object *object, *vms;

    if (!json) {
        print_table(runs);
        return fflush(stdout) == 0 ? 0 : error_set_errno(err, errno, "writing the result");
    }
    object = json_object_new_object();
    vms = json_object_new_array();
    for (size_t i = 0; i < runs->count; i++)
        json_object_array_add(vms, run_to_json(&runs->list[i]));
    json_object_object_add(object, "vms", vms);
    json_object_object_add(object, "seconds", json_object_new_double(seconds));
    return print_json(object, err);
}

int runs_verdict(const struct runs *runs, struct error **err)
{
    size_t failed = 0, paused = 0;

    for (size_t i = 0; i < runs->count; i++) {
        failed += runs->list[i].state == RUN_FAILED;
        paused += runs->list[i].state == RUN_PAUSED;
    }
    if (failed)
        return error_set(err, "%zu of %zu VMs failed%s: the table says why", failed, runs->count,
                         paused ? ", others are paused" : "");
    return paused
               ? error_set_kind(err, ERROR_PAUSED, "%zu of %zu VMs are paused", paused, runs->count)
               : 0;
}
