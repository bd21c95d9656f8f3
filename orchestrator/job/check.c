/* Checking a restore point; see check.h. */
#include "job/check.h"

#include <fcntl.h>
#include <inttypes.h>

#include "replica/view.h"

static void note_range(void *opaque, uint64_t offset, uint64_t length)
{
    struct check_disk *result = opaque;
    size_t n = result->named;

    result->range_count++;
    result->bytes_differing += length;
    if (n >= CHECK_RANGES_MAX)
        return;
    if (n % 64 == 0) {
        void *bigger = reallocarray(result->ranges, n + 64, sizeof *result->ranges);

        if (!bigger)
            return;
        result->ranges = bigger;
    }
    result->ranges[result->named++] = (struct check_range){ offset, length };
}

void check_disk_free(struct check_disk *result)
{
    free(result->ranges);
    result->ranges = NULL;
}

void check_describe(const struct check_disk *disk, char *text, size_t size)
{
    text[0] = '\0';
    if (check_passed(disk))
        return;
    if (strcmp(disk->found, disk->recorded) == 0)
        snprintf(text, size, "disk-%d: the leaves file is damaged, the data is right", disk->key);
    else if (disk->leaves_damaged)
        snprintf(text, size, "disk-%d: the data differs, and the leaves file is damaged, too",
                 disk->key);
    else
        snprintf(text, size,
                 "disk-%d: %" PRIu64 " bytes in %zu range%s differ, the first at %" PRIu64,
                 disk->key, disk->bytes_differing, disk->range_count,
                 disk->range_count == 1 ? "" : "s", disk->named ? disk->ranges[0].offset : 0);
}

/* Leaves of what is read now; they vanish with the descriptor. */
static int open_scratch(const char *state_dir, char path[64], struct error **err)
{
    int fd = open(state_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0)
        return error_set_errno(err, errno, "a temporary file in %s", state_dir);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static bool leaves_fit(int leaves, const struct replica_disk *disk)
{
    CLEANUP_ERROR struct error *damage = NULL;
    struct digest root;
    char text[DIGEST_TEXT];

    if (leaves < 0 || digest_root(leaves, disk->capacity, &root, &damage) < 0)
        return false;
    digest_to_text(&root, text);
    return strcmp(text, disk->digest) == 0;
}

int check_record(struct store *store, int64_t point_id, const struct check_disk *disks,
                 size_t count, const char *problem, struct error **err)
{
    char text[STORE_TEXT] = "", one[256];
    size_t used = 0;

    for (size_t i = 0; i < count && used < sizeof text; i++) {
        check_describe(&disks[i], one, sizeof one);
        if (one[0])
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? "; " : "", one);
    }
    if (problem)
        snprintf(text, sizeof text, "%s", problem);
    return store_point_verified(store, point_id, text, err);
}

bool check_leaves(const struct replica_disk *disk)
{
    CLEANUP_CLOSE int leaves = open(disk->leaves, O_RDONLY | O_CLOEXEC);

    return leaves_fit(leaves, disk);
}

/* Read `place` and compare, block by block, with the leaves that the point has. */
static int compare(const char *state_dir, const char *place, const struct replica_disk *disk,
                   const struct copy_options *options, struct check_disk *result,
                   struct error **err)
{
    CLEANUP_CLOSE int scratch = -1;
    CLEANUP_CLOSE int leaves = open(disk->leaves, O_RDONLY | O_CLOEXEC);
    struct copy_result copied;
    char path[64];

    result->key = disk->key;
    result->capacity = disk->capacity;
    memcpy(result->recorded, disk->digest, sizeof result->recorded);
    scratch = open_scratch(state_dir, path, err);
    if (scratch < 0 || copy_digest(place, path, options, &copied, err) < 0)
        return -1;
    digest_to_text(&copied.digest, result->found);
    result->leaves_damaged = !leaves_fit(leaves, disk);
    if (leaves < 0 || strcmp(result->found, result->recorded) == 0)
        return 0;
    return digest_diff(leaves, disk->capacity, scratch, copied.size, note_range, result, err);
}

int check_replica(const char *state_dir, const struct replica_disk *disk,
                  const struct copy_options *options, struct check_disk *result, struct error **err)
{
    CLEANUP_VIEW struct replica_view view = REPLICA_VIEW_INIT;
    const struct replica_image *image = &disk->chain[0];

    *result = (struct check_disk){ .same_moment = true };
    if (replica_view_open(state_dir, image->path, image->format, disk->capacity, &view, err) < 0 ||
        compare(state_dir, view.place, disk, options, result, err) < 0)
        return error_prefix(err, "disk-%d", disk->key);
    return 0;
}

int check_source(const char *state_dir, const struct replica_disk *disk,
                 const struct spec_disk *offered, const struct copy_options *options,
                 struct check_disk *result, struct error **err)
{
    *result = (struct check_disk){ 0 };
    result->same_moment = strcmp(offered->change_id, disk->change_id) == 0;
    snprintf(result->source_change_id, sizeof result->source_change_id, "%s", offered->change_id);
    if (compare(state_dir, offered->place, disk, options, result, err) < 0)
        return error_prefix(err, "disk-%d: the source", disk->key);
    return 0;
}
