/* vmferry recover: remove what dead jobs left at their sources. */
#include "job/recover.h"
#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "commands/task-line.h"
#include "commands/watch.h"
#include "failover/failover.h"
#include "job/exports.h"
#include "log/log.h"
#include "progress.h"

static const char help[] =
    "usage: vmferry recover [VM] [--state=DIR]\n"
    "\n"
    "Removes the snapshots that jobs left at their sources: their process died, or the\n"
    "source refused. Rolls back the tests (vmferry failover test) whose process died, or whose\n"
    "time is over. Without a VM: of all. Jobs and tests that live are left alone.\n"
    "\n"
    "  --state=DIR   state directory\n";

static void say(void *opaque, const char *text)
{
    (void)opaque;
    printf("%s\n", text);
}

static void show_task(void *opaque, const char *what, unsigned percent)
{
    struct task_line *line = opaque;

    if (task_line_is_due(line, what, percent, progress_now_ns()))
        log_info("source", "%s: %u %%", what, percent);
}

static int parse(int argc, char *argv[], struct common_options *common, struct error **err)
{
    static const struct option options[] = { COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (common_option(c, argv, common, err) < 0)
            return -1;
    }
    return 0;
}

/* Before restore points: one that an open test stands on stays as it is. */
static bool recover_tests(struct context *context, const struct store_vm *vm)
{
    CLEANUP_ERROR struct error *err = NULL;
    size_t count;
    int r = failover_recover(context->store, context->state_dir, vm, &count, &err);

    if (count)
        printf("%zu test%s rolled back\n", count, count == 1 ? "" : "s");
    if (r < 0)
        log_problem(LEVEL_ERROR, "failover", err, "a test could not be rolled back");
    return r == 0;
}

int command_recover(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct common_options common = { 0 };
    struct task_line line = { .printed = false };
    const struct recover_options options = {
        .cancel = cancel_on_signals(), .say = say, .task = show_task, .opaque = &line
    };
    struct recover_result result;
    struct store_vm vm;
    bool one, tests;

    if (parse(argc, argv, &common, err) < 0)
        return -1;
    if (common.help)
        return print_help(help);
    one = argc - optind > 0;
    if ((one && expect_arguments(argc, 1, "vmferry recover [VM]", err) < 0) ||
        context_open(common.state, &context, err) < 0 ||
        (one && store_vm_find(context.store, argv[optind], &vm, err) < 0))
        return -1;
    tests = recover_tests(&context, one ? &vm : NULL);
    job_settle_exports(context.store, context.state_dir, one ? &vm : NULL, false);
    if (job_recover(context.store, context.state_dir, one ? &vm : NULL, &options, &result, err) < 0)
        return -1;
    if (result.failed)
        return error_set(err, "%u snapshot%s may still stand; run it again when the source answers",
                         result.failed, result.failed == 1 ? "" : "s");
    if (result.going)
        return error_set(err, "restore points of %u VM%s could not be deleted to the end",
                         result.going, result.going == 1 ? "" : "s");
    if (!tests)
        return error_set(err, "a test could not be rolled back");
    printf("%u snapshot%s removed\n", result.removed, result.removed == 1 ? "" : "s");
    return 0;
}
