/* Giving up what was copied for a point that is not complete. */
#ifndef VMFERRY_JOB_DROP_H
#define VMFERRY_JOB_DROP_H

#include "job/claim.h"

/* For who holds the VM: its unfinished point's rows, then its files, without those in its pool
 * when that is lost. *dropped: it had one. */
int drop_unfinished(struct store *store, const char *state_dir, const struct store_vm *vm,
                    struct claim *claim, bool lost_pool, bool *dropped, struct error **err);

#endif
