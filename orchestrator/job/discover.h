/* Writing down what a source offers: the VM's row, its spec and, while it has no
 * replica, its disks. The disks of a replica are the truth about it and are never
 * changed by a description (see identity.h). */
#ifndef VMFERRY_DISCOVER_H
#define VMFERRY_DISCOVER_H

#include "source/spec.h"
#include "store/store.h"

/* Part of the caller's transaction. vm->id and all else is set. Refused when
 * another source already brought a VM with this uuid (errnum EEXIST). */
int job_discover(struct store *store, int64_t source_id, const struct vm_spec *spec,
                 struct store_vm *vm, struct error **err);

#endif
