/* Restore points; see store.h. The SQL itself refuses to change a complete one. */
#include <string.h>

#include "store/statement.h"

#define POINT_COLUMNS                                                                              \
    "id, vm_id, job_id, number, complete, created_at, completed_at, pinned, going, "               \
    "verified_at, verify_error "

static void read_point(struct statement *s, void *record)
{
    struct store_point *point = record;

    point->id = take_int(s);
    point->vm_id = take_int(s);
    point->job_id = take_int(s);
    point->number = (unsigned)take_int(s);
    point->complete = take_int(s) != 0;
    point->created_ms = take_int(s);
    point->completed_ms = take_int(s);
    point->pinned = take_int(s) != 0;
    point->going = take_int(s) != 0;
    point->verified_ms = take_int(s);
    take_text(s, point->verify_error, sizeof point->verify_error);
}

int store_point_create(struct store *store, struct store_point *point, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store,
        "INSERT INTO restore_points (vm_id, job_id, number, created_at) VALUES (?, ?, ?, ?)");

    if (!point->number && store_vm_next_point(store, point->vm_id, &point->number, err) < 0)
        return -1;
    point->complete = false;
    point->created_ms = store_now_ms();
    bind_int(&s, point->vm_id);
    bind_int(&s, point->job_id);
    bind_int(&s, point->number);
    bind_int(&s, point->created_ms);
    return run_insert(&s, &point->id, err);
}

int store_point_complete(struct store *store, int64_t point_id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "UPDATE restore_points SET complete = 1, completed_at = ? WHERE id = ? AND "
               "complete = 0 AND EXISTS "
               "(SELECT 1 FROM restore_point_disks WHERE point_id = ?) AND NOT EXISTS "
               "(SELECT 1 FROM restore_point_disks WHERE point_id = ? AND complete = 0)");

    bind_int(&s, store_now_ms());
    bind_int(&s, point_id);
    bind_int(&s, point_id);
    bind_int(&s, point_id);
    return run_on_one(&s, err);
}

int store_point_forget(struct store *store, int64_t point_id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "DELETE FROM restore_points WHERE id = ? AND complete = 0");

    bind_int(&s, point_id);
    return run_on_one(&s, err);
}

int store_point_adopt(struct store *store, int64_t point_id, int64_t job_id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE restore_points SET job_id = ? WHERE id = ? AND complete = 0");

    bind_int(&s, job_id);
    bind_int(&s, point_id);
    return run_on_one(&s, err);
}

int store_point_find(struct store *store, int64_t vm_id, unsigned number, struct store_point *point,
                     struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT " POINT_COLUMNS "FROM restore_points WHERE vm_id = ? AND complete = 1 "
               "AND going = 0 AND (? = 0 OR number = ?) ORDER BY number DESC LIMIT 1");
    bool found;

    bind_int(&s, vm_id);
    bind_int(&s, number);
    bind_int(&s, number);
    if (read_first(&s, read_point, point, &found, err) < 0)
        return -1;
    if (found)
        return 0;
    if (number)
        error_set(err, "there is no restore point %u; `vmferry point list` shows them", number);
    else
        error_set(err, "there is no restore point yet; `vmferry replicate` makes one");
    (*err)->errnum = ENOENT;
    return -1;
}

int store_point_unfinished(struct store *store, int64_t vm_id, bool *found,
                           struct store_point *point, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT " POINT_COLUMNS "FROM restore_points WHERE vm_id = ? AND complete = 0");

    bind_int(&s, vm_id);
    return read_first(&s, read_point, point, found, err);
}

int store_points(struct store *store, int64_t vm_id, struct store_point **points, size_t *count,
                 struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT " POINT_COLUMNS "FROM restore_points WHERE vm_id = ? AND complete = 1 "
               "AND going = 0 ORDER BY number");

    bind_int(&s, vm_id);
    return read_all(&s, read_point, sizeof **points, points, count, err);
}

int store_points_going(struct store *store, int64_t vm_id, struct store_point **points,
                       size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT " POINT_COLUMNS "FROM restore_points WHERE vm_id = ? AND going = 1 "
               "ORDER BY number DESC");

    bind_int(&s, vm_id);
    return read_all(&s, read_point, sizeof **points, points, count, err);
}

#define DISK_SELECT                                                                                \
    "SELECT p.id, point_id, disk_id, parent_id, disk_key, unit_number, "                           \
    "ifnull(p.capacity, d.capacity), overlay, format, leaves, sync_type, change_id, "              \
    "p.source_place, digest, bytes, complete "                                                     \
    "FROM restore_point_disks p JOIN vm_disks d ON d.id = disk_id "

static void read_point_disk(struct statement *s, void *record)
{
    struct store_point_disk *disk = record;

    disk->id = take_int(s);
    disk->point_id = take_int(s);
    disk->disk_id = take_int(s);
    disk->parent_id = take_int(s);
    disk->key = (int)take_int(s);
    disk->unit = (int)take_int(s);
    disk->capacity = (uint64_t)take_int(s);
    take_text(s, disk->image, sizeof disk->image);
    take_text(s, disk->format, sizeof disk->format);
    take_text(s, disk->leaves, sizeof disk->leaves);
    take_text(s, disk->sync_type, sizeof disk->sync_type);
    take_text(s, disk->change_id, sizeof disk->change_id);
    take_text(s, disk->place, sizeof disk->place);
    take_text(s, disk->digest, sizeof disk->digest);
    disk->bytes = (uint64_t)take_int(s);
    disk->complete = take_int(s) != 0;
}

int store_point_disk_create(struct store *store, struct store_point_disk *disk, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "INSERT INTO restore_point_disks (point_id, disk_id, parent_id, overlay, format, "
               "leaves, sync_type, change_id, source_place, capacity) VALUES "
               "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");

    bind_int(&s, disk->point_id);
    bind_int(&s, disk->disk_id);
    bind_id(&s, disk->parent_id);
    bind_text(&s, disk->image);
    bind_text(&s, disk->format);
    bind_text(&s, disk->leaves);
    bind_text(&s, disk->sync_type);
    bind_text(&s, disk->change_id);
    bind_text(&s, disk->place);
    bind_id(&s, (int64_t)disk->capacity);
    return run_insert(&s, &disk->id, err);
}

int store_point_disk_complete(struct store *store, const struct store_point_disk *disk,
                              struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "UPDATE restore_point_disks SET digest = ?, bytes = ?, sync_type = ?, complete = 1 "
               "WHERE id = ? AND complete = 0");

    bind_text(&s, disk->digest);
    bind_int(&s, (int64_t)disk->bytes);
    bind_text(&s, disk->sync_type);
    bind_int(&s, disk->id);
    return run_on_one(&s, err);
}

int store_point_disk_rename(struct store *store, const struct store_point_disk *disk,
                            struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE restore_point_disks SET overlay = ?, leaves = ? WHERE id = ? AND "
                         "point_id IN (SELECT id FROM restore_points WHERE complete = 0)");

    bind_text(&s, disk->image);
    bind_text(&s, disk->leaves);
    bind_int(&s, disk->id);
    return run_on_one(&s, err);
}

int store_point_disks(struct store *store, int64_t point_id, struct store_point_disk **disks,
                      size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, DISK_SELECT "WHERE point_id = ? ORDER BY unit_number, disk_key");

    bind_int(&s, point_id);
    return read_all(&s, read_point_disk, sizeof **disks, disks, count, err);
}

int store_point_disks_on(struct store *store, int64_t id, struct store_point_disk **disks,
                         size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, DISK_SELECT "WHERE p.parent_id = ? ORDER BY point_id");

    bind_int(&s, id);
    return read_all(&s, read_point_disk, sizeof **disks, disks, count, err);
}

int store_point_disk_get(struct store *store, int64_t id, struct store_point_disk *disk,
                         struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, DISK_SELECT "WHERE p.id = ?");
    bool found;

    bind_int(&s, id);
    if (read_first(&s, read_point_disk, disk, &found, err) < 0)
        return -1;
    return found ? 0 : error_set(err, "%s: an image of the replica is not there", store->path);
}
