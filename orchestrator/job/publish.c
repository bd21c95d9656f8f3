/* The end of a sync; see sync.h. What comes in: disks whose data is flushed and
 * verified. What goes out: one transaction that makes them a restore point, with their
 * change ids and history. A change id is never stored before its data is durable. */
#include <string.h>

#include "job/exports.h"
#include "job/sync.h"
#include "replica/volume.h"

/* Nobody writes any more, and everything is on stable storage. */
static int settle(struct sync *sync, struct error **err)
{
    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];
        struct export_target target = sync_target(sync, disk);

        if (export_revoke(sync->store, sync->state_dir, &target, err) < 0 ||
            volume_sync(disk->image, err) < 0 || volume_sync(disk->leaves, err) < 0)
            return error_prefix(err, "disk-%d", disk->stored.key);
    }
    return 0;
}

static int add_history(struct sync *sync, const struct disk_sync *disk, const char *outcome,
                       struct error **err)
{
    struct store_history entry = {
        .disk_id = disk->stored.id,
        .job_id = sync->job.id,
        .before = disk->stored.change_id,
        .after = disk->offered->change_id,
        .sync_type = sync_type_name(disk->type),
        .bytes = disk->row.bytes,
        .areas = disk->areas,
        .duration_ms = disk->ended_ms > disk->began_ms ? disk->ended_ms - disk->began_ms : 0,
        .outcome = outcome,
    };

    return store_history_add(sync->store, &entry, err);
}

static int publish_disk(struct sync *sync, struct disk_sync *disk, struct error **err)
{
    if (!disk->row.complete && store_point_disk_complete(sync->store, &disk->row, err) < 0)
        return -1;
    if (store_disk_synced(sync->store, disk->stored.id, disk->capacity, disk->offered->change_id,
                          disk->row.image, sync_place(sync, disk), err) < 0)
        return -1;
    return add_history(sync, disk, "completed", err);
}

static int commit(struct sync *sync, struct error **err)
{
    CLEANUP_ROLLBACK struct store *transaction = NULL;

    if (store_begin(sync->store, err) < 0)
        return -1;
    transaction = sync->store;
    for (size_t i = 0; i < sync->count; i++) {
        if (publish_disk(sync, &sync->disks[i], err) < 0)
            return -1;
    }
    if (store_point_complete(sync->store, sync->point.id, err) < 0 ||
        store_vm_point_taken(sync->store, sync->vm->id, sync->point.number, err) < 0 ||
        store_job_update(sync->store, &sync->job, err) < 0 ||
        store_job_end(sync->store, sync->job.id, "completed", NULL, err) < 0 ||
        store_vm_change_state(sync->store, sync->vm->id, "replicating", "ready_for_failover", err) <
            0)
        return -1;
    return store_commit(sync->store, err);
}

static void attempt(const struct sync *sync, const char *relative,
                    int (*act)(const char *path, struct error **err))
{
    CLEANUP_ERROR struct error *ignored = NULL;
    char path[PATH_MAX];

    if (volume_path(sync->state_dir, relative, path, &ignored) == 0)
        act(path, &ignored);
}

/* A complete point needs its image and leaves, read-only, and no working files. It is
 * complete whatever happens here, and the next run tidies again. */
static void tidy(const struct sync *sync, const struct store_point_disk *row, int key,
                 unsigned number)
{
    struct volume_names names;

    volume_names(sync->vm->uuid, key, number, false, &names);
    attempt(sync, names.journal, volume_remove);
    attempt(sync, names.resend, volume_remove);
    attempt(sync, names.changes, volume_remove);
    attempt(sync, row->image, volume_seal);
    attempt(sync, row->leaves, volume_seal);
}

void sync_tidy(const struct sync *sync)
{
    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];

        if (disk->parent.id)
            tidy(sync, &disk->parent, disk->stored.key, sync->newest.number);
    }
    job_settle_exports(sync->store, sync->state_dir, sync->vm, true);
}

int sync_publish(struct sync *sync, struct error **err)
{
    if (settle(sync, err) < 0)
        return -1;
    strcpy(sync->job.operation, "done");
    sync->job.percent = 100;
    sync->job.eta_seconds = 0;
    if (commit(sync, err) < 0)
        return -1;
    for (size_t i = 0; i < sync->count; i++)
        tidy(sync, &sync->disks[i].row, sync->disks[i].stored.key, sync->point.number);
    return 0;
}

int sync_end_unchanged(struct sync *sync, struct error **err)
{
    strcpy(sync->job.operation, "done");
    sync->job.percent = 100;
    sync->job.eta_seconds = 0;
    if (store_job_update(sync->store, &sync->job, err) < 0)
        return -1;
    return store_job_end(sync->store, sync->job.id, "completed", NULL, err);
}

static int write_failure(struct sync *sync, const struct error *reason, struct error **err)
{
    CLEANUP_ROLLBACK struct store *transaction = NULL;
    const char *outcome = reason->kind == ERROR_PAUSED ? "paused" : "failed";

    if (store_begin(sync->store, err) < 0)
        return -1;
    transaction = sync->store;
    for (size_t i = 0; sync->planned && i < sync->count; i++) {
        if (add_history(sync, &sync->disks[i], outcome, err) < 0)
            return -1;
    }
    if (store_job_update(sync->store, &sync->job, err) < 0 ||
        store_job_end(sync->store, sync->job.id, outcome, error_message(reason), err) < 0 ||
        store_vm_change_state(sync->store, sync->vm->id, "replicating",
                              sync->newest.id ? "ready_for_failover" : "discovered", err) < 0)
        return -1;
    return store_commit(sync->store, err);
}

void sync_fail(struct sync *sync, const struct error *reason)
{
    CLEANUP_ERROR struct error *ignored = NULL;

    for (size_t i = 0; sync->point.id && i < sync->count; i++) {
        struct export_target target = sync_target(sync, &sync->disks[i]);
        CLEANUP_ERROR struct error *missing = NULL;

        export_revoke(sync->store, sync->state_dir, &target, &missing);
    }
    write_failure(sync, reason, &ignored);
}
