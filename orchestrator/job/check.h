/* Whether a restore point still is what was copied: `vmferry verify`. What comes in: a
 * point. What goes out: per disk a verdict and, when it is bad, the ranges that differ. Reads
 * everything, changes nothing. */
#ifndef VMFERRY_CHECK_H
#define VMFERRY_CHECK_H

#include <string.h>

#include "copy/copy.h"
#include "replica/point.h"
#include "source/spec.h"

#define CHECK_RANGES_MAX 64 /* ranges named; the others are only counted */

struct check_range {
    uint64_t offset;
    uint64_t length;
};

struct check_disk {
    int key;
    uint64_t capacity;
    char recorded[DIGEST_TEXT]; /* what the point's digest was when it was made */
    char found[DIGEST_TEXT];    /* what it is now, of the replica or of the source */
    bool leaves_damaged;        /* the leaves file beside it no longer fits the digest */
    uint64_t bytes_differing;   /* in whole blocks of 64 KiB */
    struct check_range ranges[CHECK_RANGES_MAX];
    size_t range_count; /* may exceed CHECK_RANGES_MAX */
    bool same_moment;   /* the source offers the point's change id, or neither names one */
    char source_change_id[STORE_NAME];
};

static inline bool check_passed(const struct check_disk *disk)
{
    return strcmp(disk->recorded, disk->found) == 0 && !disk->leaves_damaged;
}

/* One disk of the replica against its digest. options: progress, cancel. */
int check_replica(const char *state_dir, const struct replica_disk *disk,
                  const struct copy_options *options, struct check_disk *result,
                  struct error **err);
/* The source's data now against the point's digest. */
int check_source(const char *state_dir, const struct replica_disk *disk,
                 const struct spec_disk *offered, const struct copy_options *options,
                 struct check_disk *result, struct error **err);

#endif
