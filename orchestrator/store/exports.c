/* Export mappings; see store.h. */
#include <string.h>

#include "store/statement.h"

int store_export_upsert(struct store *store, struct store_export *mapping, struct error **err)
{
    static const struct upsert upsert = {
        .table = "vm_export_mappings",
        .columns = "vm_id, disk_unit_number, vm_name, export_name, device_path, identity, lease, "
                   "status, created_at, updated_at",
        .key = "vm_id, disk_unit_number",
        .insert_only = "created_at",
    };
    CLEANUP_STATEMENT struct statement s = statement_upsert(store, &upsert);

    bind_int(&s, mapping->vm_id);
    bind_int(&s, mapping->unit);
    bind_text(&s, mapping->vm_name);
    bind_text(&s, mapping->name);
    bind_text(&s, mapping->path);
    bind_text(&s, mapping->identity);
    bind_text(&s, mapping->lease);
    bind_text(&s, mapping->active ? "active" : "inactive");
    bind_int(&s, store_now_ms());
    bind_int(&s, store_now_ms());
    return run_insert(&s, &mapping->id, err);
}

static void read_export(struct statement *s, void *record)
{
    struct store_export *mapping = record;

    mapping->id = take_int(s);
    mapping->vm_id = take_int(s);
    mapping->unit = (int)take_int(s);
    take_text(s, mapping->vm_name, sizeof mapping->vm_name);
    take_text(s, mapping->name, sizeof mapping->name);
    take_text(s, mapping->path, sizeof mapping->path);
    take_text(s, mapping->identity, sizeof mapping->identity);
    take_text(s, mapping->lease, sizeof mapping->lease);
    mapping->active = take_int(s) != 0;
}

int store_exports(struct store *store, int64_t vm_id, struct store_export **exports, size_t *count,
                  struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT id, vm_id, disk_unit_number, vm_name, export_name, device_path, identity, "
               "lease, status = 'active' FROM vm_export_mappings WHERE vm_id = ? "
               "ORDER BY disk_unit_number");

    bind_int(&s, vm_id);
    return read_all(&s, read_export, sizeof **exports, exports, count, err);
}
