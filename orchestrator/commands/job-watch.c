/* vmferry job watch: a job's progress, drawn from the tables while any process of any host runs
 * it. What comes in: a job's number, or a VM. What goes out: a bar a disk, and the job's own end as
 * ours. It changes nothing. */
#include <inttypes.h>
#include <json.h>
#include <string.h>

#include "commands/bar.h"
#include "commands/job.h"
#include "commands/watch.h"
#include "job/claim.h"
#include "log/log.h"

#define LOOK_US 300000

struct arguments {
    struct common_options common;
    enum bar_style style;
};

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "progress", required_argument, NULL, 'p' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'p' ? parse_bar_style(optarg, &arguments->style, err) < 0
                     : common_option(c, argv, &arguments->common, err) < 0)
            return -1;
    }
    return 0;
}

/* The newest one that runs; of a VM its open job, or its newest. */
static int choose_job(struct store *store, int64_t vm_id, struct store_job *job, struct error **err)
{
    CLEANUP_FREE struct store_job *jobs = NULL;
    size_t count;

    if (store_jobs_open(store, vm_id, &jobs, &count, err) < 0)
        return -1;
    if (count == 0) {
        if (vm_id && store_jobs(store, vm_id, 1, &jobs, &count, err) < 0)
            return -1;
        if (count == 0)
            return error_set(err, "there is no job to watch; `vmferry job list` shows them");
    } else if (count > 1) {
        return error_set_kind(err, ERROR_USAGE, "%zu jobs are open: say which (`vmferry job list`)",
                              count);
    }
    *job = jobs[0];
    return 0;
}

/* As virsh does: an id, then a name. A VM with a job's number for its name has its uuid, too. */
static int find_job(struct store *store, const char *name, struct store_job *job,
                    struct error **err)
{
    CLEANUP_ERROR struct error *no_job = NULL;
    CLEANUP_ERROR struct error *no_vm = NULL;
    struct store_vm vm;
    int64_t id;

    if (!name)
        return choose_job(store, 0, job, err);
    if (parse_job(name, &id, &no_job) == 0 && store_job_get(store, id, job, &no_job) == 0)
        return 0;
    if (store_vm_find(store, name, &vm, &no_vm) == 0)
        return choose_job(store, vm.id, job, err);
    /* A number that nobody has is a job's; a database that fails says so either way. */
    return error_move(err,
                      no_job->kind == ERROR_USAGE || no_vm->errnum != ENOENT ? &no_vm : &no_job);
}

static enum progress_state state_of(const struct store_job *job, const struct store_job_disk *disk)
{
    if (strcmp(disk->operation, "Completed") == 0)
        return PROGRESS_COMPLETED;
    if (strcmp(job->status, "running") == 0 || strcmp(job->status, "queued") == 0)
        return PROGRESS_RUNNING;
    return strcmp(job->status, "paused") == 0      ? PROGRESS_PAUSED
           : strcmp(job->status, "completed") == 0 ? PROGRESS_COMPLETED
                                                   : PROGRESS_FAILED;
}

static int show_disks(struct store *store, const struct store_job *job, const char *vm,
                      struct bar *bar, struct error **err)
{
    CLEANUP_FREE struct store_job_disk *disks = NULL;
    size_t count;

    if (store_job_disks(store, job->id, &disks, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct store_job_disk *disk = &disks[i];
        struct progress_record record = { .bytes_done = disk->bytes_done,
                                          .bytes_total = disk->bytes_total,
                                          .percent = disk->percent,
                                          .throughput = disk->throughput,
                                          .eta_seconds = disk->eta_seconds,
                                          .state = state_of(job, disk),
                                          .time_ms = store_now_ms() };

        snprintf(record.label, sizeof record.label, "%.80s disk-%d", vm, disk->key);
        snprintf(record.sync_type, sizeof record.sync_type, "%s", disk->sync_type);
        bar_show(bar, (unsigned)i, &record, disk->operation);
    }
    return 0;
}

/* Until the job does not run any more: paused is an end, too, to who watches. */
static int follow(struct store *store, struct store_job *job, enum bar_style style,
                  struct error **err)
{
    CLEANUP_BAR struct bar *bar = bar_open(stderr, style);
    atomic_int *cancel = cancel_on_signals();
    char said[STORE_NAME] = "";
    struct store_vm vm;
    int64_t now;

    if (store_vm_get(store, job->vm_id, &vm, err) < 0)
        return -1;
    for (;;) {
        if (store_job_get(store, job->id, job, err) < 0 ||
            show_disks(store, job, vm.name, bar, err) < 0 || store_clock_ms(store, &now, err) < 0)
            return -1;
        if (strcmp(job->status, "running") != 0 && strcmp(job->status, "queued") != 0)
            return 0;
        if (claim_is_dead(job, now))
            return error_set_kind(err, ERROR_PAUSED,
                                  "the worker of job %" PRId64 " has died: `vmferry job resume "
                                  "%" PRId64 "` goes on with it",
                                  job->id, job->id);
        if (strcmp(said, job->operation) != 0) {
            strcpy(said, job->operation);
            log_info("job", "job %" PRId64 ": %s", job->id, said);
        }
        if (atomic_load(cancel))
            return error_set(err, "not watched to its end: job %" PRId64 " goes on", job->id);
        usleep(LOOK_US);
    }
}

static int finish(struct store *store, const struct store_job *job, bool json, struct error **err)
{
    json_object *object = NULL;

    if (json && (job_to_json(store, job, false, &object, err) < 0 || print_json(object, err) < 0))
        return -1;
    if (job_outcome(job, err) < 0)
        return -1;
    if (!json)
        printf("job %" PRId64 ": %s\n", job->id, job->operation);
    return 0;
}

int job_watch(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct arguments arguments = { 0 };
    struct store_job job;

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(job_help);
    if ((argc - optind > 1 &&
         expect_arguments(argc, 1, "vmferry job watch [JOB|VM] [OPTIONS]", err) < 0) ||
        context_open(arguments.common.state, &context, err) < 0 ||
        find_job(context.store, argv[optind], &job, err) < 0 ||
        follow(context.store, &job, arguments.style, err) < 0)
        return -1;
    return finish(context.store, &job, arguments.common.json, err);
}
