/* Repairing a restore point: `vmferry verify --repair`. What comes in: a point, and the ranges
 * of it that were found to differ from what was recorded. What goes out: the right data in
 * them, wherever it could be had, and a list of what could not be repaired.
 *
 * The one rule that makes this safe with any source and at any time: a block is written only if
 * its data hashes to the leaf that was recorded when the point was made. Where the source has
 * moved on, its blocks do not, and nothing is written. Blocks of zeroes need no source. */
#ifndef VMFERRY_REPAIR_H
#define VMFERRY_REPAIR_H

#include "job/check.h"
#include "store/store.h"

struct repair_disk {
    int key;
    size_t blocks; /* of 64 KiB, that were damaged and looked at */
    size_t repaired;
    bool leaves_rebuilt;      /* the leaves file was the damage, and is right again */
    struct check_range *left; /* what could not be repaired; in order, neighbours are one */
    size_t left_count;
    char why[1024]; /* it could not; "" when nothing is left */
};
void repair_disk_free(struct repair_disk *result);

struct repair {
    struct store *store;
    const char *state_dir;
    const struct store_vm *vm;
    const struct replica_point *point;
    atomic_int *cancel;
};

/* One disk. The caller has the VM by a claim, and its images for rewriting. `place`: where the
 * source's disk of `size` bytes can be read; NULL: nowhere, and `no_source` says why. */
int repair_disk(const struct repair *repair, const struct replica_disk *disk,
                const struct check_disk *damage, const char *place, uint64_t size,
                const char *no_source, struct repair_disk *result, struct error **err);

#endif
