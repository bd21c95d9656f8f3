/* Where the right data of a damaged block goes.
 *
 * Let p be the point, W the leaf that was recorded for the block when p was made, and h the image
 * that shows the block at p now. Images belong to points, one to each; p's chain goes down from
 * p's own.
 *
 * Writing the right data into h is right for every point that sees the block through h:
 *
 *   If all went well, h's own point and every point from there up to p had the same data when
 *   they were made, for no image in between holds the block: their leaves are W, too. A later
 *   point that sees it through h has not overwritten it either: W again. Where a later point's
 *   leaf is another one, the block was overwritten above h, and that point does not see h.
 *
 * Damage can make each of these untrue, so that none of it is taken for granted:
 *
 *   - The image that held the block lost its table entry, and a lower one shows through. Then the
 *     lower point's leaf is not W, and its data may well be right. So the block goes no lower
 *     than to the lowest point m for which all points from m up to p have the leaf W: in good
 *     order the block was written when m was made. If h lies below m, it goes into m's image.
 *   - A later point q took the damaged data for its own: a comparison (resync) found that the
 *     source by then held just what the damage had left here, and wrote nothing. Its leaf is not
 *     W but that of what is shown now, which is right for q. Before the repair q's own image gets
 *     a copy, and so q goes on to show what it showed.
 *
 * All other points show what they showed, or W where W is what was recorded for them. */
#include "job/repair-blocks.h"

#include <fcntl.h>

#include "replica/holder.h"

struct digest leaves_get(const struct leaves *leaves, uint64_t offset)
{
    struct digest leaf = { 0 };
    off_t at = (off_t)(offset / DIGEST_BLOCK * sizeof leaf);
    ssize_t n = pread(leaves->fd, &leaf, sizeof leaf, at);

    /* What the file does not have is zero. */
    return n == (ssize_t)sizeof leaf ? leaf : (struct digest){ 0 };
}

static struct leaves open_leaves(const struct replica_disk *disk)
{
    return (struct leaves){ .fd =
                                check_leaves(disk) ? open(disk->leaves, O_RDONLY | O_CLOEXEC) : -1,
                            .capacity = disk->capacity };
}

static const struct replica_disk *disk_of(const struct replica_point *point, int64_t disk_id)
{
    for (size_t i = 0; i < point->count; i++) {
        if (point->disks[i].disk_id == disk_id)
            return &point->disks[i];
    }
    return NULL;
}

/* Of the points on either side; those that do not have the disk are left out. */
static int add_later(const struct repair *repair, struct layout *layout, unsigned number,
                     struct error **err)
{
    struct replica_point *point = &layout->later[layout->later_count];
    const struct replica_disk *disk;

    if (replica_point_load(repair->store, repair->state_dir, repair->vm->id, number, point, err) <
        0)
        return -1;
    disk = disk_of(point, layout->disk->disk_id);
    if (!disk) {
        replica_point_free(point);
        *point = (struct replica_point){ 0 };
        return 0;
    }
    layout->later_disks[layout->later_count] = disk;
    layout->later_leaves[layout->later_count++] = open_leaves(disk);
    return 0;
}

static int add_chain(const struct repair *repair, struct layout *layout, size_t index,
                     unsigned number, struct error **err)
{
    CLEANUP_POINT struct replica_point point = { 0 };
    const struct replica_disk *disk;

    if (replica_point_load(repair->store, repair->state_dir, repair->vm->id, number, &point, err) <
        0)
        return -1;
    disk = disk_of(&point, layout->disk->disk_id);
    if (disk && disk->chain_length == layout->disk->chain_length - index)
        layout->chain[index] = open_leaves(disk);
    return 0;
}

int layout_load(const struct repair *repair, const struct replica_disk *disk, struct layout *layout,
                struct error **err)
{
    CLEANUP_FREE struct store_point *points = NULL;
    size_t count, below = 0;

    if (store_points(repair->store, repair->vm->id, &points, &count, err) < 0)
        return -1;
    layout->disk = disk;
    layout->chain = calloc(disk->chain_length, sizeof *layout->chain);
    layout->later = calloc(count + 1, sizeof *layout->later);
    layout->later_disks = calloc(count + 1, sizeof(struct replica_disk *));
    layout->later_leaves = calloc(count + 1, sizeof *layout->later_leaves);
    if (!layout->chain || !layout->later || !layout->later_disks || !layout->later_leaves)
        return error_set_errno(err, ENOMEM, "repairing");
    for (size_t i = 0; i < disk->chain_length; i++)
        layout->chain[i].fd = -1;
    /* The chain's points are p and those before it, one image each. */
    for (size_t i = count; i-- > 0;) {
        if (points[i].number <= repair->point->number && below < disk->chain_length &&
            add_chain(repair, layout, below++, points[i].number, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (points[i].number > repair->point->number &&
            add_later(repair, layout, points[i].number, err) < 0)
            return -1;
    }
    return 0;
}

void layout_free(struct layout *layout)
{
    for (size_t i = 0; layout->chain && i < layout->disk->chain_length; i++) {
        if (layout->chain[i].fd >= 0)
            close(layout->chain[i].fd);
    }
    for (size_t i = 0; i < layout->later_count; i++) {
        replica_point_free(&layout->later[i]);
        if (layout->later_leaves[i].fd >= 0)
            close(layout->later_leaves[i].fd);
    }
    free(layout->chain);
    free(layout->later);
    free(layout->later_disks);
    free(layout->later_leaves);
}

/* A run of blocks, neighbours of each other, and what holder_find() tells of it. */
struct run {
    struct block *blocks;
    size_t count;
    size_t *holders; /* of each block */
};

/* A block of which several images hold a part counts as the topmost one's. */
static void note_holder(void *opaque, uint64_t at, uint64_t length, size_t depth)
{
    struct run *run = opaque;

    for (size_t i = 0; i < run->count; i++) {
        const struct block *block = &run->blocks[i];

        if (block->offset < at + length && at < block->offset + block->length &&
            depth < run->holders[i])
            run->holders[i] = depth;
    }
}

static int find_holders(const struct replica_disk *disk, struct run *run, struct error **err)
{
    const struct block *last = &run->blocks[run->count - 1];
    uint64_t offset = run->blocks[0].offset;

    for (size_t i = 0; i < run->count; i++)
        run->holders[i] = HOLDER_NONE;
    return holder_find(disk, offset, last->offset + last->length - offset, note_holder, run, err);
}

static size_t lowest_agreeing(const struct layout *layout, const struct block *block)
{
    size_t lowest = 0;

    for (size_t i = 1; i < layout->disk->chain_length && layout->chain[i].fd >= 0; i++) {
        struct digest leaf = leaves_get(&layout->chain[i], block->offset);

        if (!digest_equal(&leaf, &block->wanted))
            break;
        lowest = i;
    }
    return lowest;
}

/* One later point's view of the run; `settled` blocks are of no more interest. */
static int look_at_later(const struct layout *layout, size_t q, struct run *run, bool *settled,
                         struct error **err)
{
    const struct replica_disk *disk = layout->later_disks[q];
    size_t above = disk->chain_length - layout->disk->chain_length; /* images not in p's chain */

    if (find_holders(disk, run, err) < 0)
        return -1;
    for (size_t i = 0; i < run->count; i++) {
        struct block *block = &run->blocks[i];
        struct digest leaf;

        if (settled[i])
            continue;
        if (run->holders[i] < above) { /* overwritten: nobody above sees ours */
            settled[i] = true;
            continue;
        }
        if (layout->later_leaves[q].fd < 0 || !block->shown_known)
            continue;
        leaf = leaves_get(&layout->later_leaves[q], block->offset);
        if (!digest_equal(&leaf, &block->wanted) && digest_equal(&leaf, &block->shown)) {
            block->keeper = q;
            settled[i] = true;
        }
    }
    return 0;
}

static int choose_run(const struct layout *layout, struct run *run, struct error **err)
{
    CLEANUP_FREE bool *settled = calloc(run->count, sizeof *settled);
    CLEANUP_FREE size_t *holders = calloc(run->count, sizeof *holders);

    if (!settled || !holders)
        return error_set_errno(err, ENOMEM, "repairing");
    run->holders = holders;
    if (find_holders(layout->disk, run, err) < 0)
        return -1;
    for (size_t i = 0; i < run->count; i++) {
        struct block *block = &run->blocks[i];
        size_t lowest = lowest_agreeing(layout, block);

        block->holder = holders[i];
        block->target = block->holder < lowest ? block->holder : lowest;
        block->keeper = SIZE_MAX;
        settled[i] = !block->right;
    }
    for (size_t q = 0; q < layout->later_count; q++) {
        if (look_at_later(layout, q, run, settled, err) < 0)
            return -1;
    }
    return 0;
}

int layout_choose(const struct layout *layout, struct blocks *blocks, struct error **err)
{
    for (size_t i = 0; i < blocks->count;) {
        struct run run = { .blocks = &blocks->list[i], .count = 1 };

        while (i + run.count < blocks->count && run.count < 4096 &&
               blocks->list[i + run.count].offset ==
                   blocks->list[i + run.count - 1].offset + DIGEST_BLOCK)
            run.count++;
        if (choose_run(layout, &run, err) < 0)
            return -1;
        i += run.count;
    }
    return 0;
}
