/* What a running domain wrote to its overlays goes into the bases below them, while it runs. What
 * comes in: a live failover. What goes out: a domain on its bases alone. An image between overlay
 * and base is garbage from the first byte on: nobody else may use the chain. */
#ifndef VMFERRY_FAILOVER_FLATTEN_H
#define VMFERRY_FAILOVER_FLATTEN_H

#include <stdatomic.h>

#include "store/store.h"

struct flatten {
    const char *folder; /* disks on images in it are those that are to be flattened */
    atomic_int *cancel; /* non-zero: leave it to libvirt, which goes on; errnum ECANCELED */
    void (*progress)(void *opaque, const char *disk, double percent); /* or NULL */
    void *opaque;
};

/* May be repeated: what is done is found done, and what goes on is waited for. */
int flatten_domain(const struct store_failover *failover, const struct flatten *flatten,
                   struct error **err);

#endif
