/* A merge as the tables show it; see merging.h. */
#include "job/merging.h"

#include <string.h>

#include "job/full.h"
#include "replica/pool.h"

#define WRITE_NS (INT64_C(400) * 1000000)

void merging_start(struct merging *merging, struct claim *claim, struct store *store,
                   const char *state_dir)
{
    *merging = (struct merging){ .claim = claim, .store = store, .state_dir = state_dir };
    ballast_hold(&merging->ballast, state_dir);
    progress_meter_init(&merging->meter, NULL, NULL);
    progress_meter_update(&merging->meter, 0, 0, progress_now_ns());
}

void merging_free(struct merging *merging)
{
    free(merging->disks);
    ballast_drop(&merging->ballast);
}

/* NULL: no memory, and then it is merged without being shown. */
static struct merging_disk *find(struct merging *merging, const struct store_point_disk *disk)
{
    struct merging_disk *grown;

    for (size_t i = 0; i < merging->count; i++) {
        if (merging->disks[i].id == disk->disk_id)
            return &merging->disks[i];
    }
    grown = reallocarray(merging->disks, merging->count + 1, sizeof *grown);
    if (!grown)
        return NULL;
    merging->disks = grown;
    grown += merging->count++;
    *grown = (struct merging_disk){ .id = disk->disk_id, .key = disk->key };
    progress_meter_init(&grown->meter, NULL, NULL);
    progress_meter_update(&grown->meter, 0, 0, progress_now_ns());
    return grown;
}

void merging_expect(struct merging *merging, const struct store_point_disk *disk, uint64_t bytes)
{
    struct merging_disk *found = find(merging, disk);

    if (found)
        found->total += bytes;
}

/* The disk's row, with what is known of it now. */
static int write_disk(const struct merging *merging, struct store *store, size_t i,
                      struct error **err)
{
    const struct merging_disk *disk = &merging->disks[i];
    const struct progress_record *record = &disk->meter.record;
    struct store_job_disk row = { .job_id = merging->claim->job.id,
                                  .disk_id = disk->id,
                                  .sync_type = "merge",
                                  .bytes_done = record->bytes_done,
                                  .bytes_total = record->bytes_total,
                                  .throughput = record->throughput,
                                  .eta_seconds = record->eta_seconds,
                                  .percent = record->percent };

    if (record->state == PROGRESS_COMPLETED)
        strcpy(row.operation, "Completed");
    else if (i == merging->now && merging->operation[0])
        snprintf(row.operation, sizeof row.operation, "%s", merging->operation);
    else
        strcpy(row.operation, "waiting");
    return store_job_disk_put(store, &row, err);
}

static int write_rows(struct store *store, void *opaque, struct error **err)
{
    const struct merging *merging = opaque;
    const struct progress_record *record = &merging->meter.record;
    struct store_job job;

    if (store_job_get(store, merging->claim->job.id, &job, err) < 0)
        return -1;
    snprintf(job.operation, sizeof job.operation, "%s", merging->operation);
    if (strcmp(job.type, JOB_MERGE) != 0)
        return store_job_update(store, &job, err);
    job.bytes_done = record->bytes_done;
    job.bytes_total = record->bytes_total;
    job.throughput = record->throughput;
    job.eta_seconds = record->eta_seconds;
    job.percent = record->percent;
    for (size_t i = 0; i < merging->count; i++) {
        if (write_disk(merging, store, i, err) < 0)
            return -1;
    }
    return store_job_update(store, &job, err);
}

/* What can't be written now is the next time; a claim that is lost shows by its stop. */
static void show(struct merging *merging, bool at_once)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    int64_t now = progress_now_ns();
    uint64_t done = 0, total = 0;

    if (!at_once && now - merging->written_ns < WRITE_NS)
        return;
    for (size_t i = 0; i < merging->count; i++) {
        struct merging_disk *disk = &merging->disks[i];
        uint64_t disk_done = disk->done + (i == merging->now ? merging->now_done : 0);

        if (disk->meter.record.state != PROGRESS_COMPLETED)
            progress_meter_update(&disk->meter, disk_done, disk->total, now);
        done += disk_done;
        total += disk->total;
    }
    if (merging->meter.record.state != PROGRESS_COMPLETED)
        progress_meter_update(&merging->meter, done, total, now);
    claim_transaction(merging->claim, merging->store, write_rows, merging, &ignored);
    merging->written_ns = now;
}

void merging_begin(struct merging *merging, unsigned number, const struct store_point_disk *disk,
                   uint64_t bytes)
{
    struct merging_disk *found = find(merging, disk);

    snprintf(merging->operation, sizeof merging->operation, "merging restore point %u, disk-%d",
             number, disk->key);
    merging->now_bytes = bytes;
    merging->now_done = 0;
    merging->begun = true;
    if (!found)
        return;
    merging->now = (size_t)(found - merging->disks);
    if (found->done + bytes > found->total)
        found->total = found->done + bytes;
    show(merging, true);
}

static void hear(void *opaque, double percent)
{
    struct merging *merging = opaque;

    merging->now_done = (uint64_t)((double)merging->now_bytes * percent / 100);
    show(merging, false);
}

struct volume_watch merging_watch(struct merging *merging)
{
    return (struct volume_watch){ &merging->claim->stop, hear, merging };
}

void merging_end(struct merging *merging)
{
    if (merging->now < merging->count)
        merging->disks[merging->now].done += merging->now_bytes;
    merging->now_bytes = merging->now_done = 0;
    show(merging, true);
}

void merging_finish(struct merging *merging)
{
    int64_t now = progress_now_ns();

    for (size_t i = 0; i < merging->count; i++)
        progress_meter_finish(&merging->disks[i].meter, PROGRESS_COMPLETED, now);
    progress_meter_finish(&merging->meter, PROGRESS_COMPLETED, now);
    show(merging, true);
}

void merging_explain_space(struct merging *merging, struct error **err)
{
    struct pool pool = { 0 };
    const struct full_place place = { &pool, merging->state_dir, merging->more };
    CLEANUP_ERROR struct error *ignored = NULL;
    int64_t pool_id;

    if (!full_is_cause(*err))
        return;
    ballast_drop(&merging->ballast); /* to read of the pool may take room, too */
    if (store_vm_pool(merging->store, merging->claim->job.vm_id, &pool_id, &ignored) < 0 ||
        pool_open(merging->store, merging->state_dir, pool_id, &pool, &ignored) < 0)
        pool.state_dir[0] = '\0';
    full_explain(&place, &merging->ballast, err);
}

int merging_check(const struct merging *merging, struct error **err)
{
    return atomic_load(&merging->claim->stop)
               ? error_set_errno(err, ECANCELED, "restore points are not merged")
               : 0;
}
