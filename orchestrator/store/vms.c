/* Sources, VMs and their disks; see store.h. */
#include <string.h>

#include "store/statement.h"

#define SOURCE_COLUMNS "id, name, kind, location, options, created_at"

static void read_source(struct statement *s, void *record)
{
    struct store_source *source = record;

    source->id = take_int(s);
    take_text(s, source->name, sizeof source->name);
    take_text(s, source->kind, sizeof source->kind);
    take_text(s, source->location, sizeof source->location);
    take_text(s, source->options, sizeof source->options);
    source->created_ms = take_int(s);
}

int store_source_add(struct store *store, struct store_source *source, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "INSERT INTO sources (name, kind, location, options, created_at) "
                         "VALUES (?, ?, ?, ?, ?)");

    source->created_ms = store_now_ms();
    bind_text(&s, source->name);
    bind_text(&s, source->kind);
    bind_text(&s, source->location);
    bind_text(&s, source->options);
    bind_int(&s, source->created_ms);
    return run_insert(&s, &source->id, err);
}

int store_source_set_options(struct store *store, int64_t id, const char *options,
                             struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE sources SET options = ? WHERE id = ?");

    bind_text(&s, options);
    bind_int(&s, id);
    return run_on_one(&s, err);
}

static int not_found(struct error **err, const char *fmt, const char *what)
{
    error_set(err, fmt, what);
    (*err)->errnum = ENOENT;
    return -1;
}

int store_source_find(struct store *store, const char *name, struct store_source *source,
                      struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT " SOURCE_COLUMNS " FROM sources WHERE name = ?");
    bool found;

    bind_text(&s, name);
    if (read_first(&s, read_source, source, &found, err) < 0)
        return -1;
    return found ? 0
                 : not_found(err, "no source named '%s'; `vmferry source list` shows them", name);
}

int store_source_get(struct store *store, int64_t id, struct store_source *source,
                     struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT " SOURCE_COLUMNS " FROM sources WHERE id = ?");
    bool found;

    bind_int(&s, id);
    if (read_first(&s, read_source, source, &found, err) < 0)
        return -1;
    return found ? 0 : not_found(err, "%s: the VM's source is not there", store->path);
}

int store_sources(struct store *store, struct store_source **sources, size_t *count,
                  struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT " SOURCE_COLUMNS " FROM sources ORDER BY name");

    return read_all(&s, read_source, sizeof **sources, sources, count, err);
}

static void read_name(struct statement *s, void *name)
{
    take_text(s, name, STORE_NAME);
}

static int delete_source(struct store *store, int64_t id, struct error **err)
{
    static const char *const deletes[] = {
        "DELETE FROM vms WHERE source_id = ?",
        "DELETE FROM sources WHERE id = ?",
    };

    for (size_t i = 0; i < sizeof deletes / sizeof deletes[0]; i++) {
        CLEANUP_STATEMENT struct statement s = statement(store, deletes[i]);

        bind_int(&s, id);
        if (run(&s, err) < 0)
            return -1;
    }
    return 0;
}

static int remove_unused(struct store *store, void *id, struct error **err)
{
    CLEANUP_STATEMENT struct statement used =
        statement(store, "SELECT name FROM vms WHERE source_id = ? AND id IN "
                         "(SELECT vm_id FROM replication_jobs)");
    struct store_source source;
    char name[STORE_NAME];
    bool found;

    bind_int(&used, *(int64_t *)id);
    if (read_first(&used, read_name, name, &found, err) < 0)
        return -1;
    if (found)
        return error_set(err, "its VM '%s' has been replicated: the replica needs its source",
                         name);
    if (store_source_get(store, *(int64_t *)id, &source, err) < 0 ||
        delete_source(store, *(int64_t *)id, err) < 0)
        return -1;
    return store_audit_source(store, "source remove", &source, NULL, err);
}

int store_source_remove(struct store *store, int64_t id, struct error **err)
{
    return store_transaction(store, remove_unused, &id, err);
}

#define VM_COLUMNS                                                                                 \
    "vms.id, source_id, sources.name, uuid, vms.name, path, state, vms.created_at, updated_at "    \
    "FROM vms JOIN sources ON sources.id = source_id "

static void read_vm(struct statement *s, void *record)
{
    struct store_vm *vm = record;

    vm->id = take_int(s);
    vm->source_id = take_int(s);
    take_text(s, vm->source, sizeof vm->source);
    take_text(s, vm->uuid, sizeof vm->uuid);
    take_text(s, vm->name, sizeof vm->name);
    take_text(s, vm->path, sizeof vm->path);
    take_text(s, vm->state, sizeof vm->state);
    vm->created_ms = take_int(s);
    vm->updated_ms = take_int(s);
}

static void read_id(struct statement *s, void *id)
{
    *(int64_t *)id = take_int(s);
}

int store_vm_upsert(struct store *store, struct store_vm *vm, const char *spec, struct error **err)
{
    static const struct upsert upsert = {
        .table = "vms",
        .columns = "uuid, source_id, name, path, spec, created_at, updated_at",
        .key = "uuid",
        .insert_only = "created_at",
    };
    CLEANUP_STATEMENT struct statement s = statement_upsert(store, &upsert);

    bind_text(&s, vm->uuid);
    bind_int(&s, vm->source_id);
    bind_text(&s, vm->name);
    bind_text(&s, vm->path);
    bind_text(&s, spec);
    bind_int(&s, store_now_ms());
    bind_int(&s, store_now_ms());
    return run_insert(&s, &vm->id, err);
}

int store_vm_find(struct store *store, const char *name_or_uuid, struct store_vm *vm,
                  struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT " VM_COLUMNS
                         "WHERE uuid = lower(?) OR vms.name = ? OR path = ? ORDER BY vms.id");
    CLEANUP_FREE struct store_vm *found = NULL;
    size_t count;

    bind_text(&s, name_or_uuid);
    bind_text(&s, name_or_uuid);
    bind_text(&s, name_or_uuid);
    if (read_all(&s, read_vm, sizeof *found, &found, &count, err) < 0)
        return -1;
    if (count == 0)
        return not_found(err, "no VM named '%s'; `vmferry vm list` shows them", name_or_uuid);
    if (count > 1)
        return error_set_kind(
            err, ERROR_USAGE, "'%s' is the name of %zu VMs: say which by uuid (%s, %s%s)",
            name_or_uuid, count, found[0].uuid, found[1].uuid, count > 2 ? ", …" : "");
    *vm = found[0];
    return 0;
}

int store_vm_by_uuid(struct store *store, const char *uuid, struct store_vm *vm, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT " VM_COLUMNS "WHERE uuid = lower(?)");
    bool found;

    bind_text(&s, uuid);
    if (read_first(&s, read_vm, vm, &found, err) < 0)
        return -1;
    return found ? 0 : not_found(err, "no VM has the uuid %s", uuid);
}

int store_vm_get(struct store *store, int64_t id, struct store_vm *vm, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT " VM_COLUMNS "WHERE vms.id = ?");
    bool found;

    bind_int(&s, id);
    if (read_first(&s, read_vm, vm, &found, err) < 0)
        return -1;
    return found ? 0 : not_found(err, "%s has no VM of that id any more", store->path);
}

int store_vms(struct store *store, struct store_vm **vms, size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT " VM_COLUMNS "ORDER BY vms.name, uuid");

    return read_all(&s, read_vm, sizeof **vms, vms, count, err);
}

int store_vm_spec(struct store *store, int64_t vm_id, char **json, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, "SELECT spec FROM vms WHERE id = ?");

    bind_int(&s, vm_id);
    return read_only_text(&s, json, err);
}

int store_vm_set_state(struct store *store, int64_t vm_id, const char *state, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vms SET state = ?, updated_at = ? WHERE id = ?");

    bind_text(&s, state);
    bind_int(&s, store_now_ms());
    bind_int(&s, vm_id);
    return run_on_one(&s, err);
}

int store_vm_change_state(struct store *store, int64_t vm_id, const char *from, const char *to,
                          struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vms SET state = ?, updated_at = ? WHERE id = ? AND state = ?");

    bind_text(&s, to);
    bind_int(&s, store_now_ms());
    bind_int(&s, vm_id);
    bind_text(&s, from);
    return run(&s, err);
}

static void read_disk(struct statement *s, void *record)
{
    struct store_disk *disk = record;

    disk->id = take_int(s);
    disk->vm_id = take_int(s);
    disk->key = (int)take_int(s);
    disk->unit = (int)take_int(s);
    take_text(s, disk->backing_uuid, sizeof disk->backing_uuid);
    disk->capacity = (uint64_t)take_int(s);
    take_text(s, disk->change_id, sizeof disk->change_id);
    take_text(s, disk->replica, sizeof disk->replica);
    take_text(s, disk->place, sizeof disk->place);
}

int store_disk_upsert(struct store *store, struct store_disk *disk, struct error **err)
{
    static const struct upsert upsert = {
        .table = "vm_disks",
        .columns = "vm_id, disk_key, unit_number, backing_uuid, capacity",
        .key = "vm_id, disk_key",
    };
    CLEANUP_STATEMENT struct statement s = statement_upsert(store, &upsert);

    bind_int(&s, disk->vm_id);
    bind_int(&s, disk->key);
    bind_int(&s, disk->unit);
    /* A disk may have none: it is listed, and what would replicate it says so. */
    bind_value(&s, &(struct value){ .kind = VALUE_TEXT, .text = disk->backing_uuid });
    bind_int(&s, (int64_t)disk->capacity);
    return run_insert(&s, &disk->id, err);
}

int store_disks(struct store *store, int64_t vm_id, struct store_disk **disks, size_t *count,
                struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT id, vm_id, disk_key, unit_number, backing_uuid, capacity, "
               "disk_change_id, replica_volume, source_place FROM vm_disks WHERE vm_id = ? "
               "ORDER BY unit_number, disk_key");

    bind_int(&s, vm_id);
    return read_all(&s, read_disk, sizeof **disks, disks, count, err);
}

int store_disk_forget(struct store *store, int64_t disk_id, struct error **err)
{
    static const char *const deletes[] = {
        "DELETE FROM job_steps WHERE disk_id = ?",
        "DELETE FROM vm_disks WHERE id = ?",
    };

    for (size_t i = 0; i < sizeof deletes / sizeof deletes[0]; i++) {
        CLEANUP_STATEMENT struct statement s = statement(store, deletes[i]);

        bind_int(&s, disk_id);
        if (run(&s, err) < 0)
            return -1;
    }
    return 0;
}

int store_vm_has_points(struct store *store, int64_t vm_id, bool *has, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT id FROM restore_points WHERE vm_id = ? LIMIT 1");
    int64_t id;

    bind_int(&s, vm_id);
    return read_first(&s, read_id, &id, has, err);
}

int store_disk_synced(struct store *store, int64_t disk_id, uint64_t capacity,
                      const char *change_id, const char *replica, const char *place,
                      struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vm_disks SET capacity = ?, disk_change_id = ?, "
                         "replica_volume = ?, source_place = ? WHERE id = ?");

    bind_int(&s, (int64_t)capacity);
    bind_text(&s, change_id);
    bind_text(&s, replica);
    bind_text(&s, place);
    bind_int(&s, disk_id);
    return run_on_one(&s, err);
}
