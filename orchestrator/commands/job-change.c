/* vmferry job cancel, pause and resume: what is to become of a job. */
#include <inttypes.h>
#include <json.h>
#include <string.h>

#include "commands/job.h"
#include "commands/run-job.h"
#include "commands/task-line.h"
#include "commands/watch.h"
#include "job/control.h"
#include "job/retire.h"
#include "log/log.h"

struct arguments {
    struct common_options common;
    enum bar_style style;
    bool drop;
};

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "progress", required_argument, NULL, 'p' },
                                             { "drop", no_argument, NULL, 'd' },
                                             COMMON_OPTIONS };
    bool cancels = strcmp(argv[0], "cancel") == 0, resumes = strcmp(argv[0], "resume") == 0;
    int c;

    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'd' && cancels)
            arguments->drop = true;
        else if (c == 'p' && resumes) {
            if (parse_bar_style(optarg, &arguments->style, err) < 0)
                return -1;
        } else if (common_option(c, argv, &arguments->common, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static void say(void *opaque, const char *text)
{
    (void)opaque;
    log_notice("job", "%s", text);
}

static void show_task(void *opaque, const char *what, unsigned percent)
{
    if (task_line_is_due(opaque, what, percent, progress_now_ns()))
        log_notice("job", "%s: %u %%", what, percent);
}

int print_job_state(struct store *store, int64_t job_id, bool json, struct error **err)
{
    json_object *object = NULL;
    struct store_job job;

    if (store_job_get(store, job_id, &job, err) < 0)
        return -1;
    if (json)
        return job_to_json(store, &job, false, &object, err) < 0 ? -1 : print_json(object, err);
    printf("job %" PRId64 ": %s\n", job.id, job.status);
    return 0;
}

/* Opens the store and finds the job; *done: only help was wanted. */
static int begin(int argc, char *argv[], int count, const char *usage, struct arguments *arguments,
                 struct context *context, int64_t *id, bool *done, struct error **err)
{
    if (parse(argc, argv, arguments, err) < 0)
        return -1;
    *done = arguments->common.help;
    if (*done)
        return print_help(job_help);
    if (expect_arguments(argc, count, usage, err) < 0 || parse_job(argv[optind], id, err) < 0)
        return -1;
    return context_open(arguments->common.state, context, err);
}

static int drop(struct context *context, int64_t job_id, struct error **err)
{
    struct store_job job;
    struct store_vm vm;
    bool dropped;

    if (store_job_get(context->store, job_id, &job, err) < 0 ||
        store_vm_get(context->store, job.vm_id, &vm, err) < 0 ||
        job_drop(context->store, context->state_dir, &vm, &dropped, err) < 0)
        return -1;
    log_notice("job",
               dropped ? "'%s': what was copied for the unfinished point is removed"
                       : "'%s' has no unfinished point",
               vm.name);
    return 0;
}

int job_cancel_command(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct arguments arguments = { 0 };
    struct task_line line = { .printed = false };
    const struct control_options options = {
        .cancel = cancel_on_signals(), .say = say, .task = show_task, .opaque = &line
    };
    int64_t id;
    bool done;

    if (begin(argc, argv, 1, "vmferry job cancel JOB [--drop] [--json]", &arguments, &context, &id,
              &done, err) < 0)
        return -1;
    if (done)
        return 0;
    if (job_cancel(context.store, context.state_dir, id, &options, err) < 0) {
        /* What is left of one that has ended may be given up, too. */
        if (!arguments.drop || (*err)->errnum != EALREADY)
            return -1;
        error_clear(err);
    }
    if (arguments.drop && drop(&context, id, err) < 0)
        return -1;
    return print_job_state(context.store, id, arguments.common.json, err);
}

int job_pause_command(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct arguments arguments = { 0 };
    struct task_line line = { .printed = false };
    const struct control_options options = {
        .cancel = cancel_on_signals(), .say = say, .task = show_task, .opaque = &line
    };
    int64_t id;
    bool done;

    if (begin(argc, argv, 1, "vmferry job pause JOB [--json]", &arguments, &context, &id, &done,
              err) < 0)
        return -1;
    if (done)
        return 0;
    if (job_pause(context.store, context.state_dir, id, &options, err) < 0)
        return -1;
    return print_job_state(context.store, id, arguments.common.json, err);
}

static int refuse_type(const struct store_job *job, struct error **err)
{
    return error_set(err,
                     "job %" PRId64 " is neither a replication nor a merge (%s): the command that "
                     "began it goes on with it",
                     job->id, job->type);
}

/* A merge goes on where it was stopped. */
static int resume_merge(struct context *context, int64_t id, bool json, struct error **err)
{
    return job_retire_resume(context->store, context->state_dir, id, cancel_on_signals(), err) < 0
               ? -1
               : print_job_state(context->store, id, json, err);
}

static int resume(struct context *context, int64_t id, const struct arguments *arguments,
                  struct error **err)
{
    CLEANUP_REPLICATE_RESULT struct replicate_result result = { 0 };
    struct replicate_options options = { .given_rate = -1 };
    const struct run_look look = { arguments->style, arguments->common.json };
    struct store_job job;
    struct store_vm vm;

    if (store_job_get(context->store, id, &job, err) < 0)
        return -1;
    if (strcmp(job.type, JOB_MERGE) == 0)
        return resume_merge(context, id, arguments->common.json, err);
    if (strcmp(job.type, JOB_REPLICATION) != 0)
        return refuse_type(&job, err);
    if (store_vm_get(context->store, job.vm_id, &vm, err) < 0 ||
        run_options(&context->config, &options, err) < 0 ||
        run_job(context, &vm, id, &options, &look, &result, err) < 0)
        return -1;
    return print_run(&vm, &result, arguments->common.json, err);
}

int job_resume_command(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct arguments arguments = { 0 };
    int64_t id;
    bool done;

    if (begin(argc, argv, 1, "vmferry job resume JOB [OPTIONS]", &arguments, &context, &id, &done,
              err) < 0)
        return -1;
    return done ? 0 : resume(&context, id, &arguments, err);
}
