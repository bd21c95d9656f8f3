/* Snapshots that are still being made, or removed. A server goes on with its task when whoever
 * started it has died: looking for the snapshot at once finds nothing, and a moment later it
 * stands. */
#ifndef VMFERRY_VSPHERE_PENDING_H
#define VMFERRY_VSPHERE_PENDING_H

#include "source/vsphere/session.h"
#include "source/vsphere/snapshot.h"

/* Wait, a bounded time, until no snapshot of this VM is being made. How those tasks end is not
 * looked at. */
int pending_snapshots_wait(struct session *session, const struct moref *vm, struct error **err);

/* Wait until no snapshot of this VM is being removed, nor merged after that, which vSphere may
 * still be doing when it lists it no more. What became of it shows in the list. */
int pending_removals_wait(const struct snapshot_vm *vm, struct error **err);

#endif
