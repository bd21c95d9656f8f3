/* Giving up an unfinished point; see drop.h. What comes in: a VM that nobody works on. What goes
 * out: no rows and no files of its unfinished point. The rows go first: files without rows are in
 * nobody's way, and a complete point's files are never looked at. */
#include "job/drop.h"

#include <string.h>

#include "job/control.h"
#include "job/retire-steps.h"
#include "job/sync.h"
#include "replica/pool.h"
#include "replica/volume.h"

static int forget(struct store *store, void *opaque, struct error **err)
{
    return store_point_forget(store, *(const int64_t *)opaque, err);
}

static int leave(struct store *store, void *opaque, struct error **err)
{
    return store_vm_leave_pool(store, *(const int64_t *)opaque, err);
}

static int remove_file(const char *state_dir, const char *name, struct error **err)
{
    char path[PATH_MAX];

    return volume_path(state_dir, name, path, err) < 0 ? -1 : volume_remove(path, err);
}

static int remove_image(const struct pool *pool, const char *state_dir, const struct store_vm *vm,
                        const struct store_point_disk *disk, struct error **err)
{
    struct pool_disk place = {
        .vm_uuid = vm->uuid, .key = disk->key, .capacity = disk->capacity, .format = disk->format
    };

    return disk->parent_id ? remove_file(state_dir, disk->image, err)
                           : pool_remove_base(pool, &place, disk->image, err);
}

static int remove_files(const struct pool *pool, const char *state_dir, const struct store_vm *vm,
                        const struct store_point_disk *disk, struct error **err)
{
    static const char *const working[] = { "journal", "resend", "changes" };

    for (size_t i = 0; i < sizeof working / sizeof working[0]; i++) {
        char name[STORE_PATH];

        sync_name_beside(disk->leaves, working[i], name, sizeof name);
        if (remove_file(state_dir, name, err) < 0)
            return -1;
    }
    if (remove_file(state_dir, disk->leaves, err) < 0)
        return -1;
    return pool_has_lost(pool, !disk->parent_id) ? 0 : remove_image(pool, state_dir, vm, disk, err);
}

int drop_unfinished(struct store *store, const char *state_dir, const struct store_vm *vm,
                    struct claim *claim, bool lost_pool, bool *dropped, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *disks = NULL;
    struct store_point point;
    struct pool pool;
    int64_t pool_id;
    size_t count;

    if (store_point_unfinished(store, vm->id, dropped, &point, err) < 0)
        return -1;
    if (!*dropped)
        return 0;
    if (store_point_disks(store, point.id, &disks, &count, err) < 0 ||
        store_vm_pool(store, vm->id, &pool_id, err) < 0)
        return -1;
    if ((lost_pool ? pool_open_lost : pool_open)(store, state_dir, pool_id, &pool, err) < 0)
        return retire_pool_away(vm, err);
    if (claim_transaction(claim, store, forget, &point.id, err) < 0 ||
        retire_map_anew(store, state_dir, vm, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (remove_files(&pool, state_dir, vm, &disks[i], err) < 0)
            return error_prefix(err, "disk-%d", disks[i].key);
    }
    pool_changed(&pool);
    return claim_transaction(claim, store, leave, &point.vm_id, err);
}

int job_drop(struct store *store, const char *state_dir, const struct store_vm *vm, bool *dropped,
             struct error **err)
{
    CLEANUP_CLAIM struct claim *claim = NULL;

    if (claim_hold(store, vm, "drop", NULL, &claim, err) < 0)
        return -1;
    return claim_let_go(claim, store,
                        drop_unfinished(store, state_dir, vm, claim, false, dropped, err), err);
}
