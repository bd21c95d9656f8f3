/* Pools, and which VM lies in which; see store.h. */
#include <string.h>

#include "store/statement.h"

#define POOL_COLUMNS "id, name, kind, location, options, created_at"

static void read_pool(struct statement *s, void *record)
{
    struct store_pool *pool = record;

    pool->id = take_int(s);
    take_text(s, pool->name, sizeof pool->name);
    take_text(s, pool->kind, sizeof pool->kind);
    take_text(s, pool->location, sizeof pool->location);
    take_text(s, pool->options, sizeof pool->options);
    pool->created_ms = take_int(s);
}

int store_pool_add(struct store *store, struct store_pool *pool, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "INSERT INTO pools (name, kind, location, options, created_at) "
                         "VALUES (?, ?, ?, ?, ?)");

    pool->created_ms = store_now_ms();
    bind_text(&s, pool->name);
    bind_text(&s, pool->kind);
    bind_text(&s, pool->location);
    bind_text(&s, pool->options);
    bind_int(&s, pool->created_ms);
    return run_insert(&s, &pool->id, err);
}

int store_pool_set_options(struct store *store, const struct store_pool *pool, const char *before,
                           struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE pools SET options = ? WHERE id = ? AND options = ?");

    bind_text(&s, pool->options);
    bind_int(&s, pool->id);
    bind_text(&s, before);
    if (run_on_one(&s, err) < 0)
        return error_prefix(err, "pool '%s' was changed by another job meanwhile: try again",
                            pool->name);
    return 0;
}

int store_pool_find(struct store *store, const char *name, struct store_pool *pool,
                    struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT " POOL_COLUMNS " FROM pools WHERE name = ?");
    bool found;

    bind_text(&s, name);
    if (read_first(&s, read_pool, pool, &found, err) < 0)
        return -1;
    if (found)
        return 0;
    error_set(err, "no pool named '%s'; `vmferry pool list` shows them", name);
    (*err)->errnum = ENOENT;
    return -1;
}

int store_pool_get(struct store *store, int64_t id, struct store_pool *pool, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT " POOL_COLUMNS " FROM pools WHERE id = ?");
    bool found;

    bind_int(&s, id);
    if (read_first(&s, read_pool, pool, &found, err) < 0)
        return -1;
    return found ? 0 : error_set(err, "%s: the VM's pool is not there", store->path);
}

int store_pools(struct store *store, struct store_pool **pools, size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT " POOL_COLUMNS " FROM pools ORDER BY name");

    return read_all(&s, read_pool, sizeof **pools, pools, count, err);
}

int store_pool_remove(struct store *store, int64_t id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "DELETE FROM pools WHERE id = ? AND NOT EXISTS "
                         "(SELECT 1 FROM vms WHERE pool_id = pools.id)");

    bind_int(&s, id);
    return run_on_one(&s, err);
}

static void read_id(struct statement *s, void *record)
{
    *(int64_t *)record = take_int(s);
}

int store_pool_vms(struct store *store, int64_t pool_id, int64_t **vms, size_t *count,
                   struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT id FROM vms WHERE coalesce(pool_id, 0) = ? AND (pool_id IS NOT NULL "
               "OR EXISTS (SELECT 1 FROM restore_points WHERE vm_id = vms.id)) "
               "ORDER BY name, id");

    bind_int(&s, pool_id);
    return read_all(&s, read_id, sizeof **vms, vms, count, err);
}

int store_vm_pool(struct store *store, int64_t vm_id, int64_t *pool_id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT coalesce(pool_id, 0) FROM vms WHERE id = ?");
    bool found;

    *pool_id = 0;
    bind_int(&s, vm_id);
    return read_first(&s, read_id, pool_id, &found, err);
}

int store_vm_set_pool(struct store *store, int64_t vm_id, int64_t pool_id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vms SET pool_id = ? WHERE id = ?");

    bind_id(&s, pool_id);
    bind_int(&s, vm_id);
    return run_on_one(&s, err);
}

int store_vm_leave_pool(struct store *store, int64_t vm_id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vms SET pool_id = NULL WHERE id = ? AND NOT EXISTS "
                         "(SELECT 1 FROM restore_points WHERE vm_id = vms.id) AND NOT EXISTS "
                         "(SELECT 1 FROM pools WHERE pools.id = vms.pool_id AND kind = 'block')");

    bind_int(&s, vm_id);
    return run(&s, err);
}
