/* Which VMs there are, and which one an operator means. */
#ifndef VMFERRY_VSPHERE_INVENTORY_H
#define VMFERRY_VSPHERE_INVENTORY_H

#include "source/source.h"
#include "source/vsphere/session.h"
#include "source/vsphere/vm.h"

/* Every VM but templates that fits (filter NULL: all), with its disks, by path. One whose
 * host does not answer, or whose hardware makes no sense, is in it with what is known: perhaps no
 * uuid, no disks. */
int inventory_list(struct session *session, const struct source_filter *filter,
                   struct spec_list *list, struct error **err);

/* The VM that an operator means: inventory path, name if unique, instance uuid or moref.
 * Ambiguity is an error that lists the choices; no such VM is one with errnum ENOENT. */
int inventory_resolve(struct session *session, const char *reference, struct moref *vm,
                      char uuid[SPEC_UUID], struct error **err);

/* The VM of this instance uuid. No such VM: errnum ENOENT, but only when all VMs tell theirs. */
int inventory_find(struct session *session, const char *uuid, struct moref *vm, struct error **err);

/* All about one VM. An error when the server knows nothing of its hardware now. */
int inventory_vm(struct session *session, const struct moref *ref, struct vsphere_vm *vm,
                 struct error **err);

/* The names of the portgroups that its NICs are on, where the server tells them. */
int inventory_networks(struct session *session, struct vsphere_devices *devices,
                       struct error **err);

#endif
