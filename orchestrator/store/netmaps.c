/* Network maps; see store.h. */
#include <inttypes.h>
#include <string.h>

#include "store/statement.h"

#define NETMAP_SELECT                                                                              \
    "SELECT id, source_id, vm_id, network, target, created_at, updated_at FROM network_maps "

static void read_netmap(struct statement *s, void *record)
{
    struct store_netmap *netmap = record;

    netmap->id = take_int(s);
    netmap->source_id = take_int(s);
    netmap->vm_id = take_int(s);
    take_text(s, netmap->network, sizeof netmap->network);
    take_text(s, netmap->target, sizeof netmap->target);
    netmap->created_ms = take_int(s);
    netmap->updated_ms = take_int(s);
}

/* One text names the owner, because a unique key does not compare NULLs. */
static void scope_of(const struct store_netmap *netmap, char scope[64])
{
    snprintf(scope, 64, "%s %" PRId64, netmap->vm_id ? "vm" : "source",
             netmap->vm_id ? netmap->vm_id : netmap->source_id);
}

int store_netmap_set(struct store *store, struct store_netmap *netmap, struct error **err)
{
    static const struct upsert upsert = {
        .table = "network_maps",
        .columns = "scope, network, source_id, vm_id, target, created_at, updated_at",
        .key = "scope, network",
        .insert_only = "created_at",
    };
    CLEANUP_STATEMENT struct statement s = statement_upsert(store, &upsert);
    char scope[64];

    scope_of(netmap, scope);
    netmap->updated_ms = store_now_ms();
    bind_text(&s, scope);
    bind_text(&s, netmap->network);
    bind_id(&s, netmap->vm_id ? 0 : netmap->source_id);
    bind_id(&s, netmap->vm_id);
    bind_text(&s, netmap->target);
    bind_int(&s, netmap->updated_ms);
    bind_int(&s, netmap->updated_ms);
    return run_insert(&s, &netmap->id, err);
}

int store_netmap_remove(struct store *store, const struct store_netmap *netmap, bool *found,
                        struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "DELETE FROM network_maps WHERE scope = ? AND network = ?");
    char scope[64];
    int64_t count;

    scope_of(netmap, scope);
    bind_text(&s, scope);
    bind_text(&s, netmap->network);
    if (run_count(&s, &count, err) < 0)
        return -1;
    *found = count > 0;
    return 0;
}

int store_netmaps(struct store *store, struct store_netmap **list, size_t *count,
                  struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, NETMAP_SELECT "ORDER BY vm_id, source_id, network");

    return read_all(&s, read_netmap, sizeof **list, list, count, err);
}

int store_netmaps_of_vm(struct store *store, const struct store_vm *vm, struct store_netmap **list,
                        size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, NETMAP_SELECT "WHERE vm_id = ? OR source_id = ? ORDER BY network");

    bind_int(&s, vm->id);
    bind_int(&s, vm->source_id);
    return read_all(&s, read_netmap, sizeof **list, list, count, err);
}
