/* Snapshots that are still being made. A server goes on with its task when whoever started it
 * has died: looking for the snapshot at once finds nothing, and a moment later it stands. */
#ifndef VMFERRY_VSPHERE_PENDING_H
#define VMFERRY_VSPHERE_PENDING_H

#include "source/vsphere/session.h"

/* Wait, a bounded time, until no snapshot of this VM is being made. How those tasks end is not
 * looked at. */
int pending_snapshots_wait(struct session *session, const struct moref *vm, struct error **err);

#endif
