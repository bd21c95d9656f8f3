/* Taking a VM's files over from a worker that may still have them open: it was stopped, or its
 * host does not answer. What comes in: an unfinished point of its making. What goes out: the
 * same data under names that it never heard of.
 *
 * The map of exports keeps it from writing to an image. But leaves and journal it writes
 * itself, and it may be about to remove, to make or to change a file by its name. So leaves
 * and journal are copied, the image gets another name, and the rows name these. */
#include <string.h>

#include "job/sync.h"

static bool has_old(const struct sync *sync, const struct disk_sync *disk)
{
    return sync->claim->contested && disk->left.id;
}

int sync_fence(struct sync *sync, struct error **err)
{
    for (size_t i = 0; i < sync->count; i++) {
        struct disk_sync *disk = &sync->disks[i];
        struct export_target target = { .vm = sync->vm,
                                        .key = disk->stored.key,
                                        .unit = disk->stored.unit,
                                        .image = disk->left.image,
                                        .format = disk->left.format };
        char path[PATH_MAX];

        if (!has_old(sync, disk))
            continue;
        if (volume_path(sync->state_dir, disk->left.image, path, err) < 0)
            return -1;
        if (volume_exists(path) && sync_grant(sync, &target, sync->claim->lease, err) < 0)
            return error_prefix(err, "disk-%d", disk->stored.key);
    }
    return 0;
}

/* "point-0002.qcow2" → "point-0002.f7.qcow2"; one that has such a mark gets ours. */
static void mark(char *name, size_t size, int64_t fence)
{
    char folder[512], stem[512], ending[16];
    char *slash = strrchr(name, '/'), *end = strrchr(name, '.'), *old;

    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash + 1 - name) : 0, name);
    snprintf(stem, sizeof stem, "%.*s", (int)(end - name) - (int)strlen(folder),
             name + strlen(folder));
    old = strchr(stem, '.');
    if (old)
        *old = '\0';
    snprintf(ending, sizeof ending, "%s", end);
    snprintf(name, size, "%.400s%.60s.f%lld%s", folder, stem, (long long)fence, ending);
}

/* A base in a pool is found by the pool's own rules, and has the name that these give. */
static bool has_plain_image(const struct sync *sync, const struct disk_sync *disk)
{
    return disk->type != SYNC_INITIAL || sync->pool.row.id == 0;
}

static void name_anew(struct sync *sync, struct disk_sync *disk)
{
    memcpy(disk->old_image, disk->row.image, sizeof disk->old_image);
    memcpy(disk->old_leaves, disk->row.leaves, sizeof disk->old_leaves);
    if (has_plain_image(sync, disk))
        mark(disk->row.image, sizeof disk->row.image, sync->job.fence);
    mark(disk->row.leaves, sizeof disk->row.leaves, sync->job.fence);
}

static int clone_if_there(const char *from, const char *to, struct error **err)
{
    return volume_exists(from) ? volume_clone(from, to, err) : 0;
}

/* The journal first: what it names has its leaves written before. */
static int take_files(struct sync *sync, struct disk_sync *disk, struct error **err)
{
    char image[PATH_MAX], leaves[PATH_MAX], journal[PATH_MAX];

    memcpy(image, disk->image, sizeof image);
    memcpy(leaves, disk->leaves, sizeof leaves);
    memcpy(journal, sync_journal(disk), sizeof journal);
    name_anew(sync, disk);
    if (sync_set_paths(sync, disk, err) < 0)
        return -1;
    if (disk->start == START_FRESH)
        return 0;
    if (strcmp(image, disk->image) != 0 && volume_link(image, disk->image, err) < 0)
        return -1;
    if (disk->start == START_RESUME &&
        clone_if_there(journal, disk->send_all ? disk->resend : disk->journal, err) < 0)
        return -1;
    return clone_if_there(leaves, disk->leaves, err);
}

int sync_take_files(struct sync *sync, struct error **err)
{
    for (size_t i = 0; i < sync->count; i++) {
        if (sync->claim->contested && take_files(sync, &sync->disks[i], err) < 0)
            return error_prefix(err, "disk-%d", sync->disks[i].stored.key);
    }
    return 0;
}

static void drop(const struct sync *sync, const char *name)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    char path[PATH_MAX];

    if (volume_path(sync->state_dir, name, path, &ignored) == 0)
        volume_remove(path, &ignored);
}

/* A base that no row named is left where it is: nobody knows whose it was. */
void sync_drop_files(struct sync *sync)
{
    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];

        char name[STORE_PATH];

        if (!disk->old_image[0] || !has_old(sync, disk))
            continue;
        sync_name_beside(disk->old_leaves, "journal", name, sizeof name);
        drop(sync, name);
        sync_name_beside(disk->old_leaves, "resend", name, sizeof name);
        drop(sync, name);
        sync_name_beside(disk->old_leaves, "changes", name, sizeof name);
        drop(sync, name);
        drop(sync, disk->old_leaves);
        if (strcmp(disk->old_image, disk->row.image) != 0)
            drop(sync, disk->old_image);
    }
}
