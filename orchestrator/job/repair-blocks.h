/* The damaged blocks of one disk, and into which images their right data goes; for repair.c. */
#ifndef VMFERRY_REPAIR_BLOCKS_H
#define VMFERRY_REPAIR_BLOCKS_H

#include "digest.h"
#include "job/repair.h"

struct block {
    uint64_t offset;
    uint64_t length; /* DIGEST_BLOCK, less at the end of the disk */
    struct digest wanted;
    struct digest shown; /* of what the point shows now */
    bool shown_known;
    bool right;    /* its right data is at hand */
    size_t holder; /* the image that shows it, as in holder.h */
    size_t target; /* index of the chain: where the right data goes */
    size_t keeper; /* index of the later points: whose image gets what is shown now;
                      SIZE_MAX: none */
};

struct blocks {
    struct block *list;
    size_t count;
};

/* A leaves file that is known to be right. */
struct leaves {
    int fd; /* -1: it is damaged, or missing */
    uint64_t capacity;
};
struct digest leaves_get(const struct leaves *leaves, uint64_t offset);

/* Everything that decides where a block goes. */
struct layout {
    const struct replica_disk *disk;
    struct leaves *chain; /* of the points whose images the chain consists of, the same order */
    struct replica_point *later; /* points above, the next one first */
    const struct replica_disk **later_disks;
    struct leaves *later_leaves;
    size_t later_count;
};
int layout_load(const struct repair *repair, const struct replica_disk *disk, struct layout *layout,
                struct error **err);
void layout_free(struct layout *layout);

/* Fill holder, target and keeper of all blocks that are right. */
int layout_choose(const struct layout *layout, struct blocks *blocks, struct error **err);

#endif
