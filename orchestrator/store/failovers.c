/* Failover jobs; see store.h. */
#include <string.h>

#include "store/statement.h"

#define FAILOVER_SELECT                                                                            \
    "SELECT id, vm_id, kind, state, point_id, point_number, domain_uuid, domain_name, network, "   \
    "host, uri, keep_until, source_was, off_at, replication_job_id, error, created_at, "           \
    "updated_at, completed_at FROM failover_jobs "

static void read_failover(struct statement *s, void *record)
{
    struct store_failover *failover = record;

    failover->id = take_int(s);
    failover->vm_id = take_int(s);
    take_text(s, failover->kind, sizeof failover->kind);
    take_text(s, failover->state, sizeof failover->state);
    failover->point_id = take_int(s);
    failover->point = (unsigned)take_int(s);
    take_text(s, failover->domain_uuid, sizeof failover->domain_uuid);
    take_text(s, failover->domain_name, sizeof failover->domain_name);
    take_text(s, failover->network, sizeof failover->network);
    take_text(s, failover->host, sizeof failover->host);
    take_text(s, failover->uri, sizeof failover->uri);
    failover->keep_until_ms = take_int(s);
    take_text(s, failover->source_was, sizeof failover->source_was);
    failover->off_ms = take_int(s);
    failover->replication_job_id = take_int(s);
    take_text(s, failover->error, sizeof failover->error);
    failover->created_ms = take_int(s);
    failover->updated_ms = take_int(s);
    failover->completed_ms = take_int(s);
}

int store_failover_create(struct store *store, struct store_failover *failover, const char *spec,
                          struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "INSERT INTO failover_jobs (vm_id, kind, state, point_id, point_number, "
                         "domain_uuid, domain_name, network, host, uri, keep_until, source_was, "
                         "replication_job_id, source_vm_spec, created_at, updated_at) "
                         "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");

    failover->created_ms = store_now_ms();
    bind_int(&s, failover->vm_id);
    bind_text(&s, failover->kind);
    bind_text(&s, failover->state);
    bind_id(&s, failover->point_id);
    bind_id(&s, failover->point);
    bind_text(&s, failover->domain_uuid);
    bind_text(&s, failover->domain_name);
    bind_text(&s, failover->network);
    bind_text(&s, failover->host);
    bind_text(&s, failover->uri);
    bind_id(&s, failover->keep_until_ms);
    bind_text(&s, failover->source_was);
    bind_id(&s, failover->replication_job_id);
    bind_text(&s, spec);
    bind_int(&s, failover->created_ms);
    bind_int(&s, failover->created_ms);
    return run_insert(&s, &failover->id, err);
}

int store_failover_update(struct store *store, const struct store_failover *failover,
                          struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store,
        "UPDATE failover_jobs SET state = ?, point_id = ?, point_number = ?, domain_uuid = ?, "
        "domain_name = ?, network = ?, error = ?, keep_until = ?, source_was = ?, "
        "off_at = ?, replication_job_id = ?, completed_at = ?, updated_at = ? "
        "WHERE id = ?");

    bind_text(&s, failover->state);
    bind_id(&s, failover->point_id);
    bind_id(&s, failover->point);
    bind_text(&s, failover->domain_uuid);
    bind_text(&s, failover->domain_name);
    bind_text(&s, failover->network);
    bind_text(&s, failover->error);
    bind_id(&s, failover->keep_until_ms);
    bind_text(&s, failover->source_was);
    bind_id(&s, failover->off_ms);
    bind_id(&s, failover->replication_job_id);
    bind_id(&s, failover->completed_ms);
    bind_int(&s, store_now_ms());
    bind_int(&s, failover->id);
    return run_on_one(&s, err);
}

int store_failover_evidence(struct store *store, int64_t id, const char *json, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE failover_jobs SET evidence = ?, updated_at = ? WHERE id = ?");

    bind_text(&s, json);
    bind_int(&s, store_now_ms());
    bind_int(&s, id);
    return run_on_one(&s, err);
}

int store_failover_get_evidence(struct store *store, int64_t id, char **json, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT ifnull(evidence, '{}') FROM failover_jobs WHERE id = ?");

    bind_int(&s, id);
    return read_only_text(&s, json, err);
}

int store_failover_spec(struct store *store, int64_t id, char **json, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT source_vm_spec FROM failover_jobs WHERE id = ?");

    bind_int(&s, id);
    return read_only_text(&s, json, err);
}

int store_failover_set_options(struct store *store, int64_t id, const char *json,
                               struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE failover_jobs SET options = ?, updated_at = ? WHERE id = ?");

    bind_text(&s, json);
    bind_int(&s, store_now_ms());
    bind_int(&s, id);
    return run_on_one(&s, err);
}

int store_failover_options(struct store *store, int64_t id, char **json, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT ifnull(options, '{}') FROM failover_jobs WHERE id = ?");

    bind_int(&s, id);
    return read_only_text(&s, json, err);
}

int store_failovers(struct store *store, int64_t vm_id, bool open, struct store_failover **list,
                    size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, FAILOVER_SELECT "WHERE (? = 0 OR vm_id = ?) AND (? = 0 OR completed_at IS NULL) "
                               "ORDER BY created_at DESC, id DESC");

    bind_int(&s, vm_id);
    bind_int(&s, vm_id);
    bind_int(&s, open);
    return read_all(&s, read_failover, sizeof **list, list, count, err);
}

int store_failover_get(struct store *store, int64_t id, struct store_failover *failover,
                       struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, FAILOVER_SELECT "WHERE id = ?");
    bool found;

    bind_int(&s, id);
    if (read_first(&s, read_failover, failover, &found, err) < 0)
        return -1;
    return found ? 0 : error_set(err, "there is no failover %lld", (long long)id);
}
