/* vmferry job list, vmferry job show: jobs as the tables have them. */
#include <inttypes.h>
#include <json.h>
#include <string.h>

#include "commands/human.h"
#include "commands/job.h"
#include "job/claim.h"
#include "table.h"

#define RECENT_MS (INT64_C(86400) * 1000)

static void put(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, *text ? json_object_new_string(text) : NULL);
}

static void put_int(json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

/* A time, or a number that is not known: null. */
static void put_known(json_object *object, const char *name, int64_t number, bool known)
{
    json_object_object_add(object, name, known ? json_object_new_int64(number) : NULL);
}

const char *job_state(const struct store_job *job, int64_t now_ms)
{
    return claim_is_dead(job, now_ms) ? "dead" : job->status;
}

static void put_progress(json_object *object, uint64_t done, uint64_t total, double percent,
                         uint64_t throughput, int64_t eta)
{
    char text[32];

    snprintf(text, sizeof text, "%.2f", percent);
    put_int(object, "bytes_done", (int64_t)done);
    put_int(object, "bytes_total", (int64_t)total);
    json_object_object_add(object, "percent", json_object_new_double_s(percent, text));
    put_int(object, "throughput", (int64_t)throughput);
    put_known(object, "eta_seconds", eta, eta >= 0);
}

static json_object *disk_to_json(const struct store_job_disk *disk)
{
    json_object *object = json_object_new_object();
    char id[32];

    snprintf(id, sizeof id, "disk-%d", disk->key);
    put(object, "disk_id", id);
    put_int(object, "unit", disk->unit);
    put(object, "sync_type", disk->sync_type);
    put(object, "current_operation", disk->operation);
    put_progress(object, disk->bytes_done, disk->bytes_total, disk->percent, disk->throughput,
                 disk->eta_seconds);
    return object;
}

static json_object *step_to_json(const struct store_step_row *step)
{
    json_object *object = json_object_new_object();
    char id[32] = "";

    if (step->key >= 0)
        snprintf(id, sizeof id, "disk-%d", step->key);
    put(object, "step", step->step);
    put(object, "disk_id", id);
    put(object, "state", step->state);
    put_int(object, "started_ms", step->started_ms);
    put_known(object, "completed_ms", step->completed_ms, step->completed_ms > 0);
    put(object, "detail", step->detail);
    return object;
}

static json_object *worker_to_json(const struct store_job *job, int64_t now_ms)
{
    json_object *object;

    if (strcmp(job->status, "running") != 0)
        return NULL;
    object = json_object_new_object();
    put(object, "host", job->owner_host);
    put_int(object, "pid", job->owner_pid);
    put_int(object, "expires_ms", job->expires_ms);
    json_object_object_add(object, "alive", json_object_new_boolean(claim_is_alive(job, now_ms)));
    return object;
}

static json_object *snapshots_to_json(const struct store_job *job)
{
    json_object *array = json_object_new_array();
    char names[STORE_NAME], *rest = NULL;

    memcpy(names, job->snapshot, sizeof names);
    for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
        json_object_array_add(array, json_object_new_string(name));
    return array;
}

static json_object *row_to_json(const struct store_job *job, const struct store_vm *vm,
                                int64_t now_ms)
{
    json_object *object = json_object_new_object();

    put_int(object, "job", job->id);
    put(object, "vm", vm->name);
    put(object, "uuid", vm->uuid);
    put(object, "replication_type", job->type);
    put(object, "sync_type", job->sync_type);
    put(object, "status", job->status);
    put(object, "current_operation", job->operation);
    put_progress(object, job->bytes_done, job->bytes_total, job->percent, job->throughput,
                 job->eta_seconds);
    put(object, "error", job->error);
    put(object, "paused_by", job->paused_by);
    put(object, "wanted", job->wanted);
    put_known(object, "rate", job->rate, job->rate >= 0);
    json_object_object_add(object, "options",
                           job->options[0] ? json_tokener_parse(job->options) : NULL);
    json_object_object_add(object, "worker", worker_to_json(job, now_ms));
    put_int(object, "fence", job->fence);
    json_object_object_add(object, "snapshots", snapshots_to_json(job));
    put_int(object, "created_ms", job->created_ms);
    put_known(object, "started_ms", job->started_ms, job->started_ms > 0);
    put_int(object, "updated_ms", job->updated_ms);
    put_known(object, "completed_ms", job->completed_ms, job->completed_ms > 0);
    return object;
}

static int add_steps(struct store *store, int64_t job_id, json_object *array, struct error **err)
{
    CLEANUP_FREE struct store_step_row *steps = NULL;
    size_t count;

    if (store_steps(store, job_id, &steps, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        json_object_array_add(array, step_to_json(&steps[i]));
    return 0;
}

int job_to_json(struct store *store, const struct store_job *job, bool steps, json_object **object,
                struct error **err)
{
    CLEANUP_FREE struct store_job_disk *disks = NULL;
    json_object *disk_array, *step_array;
    struct store_vm vm;
    int64_t now;
    size_t count;

    if (store_vm_get(store, job->vm_id, &vm, err) < 0 || store_clock_ms(store, &now, err) < 0 ||
        store_job_disks(store, job->id, &disks, &count, err) < 0)
        return -1;
    *object = row_to_json(job, &vm, now);
    disk_array = json_object_new_array();
    for (size_t i = 0; i < count; i++)
        json_object_array_add(disk_array, disk_to_json(&disks[i]));
    json_object_object_add(*object, "disks", disk_array);
    if (!steps)
        return 0;
    step_array = json_object_new_array();
    json_object_object_add(*object, "steps", step_array);
    if (add_steps(store, job->id, step_array, err) == 0)
        return 0;
    json_object_put(*object);
    return -1;
}

int job_outcome(const struct store_job *job, struct error **err)
{
    if (strcmp(job->status, "completed") == 0)
        return 0;
    if (strcmp(job->status, "paused") == 0)
        return error_set_kind(err, ERROR_PAUSED, "job %" PRId64 " is paused: %s", job->id,
                              job->error);
    return error_set(err, "job %" PRId64 " has %s: %s", job->id,
                     strcmp(job->status, "cancelled") == 0 ? "been cancelled" : job->status,
                     job->error);
}

struct list_arguments {
    struct common_options common;
    const char *vm;
    bool all;
};

static int parse_list(int argc, char *argv[], struct list_arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "vm", required_argument, NULL, 'v' },
                                             { "all", no_argument, NULL, 'a' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'v')
            arguments->vm = optarg;
        else if (c == 'a')
            arguments->all = true;
        else if (common_option(c, argv, &arguments->common, err) < 0)
            return -1;
    }
    return 0;
}

/* Cut, not rounded: 100 is what has ended. */
static void put_percent(struct table *table, double percent)
{
    table_cell(table, "%d.%d%%", (int)percent, (int)(percent * 10) % 10);
}

static int add_row(struct store *store, struct table *table, const struct store_job *job,
                   int64_t now_ms, struct error **err)
{
    char bytes[HUMAN_MAX], rate[HUMAN_MAX], eta[HUMAN_MAX], time[TIME_TEXT];
    bool runs = strcmp(job->status, "running") == 0;
    struct store_vm vm;

    if (store_vm_get(store, job->vm_id, &vm, err) < 0)
        return -1;
    table_cell(table, "%" PRId64, job->id);
    table_cell(table, "%s", vm.name);
    table_cell(table, "%s", job->type);
    table_cell(table, "%s", job->sync_type);
    table_cell(table, "%s", job_state(job, now_ms));
    put_percent(table, job->percent);
    table_cell(table, "%s", human_bytes(bytes, job->bytes_done));
    table_cell(table, runs ? "%s/s" : "%s", runs ? human_bytes(rate, job->throughput) : "");
    table_cell(table, "%s",
               runs && job->eta_seconds >= 0 ? human_seconds(eta, job->eta_seconds) : "");
    table_cell(table, "%s", time_text(time, job->created_ms));
    table_cell(table, "%.80s", job->operation);
    return 0;
}

static bool is_listed(const struct store_job *job, const struct list_arguments *arguments,
                      int64_t now_ms)
{
    return arguments->all || store_job_is_open(job) || job->completed_ms > now_ms - RECENT_MS;
}

static int list(struct store *store, const struct list_arguments *arguments, int64_t vm_id,
                struct error **err)
{
    CLEANUP_TABLE struct table table = TABLE(">JOB", "VM", "TYPE", "SYNC", "STATUS", ">DONE",
                                             ">MOVED", "?>RATE", "?>ETA", "BEGAN", "OPERATION");
    CLEANUP_FREE struct store_job *jobs = NULL;
    json_object *array;
    int64_t now;
    size_t count;

    if (store_jobs(store, vm_id, 0, &jobs, &count, err) < 0 || store_clock_ms(store, &now, err) < 0)
        return -1;
    array = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        json_object *object = NULL;

        if (!is_listed(&jobs[i], arguments, now))
            continue;
        if (add_row(store, &table, &jobs[i], now, err) < 0 ||
            job_to_json(store, &jobs[i], false, &object, err) < 0) {
            json_object_put(array);
            return -1;
        }
        json_object_array_add(array, object);
    }
    if (arguments->common.json)
        return print_json(array, err);
    json_object_put(array);
    table_print(&table, stdout);
    return 0;
}

int job_list(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct list_arguments arguments = { 0 };
    struct store_vm vm = { 0 };

    if (parse_list(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(job_help);
    if (expect_arguments(argc, 0, "vmferry job list [--vm=VM] [--all] [--json]", err) < 0 ||
        context_open(arguments.common.state, &context, err) < 0 ||
        (arguments.vm && store_vm_find(context.store, arguments.vm, &vm, err) < 0))
        return -1;
    return list(context.store, &arguments, vm.id, err);
}

static void print_line(const char *name, const char *text)
{
    if (*text)
        printf("%-10s %s\n", name, text);
}

static void print_head(const struct store_job *job, const struct store_vm *vm, int64_t now_ms)
{
    char owner[OWNER_TEXT], time[TIME_TEXT], bytes[HUMAN_MAX];

    printf("%-10s %" PRId64 "\n", "job", job->id);
    printf("%-10s %s (%s)\n", "vm", vm->name, vm->uuid);
    printf("%-10s %s, %s\n", "type", job->type, job->sync_type);
    print_line("status", job_state(job, now_ms));
    print_line("operation", job->operation);
    print_line("error", job->error);
    print_line("paused by", job->paused_by);
    print_line("asked to", job->wanted);
    if (strcmp(job->status, "running") == 0)
        print_line("worker", owner_text(job, owner));
    if (job->rate > 0)
        printf("%-10s %s/s\n", "rate", human_bytes(bytes, (uint64_t)job->rate));
    print_line("options", job->options);
    print_line("snapshot", job->snapshot);
    print_line("created", time_text(time, job->created_ms));
    if (job->started_ms)
        print_line("started", time_text(time, job->started_ms));
    if (job->completed_ms)
        print_line("ended", time_text(time, job->completed_ms));
}

static int print_disks(struct store *store, const struct store_job *job, struct error **err)
{
    CLEANUP_TABLE struct table table =
        TABLE("DISK", "SYNC", ">DONE", ">MOVED", ">OF", ">RATE", ">ETA", "OPERATION");
    CLEANUP_FREE struct store_job_disk *disks = NULL;
    size_t count;

    if (store_job_disks(store, job->id, &disks, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        char done[HUMAN_MAX], total[HUMAN_MAX], rate[HUMAN_MAX], eta[HUMAN_MAX];
        const struct store_job_disk *disk = &disks[i];

        table_cell(&table, "disk-%d", disk->key);
        table_cell(&table, "%s", disk->sync_type);
        put_percent(&table, disk->percent);
        table_cell(&table, "%s", human_bytes(done, disk->bytes_done));
        table_cell(&table, "%s", human_bytes(total, disk->bytes_total));
        table_cell(&table, "%s/s", human_bytes(rate, disk->throughput));
        table_cell(&table, "%s",
                   disk->eta_seconds < 0 ? "" : human_seconds(eta, disk->eta_seconds));
        table_cell(&table, "%.80s", disk->operation);
    }
    if (count) {
        printf("\n");
        table_print(&table, stdout);
    }
    return 0;
}

static int print_steps(struct store *store, const struct store_job *job, struct error **err)
{
    CLEANUP_TABLE struct table table =
        TABLE("STEP", "DISK", "STATE", "BEGAN", ">SECONDS", "DETAIL");
    CLEANUP_FREE struct store_step_row *steps = NULL;
    size_t count;

    if (store_steps(store, job->id, &steps, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct store_step_row *step = &steps[i];
        double seconds = (double)(step->completed_ms - step->started_ms) / 1000;
        char time[TIME_TEXT], disk[32] = "";

        if (step->key >= 0)
            snprintf(disk, sizeof disk, "disk-%d", step->key);
        table_cell(&table, "%s", step->step);
        table_cell(&table, "%s", disk);
        table_cell(&table, "%s", step->state);
        table_cell(&table, "%s", time_text(time, step->started_ms));
        if (step->completed_ms)
            table_cell(&table, "%.1f", seconds);
        else
            table_cell(&table, "%s", "");
        table_cell(&table, "%.100s", step->detail);
    }
    if (count) {
        printf("\n");
        table_print(&table, stdout);
    }
    return 0;
}

static int show(struct store *store, const struct store_job *job, struct error **err)
{
    struct store_vm vm;
    int64_t now;

    if (store_vm_get(store, job->vm_id, &vm, err) < 0 || store_clock_ms(store, &now, err) < 0)
        return -1;
    print_head(job, &vm, now);
    return print_disks(store, job, err) < 0 ? -1 : print_steps(store, job, err);
}

int job_show(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct common_options common = { 0 };
    json_object *object = NULL;
    struct store_job job;
    int64_t id;
    bool help;

    if (job_arguments(argc, argv, "vmferry job show JOB [--json]", 1, &common, &help, err) < 0)
        return -1;
    if (help)
        return 0;
    if (parse_job(argv[optind], &id, err) < 0 || context_open(common.state, &context, err) < 0 ||
        store_job_get(context.store, id, &job, err) < 0)
        return -1;
    if (!common.json)
        return show(context.store, &job, err);
    return job_to_json(context.store, &job, true, &object, err) < 0 ? -1 : print_json(object, err);
}
