/* The power of one VM, and taking it out of service: for a live failover. Each may be repeated:
 * what is so already is done. Nothing is believed that the server was not asked after. */
#ifndef VMFERRY_VSPHERE_POWER_H
#define VMFERRY_VSPHERE_POWER_H

#include "source/vsphere/snapshot.h"

/* An error when the server does not know it now, as the VM's host does not answer. */
int power_read(const struct snapshot_vm *vm, enum power *power, struct error **err);
/* errnum ENOTSUP: VMware Tools don't run in the guest. */
int power_shut_down(const struct snapshot_vm *vm, struct error **err);
int power_off(const struct snapshot_vm *vm, struct error **err);
/* Cancel is not looked at: it is how a failover that was stopped is undone. */
int power_on(const struct snapshot_vm *vm, struct error **err);

/* The note goes behind what is written about the VM, then the VM gets the name. */
int power_retire(const struct snapshot_vm *vm, const char *name, const char *note,
                 struct error **err);

#endif
