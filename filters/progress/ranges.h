/* A set of bytes of one disk, in bounded memory at any disk size.
 *
 * A bitmap of at most 4 MiB holds the whole grains. A grain is the smallest power
 * of two that lets the bitmap suffice: 1 byte up to 32 MiB, 32 KiB at 1 TiB, 64 KiB at
 * 2 TiB, 2 MiB at 64 TiB, 256 GiB at 8 EiB. What covers a part of a grain is kept as an exact
 * range of its own in a table of RANGES_PIECES; a grain that becomes whole moves to the
 * bitmap. So the set is exact to the byte until more than RANGES_PIECES parts are
 * open at the same time; then, as its owner chose, a part is forgotten or stands for its grain.
 *
 * Not thread-safe. ranges_init alone allocates. Offsets and sizes are bytes; [start, end). */
#ifndef VMFERRY_RANGES_H
#define VMFERRY_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGES_GRAINS_MAX (UINT64_C(1) << 25)
#define RANGES_PIECES     16384

enum ranges_overflow { RANGES_FORGET, RANGES_WHOLE_GRAIN };

struct ranges {
    uint64_t size;
    unsigned shift;       /* a grain is 1 << shift bytes */
    uint64_t *bits;       /* whole grains */
    struct piece *pieces; /* parts of grains: sorted, apart, each inside one grain */
    size_t nr_pieces;
    enum ranges_overflow overflow;
};

/* -1: no memory. */
int ranges_init(struct ranges *set, uint64_t size, enum ranges_overflow overflow);
void ranges_destroy(struct ranges *set);

/* Parts beyond the end of the disk are ignored. */
void ranges_add(struct ranges *set, uint64_t start, uint64_t end);

/* Is `start` in the set? The answer holds up to the offset returned, which is more than
 * `start` and at most `end`; start < end <= size. */
uint64_t ranges_run(const struct ranges *set, uint64_t start, uint64_t end, bool *inside);

/* How many bytes of [start, end) are in the set. */
uint64_t ranges_overlap(const struct ranges *set, uint64_t start, uint64_t end);

#endif
