/* Owning a job; see store.h and job/claim.h. Whoever takes a job moves its fence on, and each
 * write of an owner names the fence that it got: an owner that was replaced changes nothing. */
#include <string.h>

#include "store/statement.h"

/* The row is there, but not under this fence any more. */
static int run_on_mine(struct statement *s, struct error **err)
{
    int64_t touched;

    if (run_count(s, &touched, err) < 0)
        return -1;
    if (touched > 0)
        return 0;
    error_set(err, "the job belongs to another worker now");
    (*err)->errnum = ESTALE;
    return -1;
}

int store_claim_take(struct store *store, const struct store_job *seen, struct store_job *mine,
                     bool *taken, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "UPDATE replication_jobs SET status = 'running', fence = ?, lease = ?, "
               "lease_expires_at = ?, owner_host = ?, owner_boot = ?, owner_pid = ?, "
               "owner_start = ?, paused_by = NULL, wanted = NULL, error = NULL, "
               "started_at = ifnull(started_at, ?), updated_at = ? "
               "WHERE id = ? AND fence = ? AND status = ? AND ifnull(lease_expires_at, 0) = ?");
    int64_t now = store_now_ms(), touched;

    mine->fence = seen->fence + 1;
    bind_int(&s, mine->fence);
    bind_text(&s, mine->lease);
    bind_int(&s, mine->expires_ms);
    bind_text(&s, mine->owner_host);
    bind_text(&s, mine->owner_boot);
    bind_int(&s, mine->owner_pid);
    bind_int(&s, mine->owner_start);
    bind_int(&s, now);
    bind_int(&s, now);
    bind_int(&s, seen->id);
    bind_int(&s, seen->fence);
    bind_text(&s, seen->status);
    bind_int(&s, seen->expires_ms);
    if (run_count(&s, &touched, err) < 0)
        return -1;
    *taken = touched > 0;
    return 0;
}

int store_claim_renew(struct store *store, int64_t job_id, int64_t fence, int64_t expires_ms,
                      struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE replication_jobs SET lease_expires_at = ? "
                         "WHERE id = ? AND fence = ? AND status = 'running'");

    bind_int(&s, expires_ms);
    bind_int(&s, job_id);
    bind_int(&s, fence);
    return run_on_mine(&s, err);
}

int store_claim_check(struct store *store, int64_t job_id, int64_t fence, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE replication_jobs SET updated_at = ? "
                         "WHERE id = ? AND fence = ? AND status = 'running'");

    bind_int(&s, store_now_ms());
    bind_int(&s, job_id);
    bind_int(&s, fence);
    return run_on_mine(&s, err);
}

int store_claim_end(struct store *store, int64_t job_id, int64_t fence, const char *status,
                    const char *paused_by, const char *operation, const char *error,
                    struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store,
        "UPDATE replication_jobs SET status = ?, paused_by = ?, current_operation = ?, "
        "error = ?, wanted = NULL, "
        "lease = NULL, lease_expires_at = NULL, throughput = 0, completed_at = nullif(?, 0), "
        "updated_at = ? WHERE id = ? AND fence = ? AND status = 'running'");
    bool over = strcmp(status, "paused") != 0 && strcmp(status, "queued") != 0;
    char text[STORE_TEXT];
    int64_t now = store_now_ms();

    snprintf(text, sizeof text, "%s", error ? error : "");
    bind_text(&s, status);
    bind_text(&s, paused_by);
    bind_text(&s, operation);
    bind_text(&s, text);
    bind_int(&s, over ? now : 0);
    bind_int(&s, now);
    bind_int(&s, job_id);
    bind_int(&s, fence);
    return run_on_mine(&s, err);
}

int store_claim_forget(struct store *store, int64_t job_id, int64_t fence, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "DELETE FROM replication_jobs WHERE id = ? AND fence = ? AND status = 'running'");

    bind_int(&s, job_id);
    bind_int(&s, fence);
    return run_on_mine(&s, err);
}

int store_job_ask(struct store *store, int64_t job_id, const char *wanted, bool *asked,
                  struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "UPDATE replication_jobs SET wanted = ? WHERE id = ? AND status = 'running'");
    int64_t touched;

    bind_text(&s, wanted);
    bind_int(&s, job_id);
    if (run_count(&s, &touched, err) < 0)
        return -1;
    *asked = touched > 0;
    return 0;
}
