/* vmferry report: the compliance report of a VM or a job. Arguments in, a document out. */
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "commands/output.h"
#include "report/report.h"

static const char help[] =
    "usage: vmferry report VM|JOB [--format=text|json|html] [--output=FILE]\n"
    "\n"
    "All that is known of the migration of a VM, or of one of its jobs: identity, hardware,\n"
    "disks, sync history with change ids, restore points with digests and checks, failovers\n"
    "with evidence, audit trail, versions.\n"
    "\n"
    "  --format=text|json|html\n"
    "                   html is one file that needs no other one\n"
    "  --output=FILE    instead of standard output; replaced when the report is complete\n"
    "  --json           the same as --format=json\n"
    "  --state=DIR      state directory\n";

struct arguments {
    struct common_options common;
    const char *format;
    const char *output;
};

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "format", required_argument, NULL, 'f' },
                                             { "output", required_argument, NULL, 'o' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":f:o:", options, NULL)) != -1) {
        if (c == 'f')
            arguments->format = optarg;
        else if (c == 'o')
            arguments->output = optarg;
        else if (common_option(c, argv, &arguments->common, err) < 0)
            return -1;
    }
    if (!arguments->format)
        arguments->format = arguments->common.json ? "json" : "text";
    return report_check_format(arguments->format, err);
}

/* A VM's name wins over a job's number. */
static int find_subject(struct store *store, const char *text, struct store_vm *vm, int64_t *job_id,
                        struct error **err)
{
    CLEANUP_ERROR struct error *unknown = NULL;
    struct store_job job;
    char *end;

    *job_id = 0;
    if (store_vm_find(store, text, vm, &unknown) == 0)
        return 0;
    *job_id = strtoll(text, &end, 10);
    if (unknown->errnum != ENOENT || *end || *job_id <= 0)
        return error_move(err, &unknown);
    if (store_job_get(store, *job_id, &job, err) < 0)
        return -1;
    return store_vm_get(store, job.vm_id, vm, err);
}

static int write_report(void *opaque, FILE *out, struct error **err)
{
    return report_write(opaque, out, err);
}

int command_report(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct arguments arguments = { 0 };
    struct report_request request;
    struct store_vm vm;
    int64_t job_id;

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    if (expect_arguments(argc, 1, "vmferry report VM|JOB [OPTIONS]", err) < 0 ||
        context_open(arguments.common.state, &context, err) < 0 ||
        find_subject(context.store, argv[optind], &vm, &job_id, err) < 0)
        return -1;
    request = (struct report_request){ .store = context.store,
                                       .state_dir = context.state_dir,
                                       .vm = &vm,
                                       .job_id = job_id,
                                       .format = arguments.format };
    return output_write(arguments.output, write_report, &request, err);
}
