/* Whether the disks that a source offers are those that the replica was made from:
 * the same VM, and in it for each disk the same key, backing uuid, capacity and unit.
 * Nothing is written here, and nothing may be written before this said yes. */
#ifndef VMFERRY_IDENTITY_H
#define VMFERRY_IDENTITY_H

#include "source/spec.h"
#include "store/store.h"

/* What an operator, or the kind of source, allows to differ. */
struct identity_leave {
    bool places_moved; /* the disks' URIs or files were exchanged on purpose */
    bool may_grow;     /* the source's disks grow, and are the same disks */
};

/* An error whose message holds the map, stored beside offered, each mismatch marked. */
int identity_check(const struct store_vm *vm, const struct store_disk *stored, size_t count,
                   const struct vm_spec *offered, const struct identity_leave *leave,
                   struct error **err);

#endif
