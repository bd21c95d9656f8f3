/* Whether a restore point still is what was copied: `vmferry verify`. What comes in: a
 * point. What goes out: per disk a verdict and, when it is bad, the ranges that differ. Reads
 * everything, changes nothing. */
#ifndef VMFERRY_CHECK_H
#define VMFERRY_CHECK_H

#include <stdbool.h>
#include <string.h>

#include "copy/copy.h"
#include "replica/point.h"
#include "source/spec.h"

#define CHECK_RANGES_MAX 65536 /* ranges named; the others are only counted */

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
    struct check_range *ranges; /* in order; neighbours are one */
    size_t named;               /* how many are in there, at most CHECK_RANGES_MAX */
    size_t range_count;         /* how many there are */
    bool same_moment;           /* the source offers the point's change id, or neither names one */
    char source_change_id[STORE_NAME];
};

static inline bool check_passed(const struct check_disk *disk)
{
    return strcmp(disk->recorded, disk->found) == 0 && !disk->leaves_damaged;
}

void check_disk_free(struct check_disk *result);

/* "disk-2000: 65536 bytes in 1 range differ, the first at 131072"; "" when it passed. */
void check_describe(const struct check_disk *disk, char *text, size_t size);

/* The leaves file is that of the recorded digest. */
bool check_leaves(const struct replica_disk *disk);

/* Write down that the point was read, and what was found: count results. `problem`: why it could
 * not even be read; NULL. */
int check_record(struct store *store, int64_t point_id, const struct check_disk *disks,
                 size_t count, const char *problem, struct error **err);

/* One disk of the replica against its digest. options: progress, cancel. */
int check_replica(const char *state_dir, const struct replica_disk *disk,
                  const struct copy_options *options, struct check_disk *result,
                  struct error **err);
/* The source's data now against the point's digest. */
int check_source(const char *state_dir, const struct replica_disk *disk,
                 const struct spec_disk *offered, const struct copy_options *options,
                 struct check_disk *result, struct error **err);

#endif
