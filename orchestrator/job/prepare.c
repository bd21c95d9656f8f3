/* From plan to files; see sync.h. What comes in: a plan. What goes out: rows that say
 * what is about to be made, then the images, leaves and change maps themselves. It
 * never touches a file that a complete point consists of.
 *
 * The order matters to a crash. What an earlier run left is removed while its rows
 * still describe it, so that no row ever describes somebody else's file: a row's
 * image with a journal beside it always holds the row's change id. */
#include <inttypes.h>
#include <string.h>

#include "changemap.h"
#include "job/discover.h"
#include "job/sync.h"
#include "replica/volume.h"

struct export_target sync_target(const struct sync *sync, const struct disk_sync *disk)
{
    return (struct export_target){ .vm = sync->vm,
                                   .key = disk->stored.key,
                                   .unit = disk->stored.unit,
                                   .image = disk->row.image,
                                   .format = disk->row.format };
}

static int remove_image(const struct sync *sync, const struct disk_sync *disk, struct error **err)
{
    struct pool_disk place = sync_pool_disk(sync, disk);

    if (disk->type != SYNC_INITIAL)
        return volume_remove(disk->image, err);
    return disk->left.id ? pool_remove_base(&sync->pool, &place, disk->row.image, err) : 0;
}

int sync_clear(struct sync *sync, struct error **err)
{
    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];

        if (disk->start == START_DONE || disk->start == START_RESUME)
            continue;
        if (volume_remove(disk->journal, err) < 0 || volume_remove(disk->resend, err) < 0 ||
            volume_remove(disk->changes, err) < 0)
            return -1;
        if (disk->start == START_COMPARE)
            continue;
        if (volume_remove(disk->leaves, err) < 0)
            return -1;
        /* A base without a row may be somebody's; ours goes when the disk has grown meanwhile. */
        if (remove_image(sync, disk, err) < 0)
            return -1;
    }
    return 0;
}

/* The most expensive type of all disks stands for the job. */
static const char *job_type(const struct sync *sync)
{
    const char *type = "incremental";

    if (!sync->planned)
        return sync->newest.id ? type : "initial";
    for (size_t i = 0; i < sync->count; i++) {
        if (sync->disks[i].type == SYNC_INITIAL)
            return "initial";
        if (sync->disks[i].type == SYNC_RESYNC)
            type = "resync";
    }
    return type;
}

/* No two jobs of any state directory give the same name. A snapshot belongs to one job. What
 * this job left before stays named, as long as it may stand. */
static int write_snapshot(struct sync *sync, struct store *store, struct error **err)
{
    struct store_job *job = &sync->job;
    char all[STORE_NAME];

    if (!sync_is_live(sync))
        return 0;
    for (size_t i = 0; i < sync->leftover_count; i++) {
        const struct leftover *left = &sync->leftovers[i];

        if (left->adopted && left->job_id != job->id &&
            store_job_set_snapshot(store, left->job_id, "", err) < 0)
            return -1;
    }
    if (!sync->adopted)
        snprintf(job->snapshot, sizeof job->snapshot, "vmferry-%" PRId64 "-%.12s", job->id,
                 strrchr(sync->claim->lease, '-') + 1);
    if (sync_snapshot_names(sync, all, err) < 0)
        return -1;
    return store_job_set_snapshot(store, job->id, all, err);
}

static int write_start(struct store *store, void *opaque, struct error **err)
{
    struct sync *sync = opaque;
    struct store_vm vm;

    if (job_discover(store, sync->from.row.id, &sync->spec, &vm, err) < 0 ||
        store_job_update(store, &sync->job, err) < 0)
        return -1;
    return write_snapshot(sync, store, err);
}

int sync_start_job(struct sync *sync, struct error **err)
{
    snprintf(sync->job.sync_type, sizeof sync->job.sync_type, "%s", job_type(sync));
    sync->begun = true;
    return claim_transaction(sync->claim, sync->store, write_start, sync, err);
}

static int write_disk(struct sync *sync, struct disk_sync *disk, struct error **err)
{
    struct store_point_disk *row = &disk->row;

    row->point_id = sync->point.id;
    row->disk_id = disk->stored.id;
    row->parent_id = disk->parent.id;
    row->capacity = disk->capacity;
    snprintf(row->sync_type, sizeof row->sync_type, "%s", sync_type_name(disk->type));
    snprintf(row->change_id, sizeof row->change_id, "%s", disk->offered->change_id);
    snprintf(row->place, sizeof row->place, "%s", sync_place(sync, disk));
    if (store_point_disk_create(sync->store, row, err) < 0)
        return -1;
    if (disk->start != START_DONE)
        return 0;
    memcpy(row->digest, disk->left.digest, sizeof row->digest);
    row->bytes = disk->left.bytes;
    return store_point_disk_complete(sync->store, row, err);
}

static int write_down(struct store *store, void *opaque, struct error **err)
{
    struct sync *sync = opaque;

    if (store_job_update(store, &sync->job, err) < 0 || sync_keep_pool(sync, err) < 0 ||
        (sync->left.id && store_point_forget(store, sync->left.id, err) < 0))
        return -1;
    sync->point = (struct store_point){ .vm_id = sync->vm->id,
                                        .job_id = sync->job.id,
                                        .number = sync->number };
    if (store_point_create(store, &sync->point, err) < 0)
        return -1;
    for (size_t i = 0; i < sync->count; i++) {
        if (write_disk(sync, &sync->disks[i], err) < 0)
            return -1;
    }
    if (store_vm_change_state(store, sync->vm->id, "discovered", "replicating", err) < 0 ||
        store_vm_change_state(store, sync->vm->id, "ready_for_failover", "replicating", err) < 0)
        return -1;
    return 0;
}

int sync_write_down(struct sync *sync, struct error **err)
{
    snprintf(sync->job.sync_type, sizeof sync->job.sync_type, "%s", job_type(sync));
    if (claim_transaction(sync->claim, sync->store, write_down, sync, err) == 0)
        return 0;
    sync->point.id = 0;
    return -1;
}

struct grant {
    const struct sync *sync;
    const struct export_target *target;
    const char *lease;
};

/* The map is written while the job's row is locked: a worker that was stopped right before
 * this can't put its old lease over a newer one. */
static int write_grant(struct store *store, void *opaque, struct error **err)
{
    const struct grant *grant = opaque;

    return grant->lease
               ? export_grant(store, grant->sync->state_dir, grant->target, grant->lease, err)
               : export_revoke(store, grant->sync->state_dir, grant->target, err);
}

int sync_grant(struct sync *sync, const struct export_target *target, const char *lease,
               struct error **err)
{
    struct grant body = { sync, target, lease };

    return claim_transaction(sync->claim, sync->store, write_grant, &body, err);
}

static int make_image(struct sync *sync, const struct disk_sync *disk, struct error **err)
{
    char parent[PATH_MAX], parent_leaves[PATH_MAX];

    struct pool_disk place = sync_pool_disk(sync, disk);

    if (volume_make_folder(disk->leaves, err) < 0)
        return -1;
    if (disk->type == SYNC_INITIAL)
        return pool_create_base(&sync->pool, &place, disk->row.image, err);
    if (volume_make_folder(disk->image, err) < 0)
        return -1;
    if (volume_path(sync->state_dir, disk->parent.image, parent, err) < 0 ||
        volume_path(sync->state_dir, disk->parent.leaves, parent_leaves, err) < 0 ||
        volume_create_overlay(disk->image, parent, disk->parent.format, disk->capacity, err) < 0)
        return -1;
    return disk->read_first || disk->send_all ? 0 : volume_clone(parent_leaves, disk->leaves, err);
}

/* The source's file may be written anew at any time; ours is what was checked. */
static int keep_changes(struct disk_sync *disk, struct error **err)
{
    CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;
    CLEANUP_FCLOSE FILE *file = NULL;

    if (changemap_load(disk->offered->changes, &map, err) < 0 ||
        changemap_check_size(&map, disk->capacity, err) < 0)
        return -1;
    file = fopen(disk->changes, "we");
    if (!file)
        return error_set_errno(err, errno, "writing %s", disk->changes);
    fprintf(file, "# offset length\n");
    for (size_t i = 0; i < map.count; i++)
        fprintf(file, "%" PRIu64 " %" PRIu64 "\n", map.ranges[i].offset, map.ranges[i].length);
    if (fflush(file) != 0 || ferror(file))
        return error_set_errno(err, errno, "writing %s", disk->changes);
    disk->areas = (int64_t)map.count;
    return 0;
}

static int make_files(struct sync *sync, struct disk_sync *disk, struct error **err)
{
    if (disk->start == START_FRESH && make_image(sync, disk, err) < 0)
        return -1;
    if (disk->type == SYNC_INCREMENTAL && disk->offered->changes_is_file &&
        disk->start != START_DONE)
        return keep_changes(disk, err);
    return 0;
}

int sync_make_files(struct sync *sync, struct error **err)
{
    for (size_t i = 0; i < sync->count; i++) {
        struct disk_sync *disk = &sync->disks[i];

        if (make_files(sync, disk, err) < 0)
            return error_prefix(err, "disk-%d", disk->stored.key);
    }
    pool_changed(&sync->pool);
    return 0;
}
