/* Writing single blocks into an image of a complete point, for repairs: the one thing beside a
 * merge that does. What comes in: blocks whose right data is in a file, at the same offsets.
 * What goes out: they are in this very image, durable, and it is sealed again. What the image
 * stands on is not touched. May be repeated after a crash. */
#ifndef VMFERRY_REPLICA_PATCH_H
#define VMFERRY_REPLICA_PATCH_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "replica/point.h"

struct patch_block {
    uint64_t offset;
    uint64_t length;
};

/* A qcow2 image whose metadata is damaged is refused: where its table leads to a wrong
 * cluster, a write would hit another block's data. */
int patch_image(const char *state_dir, const struct replica_image *image,
                const struct patch_block *blocks, size_t count, int data_fd, struct error **err);

#endif
