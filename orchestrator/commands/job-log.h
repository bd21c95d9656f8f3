/* vmferry job log. */
#ifndef VMFERRY_JOB_LOG_H
#define VMFERRY_JOB_LOG_H

#include "error.h"

extern const char job_log_help[];

/* argv[0] is "log"; its own options and the job's number behind it. */
int job_log(int argc, char *argv[], struct error **err);

#endif
