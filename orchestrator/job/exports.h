/* The export map beside jobs: what comes in is the store and the state directory; what goes
 * out is a map whose rows, files and disks agree. VMs that a job works on are left alone:
 * the job keeps its own exports right. */
#ifndef VMFERRY_JOB_EXPORTS_H
#define VMFERRY_JOB_EXPORTS_H

#include "replica/exportcheck.h"

/* Compare, and with `repair` mend what is safe. vm NULL: all VMs, and files that belong to none.
 * A repair may read whole devices to find one again. */
int job_check_exports(struct store *store, const char *state_dir, const struct store_vm *vm,
                      bool repair, struct export_report *report, struct error **err);

/* At the start of a command: mend what is safe and takes milliseconds. Each difference goes to the
 * log, and none stops the command. `held`: the caller works on the VM. */
void job_settle_exports(struct store *store, const char *state_dir, const struct store_vm *vm,
                        bool held);

#endif
