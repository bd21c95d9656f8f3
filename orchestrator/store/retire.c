/* Restore points after they are made: pinned, verified, and on their way out; see store.h.
 * What a complete point's rows say changes here and nowhere else: where its images lie
 * when the point below it is merged into it. Its digest, leaves and change id never do. */
#include <string.h>

#include "store/statement.h"

static void read_two(struct statement *s, void *numbers)
{
    ((int64_t *)numbers)[0] = take_int(s);
    ((int64_t *)numbers)[1] = take_int(s);
}

int store_vm_next_point(struct store *store, int64_t vm_id, unsigned *number, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT next_point, (SELECT ifnull(max(number), 0) + 1 FROM "
                         "restore_points WHERE vm_id = vms.id) FROM vms WHERE id = ?");
    int64_t numbers[2] = { 1, 1 };
    bool found;

    bind_int(&s, vm_id);
    if (read_first(&s, read_two, numbers, &found, err) < 0)
        return -1;
    *number = (unsigned)(numbers[0] > numbers[1] ? numbers[0] : numbers[1]);
    return 0;
}

int store_vm_touch(struct store *store, int64_t vm_id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vms SET updated_at = ? WHERE id = ?");

    bind_int(&s, store_now_ms());
    bind_int(&s, vm_id);
    return run(&s, err);
}

int store_vm_point_taken(struct store *store, int64_t vm_id, unsigned number, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vms SET next_point = ? WHERE id = ? AND next_point < ?");

    bind_int(&s, (int64_t)number + 1);
    bind_int(&s, vm_id);
    bind_int(&s, (int64_t)number + 1);
    return run(&s, err);
}

static void read_keep(struct statement *s, void *keep)
{
    take_text(s, keep, STORE_NAME);
}

int store_vm_keep(struct store *store, int64_t vm_id, char keep[STORE_NAME], struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, "SELECT keep FROM vms WHERE id = ?");
    bool found;

    keep[0] = '\0';
    bind_int(&s, vm_id);
    return read_first(&s, read_keep, keep, &found, err);
}

int store_vm_set_keep(struct store *store, int64_t vm_id, const char *keep, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE vms SET keep = ?, updated_at = ? WHERE id = ?");

    bind_text(&s, keep);
    bind_int(&s, store_now_ms());
    bind_int(&s, vm_id);
    return run(&s, err);
}

static void read_tests(struct statement *s, void *record)
{
    struct store_vm_tests *tests = record;

    take_text(s, tests->checks, sizeof tests->checks);
    take_text(s, tests->expect, sizeof tests->expect);
}

int store_vm_tests(struct store *store, int64_t vm_id, struct store_vm_tests *tests,
                   struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT test_checks, test_expect FROM vms WHERE id = ?");
    bool found;

    *tests = (struct store_vm_tests){ 0 };
    bind_int(&s, vm_id);
    return read_first(&s, read_tests, tests, &found, err);
}

int store_vm_set_tests(struct store *store, int64_t vm_id, const struct store_vm_tests *tests,
                       struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "UPDATE vms SET test_checks = ?, test_expect = ?, updated_at = ? WHERE id = ?");

    bind_text(&s, tests->checks);
    bind_text(&s, tests->expect);
    bind_int(&s, store_now_ms());
    bind_int(&s, vm_id);
    return run(&s, err);
}

int store_point_set_pinned(struct store *store, int64_t point_id, bool pinned, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE restore_points SET pinned = ? WHERE id = ? AND going = 0");

    bind_int(&s, pinned);
    bind_int(&s, point_id);
    return run(&s, err);
}

int store_point_verified(struct store *store, int64_t point_id, const char *error,
                         struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "UPDATE restore_points SET verified_at = ?, verify_error = ? WHERE id = ?");

    bind_int(&s, store_now_ms());
    bind_text(&s, error);
    bind_int(&s, point_id);
    return run(&s, err);
}

int store_point_go(struct store *store, int64_t point_id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE restore_points SET going = 1 WHERE id = ? AND complete = 1 AND "
                         "going = 0 AND pinned = 0");

    bind_int(&s, point_id);
    return run_on_one(&s, err);
}

int store_point_disk_trade(struct store *store, const struct store_point_disk *lower,
                           const struct store_point_disk *upper, struct error **err)
{
    static const char sql[] =
        "UPDATE restore_point_disks SET overlay = ?, format = ?, parent_id = ? WHERE id = ?";
    CLEANUP_STATEMENT struct statement up = statement(store, sql);
    CLEANUP_STATEMENT struct statement down = statement(store, sql);

    bind_text(&up, lower->image);
    bind_text(&up, lower->format);
    bind_id(&up, lower->parent_id);
    bind_int(&up, upper->id);
    bind_text(&down, upper->image);
    bind_text(&down, upper->format);
    bind_id(&down, upper->id);
    bind_int(&down, lower->id);
    return run_on_one(&up, err) < 0 ? -1 : run_on_one(&down, err);
}

static void read_id(struct statement *s, void *id)
{
    *(int64_t *)id = take_int(s);
}

int store_image_is_used(struct store *store, const char *image, int64_t id, bool *used,
                        struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT id FROM restore_point_disks WHERE overlay = ? AND id <> ? LIMIT 1");
    int64_t other;

    bind_text(&s, image);
    bind_int(&s, id);
    return read_first(&s, read_id, &other, used, err);
}

int store_point_moved(struct store *store, int64_t point_id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE restore_points SET verified_at = NULL WHERE id = ? AND "
                         "verify_error IS NULL");

    bind_int(&s, point_id);
    return run(&s, err);
}

int store_disk_set_back(struct store *store, const struct store_point_disk *row, struct error **err)
{
    return store_disk_synced(store, row->disk_id, row->capacity, row->change_id, row->image,
                             row->place, err);
}

int store_point_drop(struct store *store, int64_t point_id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "DELETE FROM restore_points WHERE id = ? AND going = 1");

    bind_int(&s, point_id);
    return run_on_one(&s, err);
}
