/* The end of a sync; see sync.h. What comes in: disks whose data is flushed and
 * verified. What goes out: one transaction that makes them a restore point, with their
 * change ids and history. A change id is never stored before its data is durable. */
#include <string.h>

#include "job/exports.h"
#include "job/sweep.h"
#include "job/sync.h"
#include "replica/volume.h"

/* Nobody writes any more, and everything is on stable storage. */
static int settle(struct sync *sync, struct error **err)
{
    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];
        struct export_target target = sync_target(sync, disk);

        if (sync_grant(sync, &target, NULL, err) < 0 || volume_sync(disk->image, err) < 0 ||
            volume_sync(disk->leaves, err) < 0)
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

/* How each disk ended, in job_disks. */
static int end_disk(struct sync *sync, const struct disk_sync *disk, const char *ending,
                    struct error **err)
{
    struct store_job_disk row = disk->shown;

    row.job_id = sync->job.id;
    row.disk_id = disk->stored.id;
    row.throughput = 0;
    snprintf(row.sync_type, sizeof row.sync_type, "%s", sync_type_name(disk->type));
    snprintf(row.operation, sizeof row.operation, "%s", ending);
    if (strcmp(ending, "Completed") == 0) {
        row.bytes_total = row.bytes_done > row.bytes_total ? row.bytes_done : row.bytes_total;
        row.bytes_done = row.bytes_total;
        row.percent = 100;
        row.eta_seconds = 0;
    } else {
        row.eta_seconds = -1;
    }
    return store_job_disk_put(sync->store, &row, err);
}

static int commit(struct store *store, void *opaque, struct error **err)
{
    struct sync *sync = opaque;

    for (size_t i = 0; i < sync->count; i++) {
        if (publish_disk(sync, &sync->disks[i], err) < 0 ||
            end_disk(sync, &sync->disks[i], "Completed", err) < 0)
            return -1;
    }
    if (store_point_complete(store, sync->point.id, err) < 0 ||
        store_vm_point_taken(store, sync->vm->id, sync->point.number, err) < 0 ||
        store_job_update(store, &sync->job, err) < 0 ||
        store_step(store, sync->job.id, 0, "commit", "done", NULL, err) < 0)
        return -1;
    return store_vm_change_state(store, sync->vm->id, "replicating", "ready_for_failover", err);
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
static void tidy(const struct sync *sync, const struct store_point_disk *row)
{
    static const char *const working[] = { "journal", "resend", "changes" };
    char name[STORE_PATH];

    if (!row->id)
        return;
    for (size_t i = 0; i < sizeof working / sizeof working[0]; i++) {
        sync_name_beside(row->leaves, working[i], name, sizeof name);
        attempt(sync, name, volume_remove);
    }
    attempt(sync, row->image, volume_seal);
    attempt(sync, row->leaves, volume_seal);
}

void sync_tidy(const struct sync *sync)
{
    for (size_t i = 0; i < sync->count; i++)
        tidy(sync, &sync->disks[i].parent);
    sweep_files(sync->store, sync->state_dir, sync->vm);
    job_settle_exports(sync->store, sync->state_dir, sync->vm, true);
}

int sync_publish(struct sync *sync, struct error **err)
{
    if (sync_step(sync, NULL, "commit", "running", NULL, err) < 0 || settle(sync, err) < 0)
        return -1;
    strcpy(sync->job.operation, "completing the point");
    sync->job.bytes_done = sync->job.bytes_total;
    sync->job.percent = 100;
    sync->job.eta_seconds = 0;
    sync->job.throughput = 0;
    if (claim_transaction(sync->claim, sync->store, commit, sync, err) < 0)
        return -1;
    sync->committed = true;
    for (size_t i = 0; i < sync->count; i++)
        tidy(sync, &sync->disks[i].row);
    return sync_step(sync, NULL, "commit", "done", NULL, err);
}

int sync_end(struct sync *sync, struct error **err)
{
    sync->job.percent = 100;
    sync->job.eta_seconds = 0;
    sync_show(sync, "ending");
    return claim_end(sync->claim, sync->store, "completed", NULL, NULL, err);
}

struct failure {
    struct sync *sync;
    const char *outcome;
    const struct error *reason;
};

static int write_failure(struct store *store, void *opaque, struct error **err)
{
    const struct failure *failure = opaque;
    struct sync *sync = failure->sync;
    char ending[STORE_NAME];

    claim_ending(failure->outcome, error_message(failure->reason), ending);
    sync->job.eta_seconds = -1;
    sync->job.throughput = 0;
    for (size_t i = 0; sync->begun && sync->planned && i < sync->count; i++) {
        bool done = sync->disks[i].row.complete || !sync_needs_copy(&sync->disks[i]);

        if (add_history(sync, &sync->disks[i], failure->outcome, err) < 0 ||
            end_disk(sync, &sync->disks[i], done ? "Completed" : ending, err) < 0)
            return -1;
    }
    if (store_job_update(store, &sync->job, err) < 0)
        return -1;
    return store_vm_change_state(store, sync->vm->id, "replicating",
                                 sync->newest.id ? "ready_for_failover" : "discovered", err);
}

void sync_fail(struct sync *sync, const char *status, const char *paused_by,
               const struct error *reason)
{
    struct failure failure = { sync, status, reason };
    CLEANUP_ERROR struct error *ignored = NULL;

    claim_end_with(sync->claim, sync->store, status, paused_by, error_message(reason),
                   write_failure, &failure, &ignored);
}

/* Nobody may write to what this run made. */
void sync_withdraw(struct sync *sync)
{
    for (size_t i = 0; sync->point.id && i < sync->count; i++) {
        struct export_target target = sync_target(sync, &sync->disks[i]);
        CLEANUP_ERROR struct error *missing = NULL;

        sync_grant(sync, &target, NULL, &missing);
    }
}
