/* A merge as the tables show it, and as it is stopped. What comes in: how much of which disk is
 * to be merged, and how far it is. What goes out: the job's row and a row for each disk, written
 * at least twice a second; of a job of another kind (a sync that prunes at its end) only what it
 * does now. Touches no image. */
#ifndef VMFERRY_MERGING_H
#define VMFERRY_MERGING_H

#include "job/claim.h"
#include "progress.h"
#include "replica/volume.h"

struct merging_disk {
    int64_t id;
    int key;
    uint64_t total, done; /* bytes of images that are merged into those below */
    struct progress_meter meter;
};

struct merging {
    struct claim *claim;
    struct store *store;
    struct merging_disk *disks;
    size_t count;
    size_t now;         /* which disk */
    uint64_t now_bytes; /* of the image that is being merged */
    uint64_t now_done;  /* of those */
    bool begun;         /* something was changed */
    char operation[64];
    struct progress_meter meter;
    int64_t written_ns;
    const char *state_dir;
    bool lost_pool; /* the VM's pool is, for good: what lies in it is left */
    FILE *ballast;  /* see full.h; NULL: none */
    uint64_t more;  /* bytes that the target can still grow by in what has failed; 0: unknown */
};

void merging_start(struct merging *merging, struct claim *claim, struct store *store,
                   const char *state_dir);
void merging_free(struct merging *merging);
#define CLEANUP_MERGING CLEANUP(merging_free)

/* It will come. What nobody told before is told by merging_begin(). */
void merging_expect(struct merging *merging, const struct store_point_disk *disk, uint64_t bytes);
/* The image of `disk`, a row of point `number`, takes over `bytes` of the one above it. */
void merging_begin(struct merging *merging, unsigned number, const struct store_point_disk *disk,
                   uint64_t bytes);
/* For volume_commit(), which it stops when the claim's work has to end. */
struct volume_watch merging_watch(struct merging *merging);
void merging_end(struct merging *merging);
/* All is done. */
void merging_finish(struct merging *merging);

/* An error that came of a full target means: paused. */
void merging_explain_space(struct merging *merging, struct error **err);

/* An error, errnum ECANCELED, when it has to stop: pause, cancel, or the claim is lost. */
int merging_check(const struct merging *merging, struct error **err);

#endif
