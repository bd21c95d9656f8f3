/* What each disk of a job does, and the job's steps; see store.h. */
#include "store/statement.h"

int store_job_disk_put(struct store *store, const struct store_job_disk *disk, struct error **err)
{
    static const struct upsert upsert = {
        .table = "job_disks",
        .columns = "job_id, disk_id, sync_type, current_operation, bytes_total, bytes_done, "
                   "throughput, eta_seconds, percent, error, updated_at",
        .key = "job_id, disk_id",
        .has_no_id = true,
    };
    CLEANUP_STATEMENT struct statement s = statement_upsert(store, &upsert);

    bind_int(&s, disk->job_id);
    bind_int(&s, disk->disk_id);
    bind_text(&s, disk->sync_type);
    bind_text(&s, disk->operation);
    bind_int(&s, (int64_t)disk->bytes_total);
    bind_int(&s, (int64_t)disk->bytes_done);
    bind_int(&s, (int64_t)disk->throughput);
    bind_value(&s, &(struct value){ .kind = disk->eta_seconds < 0 ? VALUE_NULL : VALUE_INT,
                                    .number = disk->eta_seconds });
    bind_double(&s, disk->percent);
    bind_text(&s, disk->error);
    bind_int(&s, store_now_ms());
    return run(&s, err);
}

static void read_disk(struct statement *s, void *record)
{
    struct store_job_disk *disk = record;

    disk->job_id = take_int(s);
    disk->disk_id = take_int(s);
    disk->key = (int)take_int(s);
    disk->unit = (int)take_int(s);
    take_text(s, disk->sync_type, sizeof disk->sync_type);
    take_text(s, disk->operation, sizeof disk->operation);
    disk->bytes_total = (uint64_t)take_int(s);
    disk->bytes_done = (uint64_t)take_int(s);
    disk->throughput = (uint64_t)take_int(s);
    disk->eta_seconds = take_int(s);
    disk->percent = take_double(s);
    take_text(s, disk->error, sizeof disk->error);
}

int store_job_disks(struct store *store, int64_t job_id, struct store_job_disk **disks,
                    size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT job_id, disk_id, disk_key, unit_number, sync_type, current_operation, "
               "bytes_total, bytes_done, throughput, ifnull(eta_seconds, -1), percent, error "
               "FROM job_disks JOIN vm_disks ON vm_disks.id = disk_id WHERE job_id = ? "
               "ORDER BY unit_number, disk_key");

    bind_int(&s, job_id);
    return read_all(&s, read_disk, sizeof **disks, disks, count, err);
}

static void read_step(struct statement *s, void *record)
{
    struct store_step_row *step = record;

    take_text(s, step->step, sizeof step->step);
    step->key = (int)take_int(s);
    take_text(s, step->state, sizeof step->state);
    step->started_ms = take_int(s);
    step->completed_ms = take_int(s);
    take_text(s, step->detail, sizeof step->detail);
}

int store_steps(struct store *store, int64_t job_id, struct store_step_row **steps, size_t *count,
                struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT step, ifnull(disk_key, -1), state, started_at, completed_at, detail "
               "FROM job_steps LEFT JOIN vm_disks ON vm_disks.id = disk_id WHERE job_id = ? "
               "ORDER BY started_at, job_steps.id");

    bind_int(&s, job_id);
    return read_all(&s, read_step, sizeof **steps, steps, count, err);
}
