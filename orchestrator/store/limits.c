/* Limits of all workers together; see limits.h. */
#include "store/limits.h"

#include <string.h>

#include "store/statement.h"

#define WAITING_MS 5000 /* a worker that waits says so more often */

/* Owned by a worker that lives, as far as the database can tell. */
#define RUNS "j.status = 'running' AND j.replication_type = 'manual' AND j.lease_expires_at > ?"

static void read_value(struct statement *s, void *record)
{
    take_text(s, record, STORE_NAME);
}

int store_setting_get(struct store *store, const char *name, char value[STORE_NAME],
                      struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT value FROM settings WHERE name = ?");
    bool found;

    bind_text(&s, name);
    if (read_first(&s, read_value, value, &found, err) < 0)
        return -1;
    if (!found)
        value[0] = '\0';
    return 0;
}

int store_setting_put(struct store *store, const char *name, const char *value, struct error **err)
{
    const struct upsert upsert = {
        .table = "settings", .columns = "name, value, updated_at", .key = "name", .has_no_id = true
    };
    CLEANUP_STATEMENT struct statement s = statement_upsert(store, &upsert);

    bind_text(&s, name);
    bind_text(&s, value);
    bind_int(&s, store_now_ms());
    return run(&s, err);
}

int store_vm_set_host(struct store *store, int64_t vm_id, const char *host, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vms SET source_host = ? WHERE id = ?");

    bind_text(&s, host);
    bind_int(&s, vm_id);
    return run_on_one(&s, err);
}

/* Who starts a job holds this row until its transaction ends. */
static int lock(struct store *store, struct error **err)
{
    return store_setting_put(store, "limits", "counted", err);
}

/* The job, and of what it is one. */
struct place {
    int64_t created_ms;
    char source[STORE_NAME];
    char host[STORE_NAME];
    char pool[STORE_NAME];
};

static void read_place(struct statement *s, void *record)
{
    struct place *place = record;

    place->created_ms = take_int(s);
    take_text(s, place->source, sizeof place->source);
    take_text(s, place->host, sizeof place->host);
    take_text(s, place->pool, sizeof place->pool);
}

static int find_place(struct store *store, int64_t job_id, struct place *place, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT j.created_at, s.name, m.source_host, p.name FROM replication_jobs j "
               "JOIN vms m ON m.id = j.vm_id JOIN sources s ON s.id = m.source_id "
               "LEFT JOIN pools p ON p.id = m.pool_id WHERE j.id = ?");
    bool found;

    bind_int(&s, job_id);
    if (read_first(&s, read_place, place, &found, err) < 0)
        return -1;
    return found ? 0 : error_set(err, "there is no job %lld", (long long)job_id);
}

struct counts {
    unsigned total, source, host, target;
};

static void read_counts(struct statement *s, void *record)
{
    struct counts *counts = record;

    counts->total = (unsigned)take_int(s);
    counts->source = (unsigned)take_int(s);
    counts->host = (unsigned)take_int(s);
    counts->target = (unsigned)take_int(s);
}

/* How many others run, and of those how many that have something in common with this one. */
static int count_running(struct store *store, int64_t job_id, int64_t now_ms, struct counts *counts,
                         struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store,
        "SELECT count(*), "
        "ifnull(sum(CASE WHEN v.source_id = m.source_id THEN 1 ELSE 0 END), 0), "
        "ifnull(sum(CASE WHEN v.source_host = m.source_host THEN 1 ELSE 0 END), 0), "
        "ifnull(sum(CASE WHEN ifnull(v.pool_id, 0) = ifnull(m.pool_id, 0) THEN 1 ELSE 0 END), 0) "
        "FROM replication_jobs j JOIN vms v ON v.id = j.vm_id "
        "JOIN replication_jobs mine ON mine.id = ? JOIN vms m ON m.id = mine.vm_id "
        "WHERE j.id <> mine.id AND " RUNS);
    bool found;

    bind_int(&s, job_id);
    bind_int(&s, now_ms);
    return read_first(&s, read_counts, counts, &found, err);
}

static void read_count(struct statement *s, void *record)
{
    *(unsigned *)record = (unsigned)take_int(s);
}

/* Those of the same source that were there before and whose workers wait. */
static int count_before(struct store *store, int64_t job_id, const struct place *place,
                        unsigned *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT count(*) FROM replication_jobs j JOIN vms v ON v.id = j.vm_id "
               "JOIN sources s ON s.id = v.source_id WHERE j.status = 'queued' AND s.name = ? "
               "AND j.current_operation LIKE 'waits: %' AND j.updated_at > ? AND j.id <> ? "
               "AND (j.created_at < ? OR (j.created_at = ? AND j.id < ?))");
    bool found;

    bind_text(&s, place->source);
    bind_int(&s, store_now_ms() - WAITING_MS);
    bind_int(&s, job_id);
    bind_int(&s, place->created_ms);
    bind_int(&s, place->created_ms);
    bind_int(&s, job_id);
    return read_first(&s, read_count, count, &found, err);
}

static const char *jobs(unsigned count)
{
    return count == 1 ? "job" : "jobs";
}

static void explain(const struct place *place, const struct counts *counts, unsigned before,
                    const struct store_limits *limits, char why[STORE_NAME])
{
    why[0] = '\0';
    if (limits->total && counts->total >= limits->total)
        snprintf(why, STORE_NAME, "waits: %u %s run, which is the limit", limits->total,
                 jobs(limits->total));
    else if (limits->per_source && counts->source >= limits->per_source)
        snprintf(why, STORE_NAME, "waits: source '%.80s' has its %u %s", place->source,
                 limits->per_source, jobs(limits->per_source));
    else if (limits->per_source && counts->source + before >= limits->per_source)
        snprintf(why, STORE_NAME, "waits: others of source '%.80s' were first", place->source);
    else if (limits->per_host && place->host[0] && counts->host >= limits->per_host)
        snprintf(why, STORE_NAME, "waits: host %.80s has its %u %s", place->host, limits->per_host,
                 jobs(limits->per_host));
    else if (limits->per_target && counts->target >= limits->per_target)
        snprintf(why, STORE_NAME, "waits: %s%.80s has its %u %s",
                 place->pool[0] ? "pool " : "the state directory", place->pool, limits->per_target,
                 jobs(limits->per_target));
}

int store_limits_room(struct store *store, int64_t job_id, const struct store_limits *limits,
                      int64_t now_ms, char why[STORE_NAME], struct error **err)
{
    struct counts counts = { 0 };
    struct place place;
    unsigned before = 0;

    why[0] = '\0';
    if (!limits->total && !limits->per_source && !limits->per_host && !limits->per_target)
        return 0;
    if (lock(store, err) < 0 || find_place(store, job_id, &place, err) < 0 ||
        count_running(store, job_id, now_ms, &counts, err) < 0 ||
        (limits->per_source && count_before(store, job_id, &place, &before, err) < 0))
        return -1;
    explain(&place, &counts, before, limits, why);
    return 0;
}

int store_job_waits(struct store *store, const struct store_job *job, const char *why,
                    struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE replication_jobs SET status = 'queued', current_operation = ?, "
                         "paused_by = NULL, completed_at = NULL, updated_at = ? "
                         "WHERE id = ? AND fence = ? AND status IN ('queued', 'paused')");

    bind_text(&s, why);
    bind_int(&s, store_now_ms());
    bind_int(&s, job->id);
    bind_int(&s, job->fence);
    return run(&s, err);
}

int store_job_waits_no_more(struct store *store, int64_t job_id, const char *why,
                            struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE replication_jobs SET status = 'paused', paused_by = 'signal', "
                         "current_operation = ?, error = ?, updated_at = ? "
                         "WHERE id = ? AND status = 'queued'");
    char operation[STORE_NAME];

    snprintf(operation, sizeof operation, "Paused: %s", why);
    bind_text(&s, operation);
    bind_text(&s, why);
    bind_int(&s, store_now_ms());
    bind_int(&s, job_id);
    return run(&s, err);
}

int store_jobs_moving(struct store *store, int64_t now_ms, unsigned *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT count(*) FROM replication_jobs j WHERE " RUNS
                         " AND j.current_operation IN ('copying', 'verifying', "
                         "'reading the replica')");
    bool found;

    bind_int(&s, now_ms);
    return read_first(&s, read_count, count, &found, err);
}
