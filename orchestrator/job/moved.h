/* VMs that live somewhere else now. What comes in: a VM that is about to be replicated. What goes
 * out: an error that says why not, when a live failover of it stands, or was committed. */
#ifndef VMFERRY_JOB_MOVED_H
#define VMFERRY_JOB_MOVED_H

#include "store/store.h"

/* `ours`: the live failover whose own syncs these are; 0: none. Part of the transaction that takes
 * the job, so that of a sync and a live failover the second one sees the first. errnum EPERM. */
int moved_refuse(struct store *store, int64_t vm_id, int64_t ours, struct error **err);

#endif
