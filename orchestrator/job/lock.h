/* One job a VM at a time: a lock that the kernel drops when its holder dies, and who
 * we are, for the job's row. */
#ifndef VMFERRY_JOB_LOCK_H
#define VMFERRY_JOB_LOCK_H

#include "store/store.h"

/* Take the VM's lock; *fd holds it until it is closed. Refused at once, naming the
 * holder, when another process has it. */
int job_lock(const char *state_dir, const struct store_vm *vm, int *fd, struct error **err);

/* Boot id, process id and start time: together they never name another process. */
void job_owner(struct store_job *job);

#endif
