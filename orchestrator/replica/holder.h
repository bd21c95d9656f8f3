/* Which image of a chain holds a range: qemu-img says it, from the images' own tables. Reads
 * metadata only, never data. */
#ifndef VMFERRY_REPLICA_HOLDER_H
#define VMFERRY_REPLICA_HOLDER_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "replica/point.h"

#define HOLDER_NONE SIZE_MAX /* no image holds it: it reads as zeroes */

/* Call `tell` for runs in [offset, offset + length), in order and without gaps; `depth` counts
 * from the point's own image, 0, and is an index of disk->chain. */
int holder_find(const struct replica_disk *disk, uint64_t offset, uint64_t length,
                void (*tell)(void *opaque, uint64_t at, uint64_t run, size_t depth), void *opaque,
                struct error **err);

#endif
