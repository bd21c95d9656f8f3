/* vmferry recover: go on with what dead workers left, and sweep behind them. */
#include <json-c/json.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "commands/run-job.h"
#include "commands/task-line.h"
#include "commands/watch.h"
#include "failover/failover.h"
#include "job/exports.h"
#include "job/live.h"
#include "job/recover.h"
#include "log/log.h"
#include "progress.h"

static const char help[] =
    "usage: vmferry recover [VM] [--pause] [--json] [--state=DIR]\n"
    "\n"
    "Goes on with the jobs whose worker has died, to their end. Removes the snapshots that ended\n"
    "jobs left at their sources, and servers without a worker. Rolls back the tests (vmferry\n"
    "failover test) whose process died, or whose time is over, undoes or finishes live failovers\n"
    "whose process died, and says which VM runs twice. Without a VM: of all. Jobs and tests that\n"
    "live are left alone, and nothing that was copied is removed.\n"
    "\n"
    "  --pause       do not go on with jobs: `vmferry job resume` does, whenever you like\n"
    "  --json        for programs\n"
    "  --state=DIR   state directory\n";

static void say(void *opaque, const char *text)
{
    (void)opaque;
    printf("%s\n", text);
}

/* With --json standard output is one object. */
static void say_aside(void *opaque, const char *text)
{
    (void)opaque;
    log_notice("job", "%s", text);
}

static void show_task(void *opaque, const char *what, unsigned percent)
{
    struct task_line *line = opaque;

    if (task_line_is_due(line, what, percent, progress_now_ns()))
        log_info("source", "%s: %u %%", what, percent);
}

static int parse(int argc, char *argv[], struct common_options *common, bool *pause,
                 struct error **err)
{
    static const struct option options[] = { { "pause", no_argument, NULL, 'p' }, COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'p')
            *pause = true;
        else if (common_option(c, argv, common, err) < 0)
            return -1;
    }
    return 0;
}

/* Before restore points: one that an open test stands on stays as it is. */
static bool recover_tests(struct context *context, const struct store_vm *vm, size_t *count)
{
    CLEANUP_ERROR struct error *err = NULL;
    int r = failover_recover(context->store, context->state_dir, vm, count, &err);

    if (r < 0)
        log_problem(LEVEL_ERROR, "failover", err, "a test could not be rolled back");
    return r == 0;
}

static void say_live(const char *line)
{
    log_notice("failover", "%s", line);
}

/* Before jobs: the syncs of one that is undone are gone on with for the source that runs again. */
static bool recover_live(struct context *context, const struct store_vm *vm,
                         struct live_recovered *done)
{
    CLEANUP_ERROR struct error *err = NULL;

    return job_live_recover(context->store, context->state_dir, vm, say_live, done, &err) == 0;
}

static json_object *to_json(const struct recover_result *result, size_t tests,
                            const struct live_recovered *live)
{
    const struct {
        const char *name;
        uint64_t count;
    } members[] = {
        { "jobs_completed", result->resumed },    { "jobs_paused", result->paused },
        { "jobs_failed", result->unfinished },    { "jobs_running", result->running },
        { "snapshots_removed", result->removed }, { "snapshots_standing", result->failed },
        { "points_deleted", result->retired },    { "vms_with_points_going", result->going },
        { "servers_ended", result->servers },     { "tests_rolled_back", tests },
        { "live_undone", live->undone },          { "live_finished", live->finished },
        { "live_alarms", live->alarms },
    };
    json_object *object = json_object_new_object();

    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        json_object_object_add(object, members[i].name, json_object_new_uint64(members[i].count));
    return object;
}

static int judge(const struct recover_result *result, bool tests, bool live, size_t alarms,
                 struct error **err)
{
    if (alarms)
        return error_set(err, "%zu VM%s run%s twice: see the alarm", alarms, alarms == 1 ? "" : "s",
                         alarms == 1 ? "s" : "");
    if (!live)
        return error_set(err, "a live failover could not be recovered: see above");
    if (result->failed)
        return error_set(err, "%u snapshot%s may still stand; run it again when the source answers",
                         result->failed, result->failed == 1 ? "" : "s");
    if (result->going)
        return error_set(err, "restore points of %u VM%s could not be deleted to the end",
                         result->going, result->going == 1 ? "" : "s");
    if (!tests)
        return error_set(err, "a test could not be rolled back");
    if (result->unfinished)
        return error_set(err, "%u job%s failed", result->unfinished,
                         result->unfinished == 1 ? "" : "s");
    return 0;
}

static void print_result(const struct recover_result *result)
{
    printf("%u job%s completed, %u paused; %u snapshot%s removed\n", result->resumed,
           result->resumed == 1 ? "" : "s", result->paused, result->removed,
           result->removed == 1 ? "" : "s");
}

static int recover(struct context *context, const struct store_vm *vm, bool pause, bool json,
                   struct error **err)
{
    struct task_line line = { .printed = false };
    struct replicate_options run = { .given_rate = -1, .task = show_task };
    struct recover_options options = { .cancel = cancel_on_signals(),
                                       .say = json ? say_aside : say,
                                       .task = show_task,
                                       .opaque = &line };
    struct recover_result result;
    struct admission admission;
    struct live_recovered live;
    size_t rolled_back = 0;
    bool tests, lives;

    run_admission(&context->config, &admission);
    run.admission = &admission;
    run.cancel = options.cancel;
    run.opaque = &line;
    if (run_options(&context->config, &run, err) < 0)
        return -1;
    options.run = pause ? NULL : &run;
    tests = recover_tests(context, vm, &rolled_back);
    lives = recover_live(context, vm, &live);
    if (rolled_back && !json)
        printf("%zu test%s rolled back\n", rolled_back, rolled_back == 1 ? "" : "s");
    if (job_recover(context->store, context->state_dir, vm, &options, &result, err) < 0)
        return -1;
    job_settle_exports(context->store, context->state_dir, vm, false);
    if (json && print_json(to_json(&result, rolled_back, &live), err) < 0)
        return -1;
    if (judge(&result, tests, lives, live.alarms, err) < 0)
        return -1;
    if (!json)
        print_result(&result);
    return 0;
}

int command_recover(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct common_options common = { 0 };
    struct store_vm vm;
    bool one, pause = false;

    if (parse(argc, argv, &common, &pause, err) < 0)
        return -1;
    if (common.help)
        return print_help(help);
    one = argc - optind > 0;
    if ((one && expect_arguments(argc, 1, "vmferry recover [VM] [--pause] [--json]", err) < 0) ||
        context_open(common.state, &context, err) < 0 ||
        (one && store_vm_find(context.store, argv[optind], &vm, err) < 0))
        return -1;
    return recover(&context, one ? &vm : NULL, pause, common.json, err);
}
