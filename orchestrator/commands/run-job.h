/* Running a replication in this process, for the commands that do: what is shown meanwhile, and
 * the result. */
#ifndef VMFERRY_RUN_JOB_H
#define VMFERRY_RUN_JOB_H

#include "commands/bar.h"
#include "commands/context.h"
#include "job/replicate.h"

/* What neither the command line nor the job says comes from vmferry.conf. Before the options of
 * the command line are set. */
int run_options(const struct config *config, struct replicate_options *options, struct error **err);

/* Limits and windows, as configured. */
void run_admission(const struct config *config, struct admission *admission);

/* Of the environment: the socket of an export server that a parent of ours runs for all. */
#define RUN_EXPORT_SOCKET "VMFERRY_EXPORT_SOCKET"

struct run_look {
    enum bar_style style;
    bool json; /* a program reads the result: nobody can be asked */
};

/* job_id 0: the VM's open job, or a new one; else that job, which is open. */
int run_job(struct context *context, const struct store_vm *vm, int64_t job_id,
            struct replicate_options *options, const struct run_look *look,
            struct replicate_result *result, struct error **err);
int print_run(const struct store_vm *vm, const struct replicate_result *result, bool json,
              struct error **err);

#endif
