/* vmferry job: what jobs did. */
#include <string.h>

#include "commands/command.h"
#include "commands/job-log.h"
#include "commands/options.h"

int command_job(int argc, char *argv[], struct error **err)
{
    if (argc > 1 && strcmp(argv[1], "log") == 0)
        return job_log(argc - 1, argv + 1, err);
    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return print_help(job_log_help);
    return error_set_kind(err, ERROR_USAGE, "usage: vmferry job log JOB [OPTIONS]");
}
