/* Repairing a disk of a restore point; see repair.h. The order is
 *
 *   1. the right data: zeroes, or what the source has, block by block compared with its leaf
 *   2. where each block goes (repair-blocks.c)
 *   3. later points that would lose what they show get a copy of it
 *   4. the right data is written
 *
 * and after each of these writes all is durable, so that it can be done again after a crash. */
#include "job/repair.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "job/repair-blocks.h"
#include "replica/patch.h"
#include "replica/view.h"
#include "replica/volume.h"

#define BLOCKS_MAX (UINT64_C(1) << 18) /* 16 GiB a run; the next one goes on */

void repair_disk_free(struct repair_disk *result)
{
    free(result->left);
    result->left = NULL;
}

static void free_blocks(struct blocks *blocks)
{
    free(blocks->list);
}

/* A file that vanishes with its descriptor, and its name for the copy engine. */
#define SCRATCH_NAME 64
static int open_scratch(const char *state_dir, uint64_t size, char name[SCRATCH_NAME],
                        struct error **err)
{
    CLEANUP_CLOSE int fd = open(state_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return error_set_errno(err, errno, "a temporary file in %s", state_dir);
    snprintf(name, SCRATCH_NAME, "/proc/self/fd/%d", fd);
    return steal_fd(fd);
}

static int add_blocks(const struct replica_disk *disk, const struct check_disk *damage,
                      const struct leaves *leaves, struct blocks *blocks, struct error **err)
{
    uint64_t total = 0;

    for (size_t i = 0; i < damage->named; i++)
        total += damage->ranges[i].length / DIGEST_BLOCK + 1;
    total = total < BLOCKS_MAX ? total : BLOCKS_MAX;
    blocks->list = calloc(total + 1, sizeof *blocks->list);
    if (!blocks->list)
        return error_set_errno(err, ENOMEM, "repairing");
    for (size_t i = 0; i < damage->named; i++) {
        uint64_t end = damage->ranges[i].offset + damage->ranges[i].length;

        for (uint64_t at = damage->ranges[i].offset; at < end && blocks->count < total;
             at += DIGEST_BLOCK) {
            struct block *block = &blocks->list[blocks->count];

            if (at >= disk->capacity)
                break;
            block->offset = at;
            block->length = disk->capacity - at < DIGEST_BLOCK ? disk->capacity - at : DIGEST_BLOCK;
            block->wanted = leaves_get(leaves, at);
            block->keeper = SIZE_MAX;
            blocks->count++;
        }
    }
    return 0;
}

static bool is_zero_leaf(const struct digest *leaf)
{
    static const struct digest zero;

    return digest_equal(leaf, &zero);
}

/* The blocks' ranges as a change map for the copy engine; those of zeroes only where asked. */
static int write_map(const struct blocks *blocks, bool zeroes, uint64_t size, int fd, size_t *count,
                     struct error **err)
{
    CLEANUP_FCLOSE FILE *file = fdopen(dup(fd), "w");

    *count = 0;
    if (!file)
        return error_set_errno(err, errno, "repairing");
    fprintf(file, "# offset length\n");
    for (size_t i = 0; i < blocks->count; i++) {
        const struct block *block = &blocks->list[i];

        if ((!zeroes && is_zero_leaf(&block->wanted)) || block->offset + block->length > size)
            continue;
        fprintf(file, "%" PRIu64 " %" PRIu64 "\n", block->offset, block->length);
        (*count)++;
    }
    return fflush(file) == 0 ? 0 : error_set_errno(err, errno, "repairing");
}

/* The blocks' data from a place into `scratch`, at the same offsets. */
static int fetch(const struct repair *repair, const struct blocks *blocks, bool zeroes,
                 const char *place, uint64_t size, const char *scratch, struct error **err)
{
    char map_name[SCRATCH_NAME];
    CLEANUP_CLOSE int map = open_scratch(repair->state_dir, 0, map_name, err);
    struct copy_options options = { .changes = map_name, .cancel = repair->cancel };
    struct copy_result copied;
    size_t count;

    if (map < 0 || write_map(blocks, zeroes, size, map, &count, err) < 0)
        return -1;
    return count == 0 ? 0 : copy_disk(place, scratch, &options, &copied, err);
}

static int hash_block(int fd, const struct block *block, struct digest *leaf, struct error **err)
{
    static _Thread_local char buffer[DIGEST_BLOCK];
    ssize_t n = pread(fd, buffer, block->length, (off_t)block->offset);

    if (n != (ssize_t)block->length)
        return error_set_errno(err, n < 0 ? errno : EIO, "reading a block");
    *leaf = digest_leaf(buffer, block->length);
    return 0;
}

/* Which blocks' right data is in the scratch file. */
static int judge(struct blocks *blocks, int fd, struct error **err)
{
    for (size_t i = 0; i < blocks->count; i++) {
        struct block *block = &blocks->list[i];
        struct digest leaf;

        if (hash_block(fd, block, &leaf, err) < 0)
            return -1;
        block->right = digest_equal(&leaf, &block->wanted);
    }
    return 0;
}

/* What the point shows now, for later points that may depend on it. Blocks that can't even be
 * read nobody depends on. */
static int look(const struct repair *repair, const struct replica_disk *disk, struct blocks *blocks,
                const char *scratch, int fd, struct error **err)
{
    CLEANUP_VIEW struct replica_view view = REPLICA_VIEW_INIT;
    CLEANUP_ERROR struct error *unreadable = NULL;
    const struct replica_image *image = &disk->chain[0];

    if (replica_view_open(repair->state_dir, image->path, image->format, disk->capacity, &view,
                          err) < 0)
        return -1;
    if (fetch(repair, blocks, true, view.place, disk->capacity, scratch, &unreadable) < 0)
        return 0;
    for (size_t i = 0; i < blocks->count; i++) {
        if (hash_block(fd, &blocks->list[i], &blocks->list[i].shown, err) < 0)
            return -1;
        blocks->list[i].shown_known = true;
    }
    return 0;
}

/* Those blocks that go into one image: keepers or targets. */
static int write_into(const struct repair *repair, const struct replica_image *image,
                      const struct blocks *blocks, bool keepers, size_t index, int data_fd,
                      struct error **err)
{
    CLEANUP_FREE struct patch_block *list = calloc(blocks->count + 1, sizeof *list);
    size_t count = 0;

    if (!list)
        return error_set_errno(err, ENOMEM, "repairing");
    for (size_t i = 0; i < blocks->count; i++) {
        const struct block *block = &blocks->list[i];

        if (block->right && (keepers ? block->keeper : block->target) == index)
            list[count++] = (struct patch_block){ block->offset, block->length };
    }
    return count ? patch_image(repair->state_dir, image, list, count, data_fd, err) : 0;
}

static int write_all(const struct repair *repair, const struct layout *layout,
                     const struct blocks *blocks, int shown, int right, struct error **err)
{
    for (size_t q = 0; q < layout->later_count; q++) {
        if (write_into(repair, &layout->later_disks[q]->chain[0], blocks, true, q, shown, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < layout->disk->chain_length; i++) {
        if (write_into(repair, &layout->disk->chain[i], blocks, false, i, right, err) < 0)
            return -1;
    }
    return 0;
}

static int note_left(const struct blocks *blocks, struct repair_disk *result, struct error **err)
{
    result->left = calloc(blocks->count + 1, sizeof *result->left);
    if (!result->left)
        return error_set_errno(err, ENOMEM, "repairing");
    for (size_t i = 0; i < blocks->count; i++) {
        const struct block *block = &blocks->list[i];
        struct check_range *last =
            result->left_count ? &result->left[result->left_count - 1] : NULL;

        if (block->right)
            result->repaired++;
        else if (last && last->offset + last->length == block->offset)
            last->length += block->length;
        else
            result->left[result->left_count++] =
                (struct check_range){ block->offset, block->length };
    }
    return 0;
}

/* An image that somebody made longer: there is no right data for what is beyond the disk. Room for
 * one more range is there. */
static void note_beyond(const struct check_disk *damage, uint64_t capacity,
                        struct repair_disk *result)
{
    for (size_t i = 0; i < damage->named; i++) {
        const struct check_range *range = &damage->ranges[i];
        uint64_t end = range->offset + range->length;
        uint64_t from = range->offset > capacity ? range->offset : capacity;

        if (end <= capacity)
            continue;
        result->left[result->left_count++] = (struct check_range){ from, end - from };
        snprintf(result->why, sizeof result->why,
                 "its image is longer than the disk: shorten it to %" PRIu64 " bytes", capacity);
        return;
    }
}

/* The data is right, and its leaves are made from it again. A crash leaves them missing or
 * unfinished, which is damaged as before. */
static int rebuild_leaves(const struct repair *repair, const struct replica_disk *disk,
                          struct repair_disk *result, struct error **err)
{
    CLEANUP_VIEW struct replica_view view = REPLICA_VIEW_INIT;
    const struct replica_image *image = &disk->chain[0];
    const struct copy_options options = { .cancel = repair->cancel };
    struct copy_result copied;
    char text[DIGEST_TEXT];

    if (replica_view_open(repair->state_dir, image->path, image->format, disk->capacity, &view,
                          err) < 0 ||
        volume_remove(disk->leaves, err) < 0 ||
        copy_digest(view.place, disk->leaves, &options, &copied, err) < 0 ||
        volume_sync(disk->leaves, err) < 0 || volume_seal(disk->leaves, err) < 0)
        return -1;
    digest_to_text(&copied.digest, text);
    if (strcmp(text, disk->digest) != 0)
        return error_set(err, "the data changed while it was read");
    result->leaves_rebuilt = true;
    return 0;
}

static int repair_blocks(const struct repair *repair, const struct replica_disk *disk,
                         struct blocks *blocks, const char *place, uint64_t size,
                         const char *no_source, struct repair_disk *result, struct error **err)
{
    CLEANUP(layout_free) struct layout layout = { 0 };
    CLEANUP_ERROR struct error *unreadable = NULL;
    char right_name[SCRATCH_NAME], shown_name[SCRATCH_NAME];
    uint64_t room = size > disk->capacity ? size : disk->capacity;
    CLEANUP_CLOSE int right = open_scratch(repair->state_dir, place ? size : room, right_name, err);
    CLEANUP_CLOSE int shown =
        right < 0 ? -1 : open_scratch(repair->state_dir, disk->capacity, shown_name, err);

    if (shown < 0)
        return -1;
    if (place && fetch(repair, blocks, false, place, size, right_name, &unreadable) < 0)
        no_source = error_message(unreadable);
    if (ftruncate(right, (off_t)room) < 0)
        return error_set_errno(err, errno, "repairing");
    if (judge(blocks, right, err) < 0 || look(repair, disk, blocks, shown_name, shown, err) < 0 ||
        layout_load(repair, disk, &layout, err) < 0 || layout_choose(&layout, blocks, err) < 0 ||
        write_all(repair, &layout, blocks, shown, right, err) < 0 ||
        note_left(blocks, result, err) < 0)
        return -1;
    if (result->left_count)
        snprintf(result->why, sizeof result->why, "%s",
                 no_source ? no_source : "the source holds other data there by now");
    return 0;
}

int repair_disk(const struct repair *repair, const struct replica_disk *disk,
                const struct check_disk *damage, const char *place, uint64_t size,
                const char *no_source, struct repair_disk *result, struct error **err)
{
    CLEANUP(free_blocks) struct blocks blocks = { 0 };
    struct leaves leaves = { .capacity = disk->capacity };
    CLEANUP_CLOSE int fd = -1;
    int r;

    *result = (struct repair_disk){ .key = disk->key };
    if (check_passed(damage))
        return 0;
    if (damage->leaves_damaged && strcmp(damage->found, damage->recorded) == 0)
        r = rebuild_leaves(repair, disk, result, err);
    else if (damage->leaves_damaged) {
        snprintf(result->why, sizeof result->why,
                 "its leaves file is damaged, too, and so nobody can tell what is right");
        return 0;
    } else {
        fd = open(disk->leaves, O_RDONLY | O_CLOEXEC);
        leaves.fd = fd;
        if (fd < 0)
            return error_set_errno(err, errno, "disk-%d: %s", disk->key, disk->leaves);
        r = add_blocks(disk, damage, &leaves, &blocks, err);
        result->blocks = blocks.count;
        if (r == 0)
            r = repair_blocks(repair, disk, &blocks, place, size, no_source, result, err);
        if (r == 0)
            note_beyond(damage, disk->capacity, result);
    }
    return r < 0 ? error_prefix(err, "disk-%d", disk->key) : 0;
}
