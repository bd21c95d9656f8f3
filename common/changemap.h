/* A change map: the byte ranges of one disk that changed, read from a file that
 * some other tool wrote. What comes in: text or JSON, in any order, overlapping
 * or not. What goes out: an array of ranges, ascending, with a gap between each
 * two, 16 bytes a range. A map that cannot be trusted (truncated, negative,
 * overflowing) is an error, never a smaller map.
 *
 * Formats, found out by the first character:
 *
 *   text   lines `offset length [type]`, sizes as nbdkit writes them (64K, 1M,
 *          8s = 8 sectors of 512), # comments: what the extentlist filter reads.
 *          The last line ends with a newline, else the file counts as truncated.
 *   JSON   an array of objects with `start` (or, without one, `offset`) and
 *          `length`; or an object that holds such an array as `changedArea`
 *          (vSphere), at any depth of objects. This covers `nbdinfo --map --json`
 *          and `qemu-img map --output=json`. Unknown members are skipped.
 *
 * An entry is left out only when it says itself that it did not change:
 * `dirty` false, or the word `clean` (nbdinfo's, for a dirty bitmap) with type 0.
 * An entry that says zero, hole or "no data" IS a change: something that was
 * there before may have become zeroes.
 *
 * All amounts are bytes. A loaded map is never written to, so that any number
 * of threads may read it. */
#ifndef VMFERRY_CHANGEMAP_H
#define VMFERRY_CHANGEMAP_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct range {
    uint64_t offset;
    uint64_t length; /* never 0; offset + length never exceeds INT64_MAX */
};

struct changemap {
    struct range *ranges; /* ascending, never touching or overlapping */
    size_t count;
    char *source;      /* as it was given to changemap_load, for messages */
    uint64_t end;      /* the furthest end of any range, 0 when there is none */
    uint64_t end_line; /* where in the source that range stands, from 1 */
    uint64_t covered;  /* the source speaks of [0, covered) only; UINT64_MAX: of the whole disk */
};
#define CHANGEMAP_INIT                                                                             \
    {                                                                                              \
        .covered = UINT64_MAX                                                                      \
    }

/* Read a whole map. `source` is the path of a file or FIFO, or "fd:N" for an open
 * descriptor N > 2, which is read to its end and closed. Errors name the source
 * and the line. On failure *map is left empty. The caller frees the map. */
int changemap_load(const char *source, struct changemap *map, struct error **err);

/* An error, naming source and line, when a range goes past a disk of `size`, or
 * when the source (a page of vSphere's answer) stops before its end. */
int changemap_check_size(const struct changemap *map, uint64_t size, struct error **err);

/* The index of the first range that ends after `offset` (it may contain it, or
 * begin later); map->count when there is none. O(log count). */
size_t changemap_find(const struct changemap *map, uint64_t offset);

/* The sum of all lengths. */
uint64_t changemap_bytes(const struct changemap *map);

/* Free what the map holds and leave it empty. */
void changemap_free(struct changemap *map);
#define CLEANUP_CHANGEMAP CLEANUP(changemap_free)

static inline uint64_t range_end(struct range range)
{
    return range.offset + range.length;
}

#endif
