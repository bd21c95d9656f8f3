/* vmferry job and its subcommands: one file a group. argv[0] is the subcommand's name. */
#ifndef VMFERRY_COMMANDS_JOB_H
#define VMFERRY_COMMANDS_JOB_H

#include "commands/context.h"
#include "commands/options.h"
#include "store/store.h"

extern const char job_help[];

int job_list(int argc, char *argv[], struct error **err);
int job_show(int argc, char *argv[], struct error **err);
int job_watch(int argc, char *argv[], struct error **err);
int job_cancel_command(int argc, char *argv[], struct error **err);
int job_pause_command(int argc, char *argv[], struct error **err);
int job_resume_command(int argc, char *argv[], struct error **err);
int job_rate_command(int argc, char *argv[], struct error **err);

/* A job's number; ERROR_USAGE when it is none. */
int parse_job(const char *text, int64_t *id, struct error **err);
/* Options and nothing else, and `count` arguments behind them. True in *help: it was printed. */
int job_arguments(int argc, char *argv[], const char *usage, int count,
                  struct common_options *common, bool *help, struct error **err);

/* "job 7: paused", or all of it as JSON. */
int print_job_state(struct store *store, int64_t job_id, bool json, struct error **err);
/* All that the tables say of a job, with its disks; steps only if they are wanted. */
int job_to_json(struct store *store, const struct store_job *job, bool steps,
                struct json_object **object, struct error **err);
/* "running", or "dead" for one whose worker has gone. */
const char *job_state(const struct store_job *job, int64_t now_ms);
/* What becomes of `vmferry job …` that followed the job to here: 0, ERROR_FAILED, ERROR_PAUSED. */
int job_outcome(const struct store_job *job, struct error **err);

#endif
