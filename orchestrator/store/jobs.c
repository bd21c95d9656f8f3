/* Jobs, their steps and the history of syncs; see store.h. */
#include <string.h>

#include "store/statement.h"

#define JOB_SELECT                                                                                 \
    "SELECT id, vm_id, replication_type, sync_type, status, current_operation, bytes_total, "      \
    "bytes_done, throughput, ifnull(eta_seconds, -1), percent, error, paused_by, wanted, "         \
    "ifnull(rate, -1), options, fence, lease, lease_expires_at, owner_host, owner_boot, "          \
    "owner_pid, owner_start, source_snapshot, created_at, started_at, updated_at, completed_at "   \
    "FROM replication_jobs "
#define IS_OPEN "status IN ('queued', 'running', 'paused') "

static void read_job(struct statement *s, void *record)
{
    struct store_job *job = record;

    job->id = take_int(s);
    job->vm_id = take_int(s);
    take_text(s, job->type, sizeof job->type);
    take_text(s, job->sync_type, sizeof job->sync_type);
    take_text(s, job->status, sizeof job->status);
    take_text(s, job->operation, sizeof job->operation);
    job->bytes_total = (uint64_t)take_int(s);
    job->bytes_done = (uint64_t)take_int(s);
    job->throughput = (uint64_t)take_int(s);
    job->eta_seconds = take_int(s);
    job->percent = take_double(s);
    take_text(s, job->error, sizeof job->error);
    take_text(s, job->paused_by, sizeof job->paused_by);
    take_text(s, job->wanted, sizeof job->wanted);
    job->rate = take_int(s);
    take_text(s, job->options, sizeof job->options);
    job->fence = take_int(s);
    take_text(s, job->lease, sizeof job->lease);
    job->expires_ms = take_int(s);
    take_text(s, job->owner_host, sizeof job->owner_host);
    take_text(s, job->owner_boot, sizeof job->owner_boot);
    job->owner_pid = take_int(s);
    job->owner_start = take_int(s);
    take_text(s, job->snapshot, sizeof job->snapshot);
    job->created_ms = take_int(s);
    job->started_ms = take_int(s);
    job->updated_ms = take_int(s);
    job->completed_ms = take_int(s);
}

static int insert_job(struct store *store, struct store_job *job, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "INSERT INTO replication_jobs (vm_id, replication_type, sync_type, status, options, "
               "rate, eta_seconds, created_at, updated_at) "
               "VALUES (?, ?, ?, ?, ?, nullif(?, -1), -1, ?, ?)");

    job->created_ms = store_now_ms();
    bind_int(&s, job->vm_id);
    bind_text(&s, job->type);
    bind_text(&s, job->sync_type);
    bind_text(&s, job->status);
    bind_text(&s, job->options);
    bind_int(&s, job->rate);
    bind_int(&s, job->created_ms);
    bind_int(&s, job->created_ms);
    if (run_insert(&s, &job->id, err) == 0)
        return 0;
    if (store_last_failure(store) == STORE_UNIQUE) {
        error_clear(err);
        error_set(err, "another job of this VM is not at its end: it is running, queued or paused");
        (*err)->errnum = EEXIST;
    }
    return -1;
}

int store_job_create(struct store *store, struct store_job *job, struct error **err)
{
    strcpy(job->status, "queued");
    return insert_job(store, job, err);
}

int store_job_start(struct store *store, struct store_job *job, struct error **err)
{
    strcpy(job->status, "running");
    return insert_job(store, job, err);
}

int store_job_get(struct store *store, int64_t id, struct store_job *job, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, JOB_SELECT "WHERE id = ?");
    bool found;

    bind_int(&s, id);
    if (read_first(&s, read_job, job, &found, err) < 0)
        return -1;
    if (found)
        return 0;
    error_set(err, "there is no job %lld; `vmferry job list --all` shows them", (long long)id);
    (*err)->errnum = ENOENT;
    return -1;
}

int store_job_update(struct store *store, const struct store_job *job, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "UPDATE replication_jobs SET sync_type = ?, current_operation = ?, "
               "bytes_total = ?, bytes_done = ?, throughput = ?, eta_seconds = ?, percent = ?, "
               "updated_at = ? WHERE id = ? AND fence = ? AND status = 'running'");

    bind_text(&s, job->sync_type);
    bind_text(&s, job->operation);
    bind_int(&s, (int64_t)job->bytes_total);
    bind_int(&s, (int64_t)job->bytes_done);
    bind_int(&s, (int64_t)job->throughput);
    bind_int(&s, job->eta_seconds);
    bind_double(&s, job->percent);
    bind_int(&s, store_now_ms());
    bind_int(&s, job->id);
    bind_int(&s, job->fence);
    return run_on_one(&s, err);
}

int store_job_end(struct store *store, int64_t job_id, const char *status, const char *error,
                  struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE replication_jobs SET status = ?, error = ?, completed_at = ?, "
                         "updated_at = ?, paused_by = NULL, wanted = NULL, lease = NULL, "
                         "lease_expires_at = NULL WHERE id = ? AND " IS_OPEN);
    int64_t now = store_now_ms();
    char text[STORE_TEXT];

    snprintf(text, sizeof text, "%s", error ? error : "");
    bind_text(&s, status);
    bind_text(&s, text);
    bind_int(&s, now);
    bind_int(&s, now);
    bind_int(&s, job_id);
    return run_on_one(&s, err);
}

int store_job_set_snapshot(struct store *store, int64_t job_id, const char *snapshot,
                           struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE replication_jobs SET source_snapshot = ? WHERE id = ?");

    bind_text(&s, snapshot);
    bind_int(&s, job_id);
    return run_on_one(&s, err);
}

int store_job_set_options(struct store *store, int64_t job_id, const char *options,
                          struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE replication_jobs SET options = ? WHERE id = ?");

    bind_text(&s, options);
    bind_int(&s, job_id);
    return run_on_one(&s, err);
}

int store_job_set_rate(struct store *store, int64_t job_id, int64_t rate, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE replication_jobs SET rate = nullif(?, -1) WHERE id = ?");

    bind_int(&s, rate);
    bind_int(&s, job_id);
    return run_on_one(&s, err);
}

int store_jobs_with_snapshot(struct store *store, int64_t vm_id, struct store_job **jobs,
                             size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, JOB_SELECT
        "WHERE source_snapshot IS NOT NULL AND (? = 0 OR vm_id = ?) ORDER BY created_at, id");

    bind_int(&s, vm_id);
    bind_int(&s, vm_id);
    return read_all(&s, read_job, sizeof **jobs, jobs, count, err);
}

int store_jobs(struct store *store, int64_t vm_id, unsigned limit, struct store_job **jobs,
               size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, JOB_SELECT "WHERE ? = 0 OR vm_id = ? ORDER BY created_at DESC, id DESC LIMIT ?");

    bind_int(&s, vm_id);
    bind_int(&s, vm_id);
    bind_int(&s, limit ? (int64_t)limit : INT64_MAX);
    return read_all(&s, read_job, sizeof **jobs, jobs, count, err);
}

int store_jobs_open(struct store *store, int64_t vm_id, struct store_job **jobs, size_t *count,
                    struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, JOB_SELECT "WHERE " IS_OPEN "AND (? = 0 OR vm_id = ?) ORDER BY created_at, id");

    bind_int(&s, vm_id);
    bind_int(&s, vm_id);
    return read_all(&s, read_job, sizeof **jobs, jobs, count, err);
}

int store_job_open(struct store *store, int64_t vm_id, bool *found, struct store_job *job,
                   struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, JOB_SELECT "WHERE vm_id = ? AND " IS_OPEN);

    bind_int(&s, vm_id);
    return read_first(&s, read_job, job, found, err);
}

int store_step(struct store *store, int64_t job_id, int64_t disk_id, const char *step,
               const char *state, const char *detail, struct error **err)
{
    static const struct upsert upsert = {
        .table = "job_steps",
        .columns = "job_id, disk_id, step, state, started_at, completed_at, detail",
        .key = "job_id, disk_id, step",
        .conflict = "job_id, ifnull(disk_id, 0), step",
        .insert_only = "started_at",
        .unless_null = "detail",
    };
    CLEANUP_STATEMENT struct statement s = statement_upsert(store, &upsert);
    int64_t now = store_now_ms();

    bind_int(&s, job_id);
    bind_id(&s, disk_id);
    bind_text(&s, step);
    bind_text(&s, state);
    bind_int(&s, now);
    bind_id(&s, strcmp(state, "running") == 0 ? 0 : now);
    bind_text(&s, detail);
    return run(&s, err);
}

int store_steps_stop(struct store *store, int64_t job_id, const char *why, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE job_steps SET state = 'failed', completed_at = ?, "
                         "detail = ifnull(detail, ?) WHERE job_id = ? AND state = 'running'");

    bind_int(&s, store_now_ms());
    bind_text(&s, why);
    bind_int(&s, job_id);
    return run(&s, err);
}

int store_history_add(struct store *store, const struct store_history *entry, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "INSERT INTO cbt_history (disk_id, job_id, change_id_before, change_id_after, "
               "sync_type, bytes, areas, duration_ms, outcome, created_at) "
               "VALUES (?, ?, ?, ?, ?, ?, nullif(?, -1), ?, ?, ?)");

    bind_int(&s, entry->disk_id);
    bind_int(&s, entry->job_id);
    bind_text(&s, entry->before);
    bind_text(&s, entry->after);
    bind_text(&s, entry->sync_type);
    bind_int(&s, (int64_t)entry->bytes);
    bind_int(&s, entry->areas);
    bind_int(&s, entry->duration_ms);
    bind_text(&s, entry->outcome);
    bind_int(&s, store_now_ms());
    return run(&s, err);
}

static void read_churn(struct statement *s, void *record)
{
    struct store_churn *churn = record;

    churn->bytes = (uint64_t)take_int(s);
    churn->duration_ms = take_int(s);
    churn->ended_ms = take_int(s);
}

int store_history_churn(struct store *store, int64_t vm_id, unsigned limit,
                        struct store_churn **list, size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT sum(h.bytes), max(h.duration_ms), max(h.created_at) FROM cbt_history h "
               "JOIN vm_disks d ON d.id = h.disk_id WHERE d.vm_id = ? AND h.outcome = 'completed' "
               "AND h.sync_type = 'incremental' GROUP BY h.job_id "
               "ORDER BY max(h.created_at) DESC, h.job_id DESC LIMIT ?");

    bind_int(&s, vm_id);
    bind_int(&s, limit);
    return read_all(&s, read_churn, sizeof **list, list, count, err);
}
