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
    mapping->created_ms = take_int(s);
    mapping->updated_ms = take_int(s);
}

int store_exports(struct store *store, int64_t vm_id, struct store_export **exports, size_t *count,
                  struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT id, vm_id, disk_unit_number, vm_name, export_name, device_path, identity, "
               "lease, CASE WHEN status = 'active' THEN 1 ELSE 0 END, created_at, updated_at "
               "FROM vm_export_mappings WHERE vm_id = ? OR ? = 0 "
               "ORDER BY vm_id, disk_unit_number");

    bind_int(&s, vm_id);
    bind_int(&s, vm_id);
    return read_all(&s, read_export, sizeof **exports, exports, count, err);
}

int store_export_touch(struct store *store, int64_t id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vm_export_mappings SET updated_at = ? WHERE id = ?");

    bind_int(&s, store_now_ms());
    bind_int(&s, id);
    return run_on_one(&s, err);
}

int store_export_withdraw(struct store *store, int64_t id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vm_export_mappings SET lease = NULL, status = 'inactive', "
                         "updated_at = ? WHERE id = ?");

    bind_int(&s, store_now_ms());
    bind_int(&s, id);
    return run_on_one(&s, err);
}

static int move_mapping(struct store *store, int64_t id, const char *path, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vm_export_mappings SET device_path = ?, updated_at = ? "
                         "WHERE id = ?");

    bind_text(&s, path);
    bind_int(&s, store_now_ms());
    bind_int(&s, id);
    return run_on_one(&s, err);
}

static int move_disk(struct store *store, const char *sql, const struct store_export *mapping,
                     const char *path, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, sql);

    bind_text(&s, path);
    bind_text(&s, mapping->path);
    bind_int(&s, mapping->vm_id);
    bind_int(&s, mapping->unit);
    return run(&s, err);
}

int store_export_move(struct store *store, const struct store_export *mapping, const char *path,
                      struct error **err)
{
    if (move_mapping(store, mapping->id, path, err) < 0 ||
        move_disk(store,
                  "UPDATE vm_disks SET replica_volume = ? WHERE replica_volume = ? AND vm_id = ? "
                  "AND unit_number = ?",
                  mapping, path, err) < 0)
        return -1;
    return move_disk(store,
                     "UPDATE restore_point_disks SET overlay = ? WHERE overlay = ? AND disk_id IN "
                     "(SELECT id FROM vm_disks WHERE vm_id = ? AND unit_number = ?)",
                     mapping, path, err);
}
