/* vmferry job: what jobs do, and what is to become of them. */
#include "commands/job.h"

#include <inttypes.h>
#include <string.h>

#include "commands/command.h"
#include "commands/job-log.h"

const char job_help[] =
    "usage: vmferry job list [--vm=VM] [--all] [--json]\n"
    "       vmferry job show JOB [--json]\n"
    "       vmferry job watch [JOB|VM] [--progress=auto|json|none] [--json]\n"
    "       vmferry job cancel JOB [--drop] [--json]\n"
    "       vmferry job pause JOB [--json]\n"
    "       vmferry job resume JOB [--progress=auto|json|none] [--json]\n"
    "       vmferry job rate JOB BYTES [--json]\n"
    "       vmferry job rate --all [BYTES] [--json]\n"
    "       vmferry job log JOB [--follow] [--level=LEVEL] [--json]\n"
    "\n"
    "A job may run in any process, on any host; `resume` runs it in this one.\n"
    "\n"
    "  --vm=VM         jobs of this VM\n"
    "  --all           list: also those that ended more than a day ago; rate: of all jobs\n"
    "                  together, shared by those that move data; 0: unlimited\n"
    "  --drop          and remove what was copied for a point that is not complete\n"
    "  --progress=auto|json|none\n"
    "  --follow        wait for more, until the job is at its end\n"
    "  --level=LEVEL   of this level and above: error|warning|notice|info|debug\n"
    "  --json          for programs\n"
    "  --state=DIR     state directory\n";

static const struct {
    const char *name;
    int (*run)(int argc, char *argv[], struct error **err);
} subcommands[] = {
    { "list", job_list },           { "show", job_show },
    { "watch", job_watch },         { "cancel", job_cancel_command },
    { "pause", job_pause_command }, { "resume", job_resume_command },
    { "rate", job_rate_command },   { "log", job_log },
};

int parse_job(const char *text, int64_t *id, struct error **err)
{
    char *end;

    errno = 0;
    *id = strtoll(text, &end, 10);
    if (errno || *end || end == text || *id <= 0)
        return error_set_kind(err, ERROR_USAGE, "'%s' is no number of a job", text);
    return 0;
}

int job_arguments(int argc, char *argv[], const char *usage, int count,
                  struct common_options *common, bool *help, struct error **err)
{
    static const struct option options[] = { COMMON_OPTIONS };
    int c;

    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (common_option(c, argv, common, err) < 0)
            return -1;
    }
    *help = common->help;
    return *help ? print_help(job_help) : expect_arguments(argc, count, usage, err);
}

int command_job(int argc, char *argv[], struct error **err)
{
    for (size_t i = 0; argc > 1 && i < sizeof subcommands / sizeof subcommands[0]; i++) {
        if (strcmp(argv[1], subcommands[i].name) == 0)
            return subcommands[i].run(argc - 1, argv + 1, err);
    }
    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return print_help(job_help);
    return error_set_kind(err, ERROR_USAGE,
                          "say what to do: list, show, watch, cancel, pause, resume, rate or log");
}
