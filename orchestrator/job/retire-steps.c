/* A point on its way out, step by step; see retire.h for the order. */
#include "job/retire-steps.h"

#include <limits.h>
#include <string.h>

#include "exportmap-file.h"
#include "replica/export.h"
#include "replica/merge.h"
#include "replica/pool.h"
#include "replica/volume.h"

/* The row of a complete point that stands on this one. */
static int find_upper(struct store *store, const struct store_point_disk *row,
                      struct store_point_disk *upper, bool *found, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *on = NULL;
    size_t count;

    *found = false;
    if (store_point_disks_on(store, row->id, &on, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!on[i].complete || *found)
            return error_set(err, "disk-%d: %s stands on %s, too: it can't be merged", row->key,
                             on[i].image, row->image);
        *upper = on[i];
        *found = true;
    }
    return 0;
}

/* The absolute path of a row's image. */
struct image {
    char path[PATH_MAX];
    struct merge_image at;
};

static int locate(const struct pool *pool, const struct store_point_disk *row, struct image *image,
                  struct error **err)
{
    image->at = (struct merge_image){ .path = image->path, .format = row->format };
    if (row->parent_id == 0 && pool_settle(pool, row->image, err) < 0)
        return -1;
    return volume_path(pool->state_dir, row->image, image->path, err);
}

static int open_pool(const struct merging *merging, const char *state_dir, int64_t vm_id,
                     struct pool *pool, struct error **err)
{
    int64_t pool_id;

    if (store_vm_pool(merging->store, vm_id, &pool_id, err) < 0)
        return -1;
    return (merging->lost_pool ? pool_open_lost : pool_open)(merging->store, state_dir, pool_id,
                                                             pool, err);
}

int retire_pool_away(const struct store_vm *vm, struct error **err)
{
    return error_append(err,
                        "if it is lost for good, `vmferry point delete %s --all --lost-pool` gives "
                        "the replica up, and touches nothing in it",
                        vm->name);
}

int retire_check_pool(const struct merging *merging, const char *state_dir,
                      const struct store_vm *vm, struct error **err)
{
    const struct merging looking = { .store = merging->store };
    CLEANUP_ERROR struct error *away = NULL;
    struct pool pool;
    char title[POOL_TITLE];

    if (open_pool(&looking, state_dir, vm->id, &pool, &away) == 0)
        return !merging->lost_pool
                   ? 0
                   : error_set(err, "%s of '%s' is there, it is not lost: leave --lost-pool away",
                               pool_title(&pool, title), vm->name);
    if (merging->lost_pool)
        return 0;
    error_move(err, &away);
    return retire_pool_away(vm, err);
}

int retire_check_images(const struct merging *merging, const char *state_dir,
                        const struct store_point *point, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *rows = NULL;
    struct store *store = merging->store;
    struct pool pool;
    size_t count;

    if (open_pool(merging, state_dir, point->vm_id, &pool, err) < 0 ||
        store_point_disks(store, point->id, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct store_point_disk upper_row;
        struct image lower, upper;
        bool found;

        if (find_upper(store, &rows[i], &upper_row, &found, err) < 0)
            return -1;
        if (found && (locate(&pool, &rows[i], &lower, err) < 0 ||
                      locate(&pool, &upper_row, &upper, err) < 0 ||
                      merge_check(&lower.at, &upper.at, err) < 0))
            return error_prefix(err, "disk-%d", rows[i].key);
    }
    return 0;
}

/* What stands on `upper` is put on `lower`. An image that an unfinished sync has not made yet,
 * or that died half-made, is none: the next sync makes it anew. */
static int rebase(struct store *store, const struct pool *pool,
                  const struct store_point_disk *upper, const struct merge_image *lower,
                  struct error **err)
{
    CLEANUP_FREE struct store_point_disk *on = NULL;
    size_t count;

    if (store_point_disks_on(store, upper->id, &on, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        CLEANUP_ERROR struct error *damage = NULL;
        struct image image;

        if (locate(pool, &on[i], &image, err) < 0)
            return -1;
        if (!on[i].complete &&
            (!volume_exists(image.path) || volume_check_overlay(image.path, &damage) < 0))
            continue;
        if (merge_rebase(image.path, lower, on[i].complete, err) < 0)
            return -1;
    }
    return 0;
}

/* The base is as large as the disk is at the point above it. */
static int make_ready(const struct pool *pool, const struct store_vm *vm,
                      const struct store_point_disk *row, uint64_t capacity, struct error **err)
{
    struct pool_disk disk = {
        .vm_uuid = vm->uuid, .key = row->key, .capacity = capacity, .format = row->format
    };

    if (row->parent_id || pool_keeps_overlays(pool)) /* merging makes files larger by itself */
        return 0;
    return pool_settle(pool, row->image, err) < 0 ? -1
                                                  : pool_grow_base(pool, &disk, row->image, err);
}

static int merge(struct merging *merging, const struct pool *pool, const struct store_vm *vm,
                 unsigned number, const struct store_point_disk *row,
                 const struct store_point_disk *upper_row, struct error **err)
{
    struct image lower, upper;
    struct volume_watch watch;

    if (make_ready(pool, vm, row, upper_row->capacity, err) < 0 ||
        locate(pool, row, &lower, err) < 0 || locate(pool, upper_row, &upper, err) < 0 ||
        merging_check(merging, err) < 0)
        return error_prefix(err, "disk-%d", row->key);
    merging_begin(merging, number, row, volume_allocated(upper.path));
    watch = merging_watch(merging);
    if (merge_commit(&lower.at, &upper.at, upper_row->capacity, &watch, err) < 0 ||
        rebase(merging->store, pool, upper_row, &lower.at, err) < 0)
        return error_prefix(err, "disk-%d", row->key);
    merging_end(merging);
    return 0;
}

/* Which disks of a point wait for steps 2 and 3. */
struct pairs {
    const struct store_vm *vm;
    struct store_point_disk *lower; /* all of the point's rows */
    struct store_point_disk *upper; /* id 0: nothing stands on this one */
    size_t count;
    bool any;
};

static void free_pairs(struct pairs *pairs)
{
    free(pairs->lower);
    free(pairs->upper);
}

static int load_pairs(struct store *store, const struct store_point *point, struct pairs *pairs,
                      struct error **err)
{
    bool found;

    if (store_point_disks(store, point->id, &pairs->lower, &pairs->count, err) < 0)
        return -1;
    pairs->upper = calloc(pairs->count + 1, sizeof *pairs->upper);
    if (!pairs->upper)
        return error_set_errno(err, ENOMEM, "deleting restore point %u", point->number);
    for (size_t i = 0; i < pairs->count; i++) {
        if (find_upper(store, &pairs->lower[i], &pairs->upper[i], &found, err) < 0)
            return -1;
        pairs->any |= found;
    }
    return 0;
}

static int find_newest(struct store *store, const struct store_vm *vm, bool *any,
                       struct store_point *newest, struct error **err)
{
    *any = store_point_find(store, vm->id, 0, newest, err) == 0;
    if (*any || (*err)->errnum != ENOENT)
        return *any ? 0 : -1;
    error_clear(err);
    return 0;
}

/* Where the newest point's images lie is also written in the disks' rows. */
static int tell_disks(struct store *store, const struct store_vm *vm, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *rows = NULL;
    struct store_point newest;
    size_t count;

    if (store_point_find(store, vm->id, 0, &newest, err) < 0 ||
        store_point_disks(store, newest.id, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (store_disk_set_back(store, &rows[i], err) < 0)
            return -1;
    }
    return 0;
}

static int trade(struct store *store, void *opaque, struct error **err)
{
    struct pairs *pairs = opaque;

    for (size_t i = 0; i < pairs->count; i++) {
        const struct store_point_disk *upper = &pairs->upper[i];

        if (upper->id && (store_point_disk_trade(store, &pairs->lower[i], upper, err) < 0 ||
                          store_point_moved(store, upper->point_id, err) < 0))
            return -1;
    }
    return tell_disks(store, pairs->vm, err);
}

/* What merging these disks can still make the lower images grow by; which of their holes the
 * upper ones fill, nobody has counted. */
static uint64_t growth(const char *state_dir, const struct pairs *pairs, size_t first)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    char lower[PATH_MAX], upper[PATH_MAX];
    uint64_t sum = 0;

    for (size_t i = first; i < pairs->count; i++) {
        uint64_t data, have, holes;

        if (!pairs->upper[i].id ||
            volume_path(state_dir, pairs->lower[i].image, lower, &ignored) < 0 ||
            volume_path(state_dir, pairs->upper[i].image, upper, &ignored) < 0)
            continue;
        data = volume_allocated(upper);
        have = volume_allocated(lower);
        holes = pairs->upper[i].capacity > have ? pairs->upper[i].capacity - have : 0;
        sum += data < holes ? data : holes;
    }
    return sum;
}

static int merge_all(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                     const struct store_point *point, struct error **err)
{
    CLEANUP(free_pairs) struct pairs pairs = { .vm = vm };
    struct store *store = merging->store;
    struct pool pool;

    if (open_pool(merging, state_dir, vm->id, &pool, err) < 0)
        return retire_pool_away(vm, err);
    if (load_pairs(store, point, &pairs, err) < 0)
        return -1;
    for (size_t i = 0; i < pairs.count; i++) {
        if (pairs.upper[i].id &&
            merge(merging, &pool, vm, point->number, &pairs.lower[i], &pairs.upper[i], err) < 0) {
            merging->more = growth(state_dir, &pairs, i);
            return -1;
        }
    }
    return pairs.any ? claim_transaction(merging->claim, store, trade, &pairs, err) : 0;
}

static const struct store_export *export_of(const struct store_export *exports, size_t count,
                                            int unit)
{
    for (size_t i = 0; i < count; i++) {
        if (exports[i].unit == unit)
            return &exports[i];
    }
    return NULL;
}

/* With the replica its exports go; their names stay with the disks. */
static int withdraw(const char *state_dir, const struct store_export *exports, size_t count,
                    struct error **err)
{
    char folder[PATH_MAX];

    if (volume_path(state_dir, "exports", folder, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (exportmap_file_remove(folder, exports[i].name, err) < 0 && (*err)->errnum != ENOENT)
            return -1;
        error_clear(err);
    }
    return 0;
}

/* The exports offer the newest point, wherever it lies. */
int retire_map_anew(struct store *store, const char *state_dir, const struct store_vm *vm,
                    struct error **err)
{
    CLEANUP_FREE struct store_point_disk *rows = NULL;
    CLEANUP_FREE struct store_export *exports = NULL;
    size_t count, export_count;
    struct store_point newest;
    bool any;

    if (find_newest(store, vm, &any, &newest, err) < 0)
        return -1;
    if (!any)
        return store_exports(store, vm->id, &exports, &export_count, err) < 0
                   ? -1
                   : withdraw(state_dir, exports, export_count, err);
    if (store_point_disks(store, newest.id, &rows, &count, err) < 0 ||
        store_exports(store, vm->id, &exports, &export_count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct store_export *old = export_of(exports, export_count, rows[i].unit);
        struct export_target target = { .vm = vm,
                                        .key = rows[i].key,
                                        .unit = rows[i].unit,
                                        .image = rows[i].image,
                                        .format = rows[i].format };

        if (old && !old->active && export_revoke(store, state_dir, &target, err) < 0)
            return error_prefix(err, "disk-%d", rows[i].key);
    }
    return 0;
}

static int remove_file(const char *state_dir, const char *relative, struct error **err)
{
    char path[PATH_MAX];

    return volume_path(state_dir, relative, path, err) < 0 ? -1 : volume_remove(path, err);
}

/* Overlays are files; a base goes only with the whole replica. */
static int remove_image(const struct pool *pool, const struct store_vm *vm,
                        const struct store_point_disk *row, struct error **err)
{
    const struct pool_disk disk = {
        .vm_uuid = vm->uuid, .key = row->key, .capacity = row->capacity, .format = row->format
    };

    if (pool_has_lost(pool, row->parent_id == 0))
        return 0;
    if (row->parent_id == 0)
        return pool_remove_base(pool, &disk, row->image, err);
    return remove_file(pool->state_dir, row->image, err);
}

/* Read again from the store: after step 3 they name other images than before. */
static int remove_files(const struct merging *merging, const char *state_dir,
                        const struct store_vm *vm, const struct store_point *point,
                        struct error **err)
{
    CLEANUP_FREE struct store_point_disk *rows = NULL;
    struct store *store = merging->store;
    struct pool pool;
    size_t count;

    if (open_pool(merging, state_dir, vm->id, &pool, err) < 0 ||
        store_point_disks(store, point->id, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct store_point_disk ignored;
        bool stands = false, used = true;

        if (find_upper(store, &rows[i], &ignored, &stands, err) < 0 ||
            store_image_is_used(store, rows[i].image, rows[i].id, &used, err) < 0)
            return -1;
        if (stands || used)
            return error_set(err, "%s is still needed by another restore point: it stays",
                             rows[i].image);
        if (remove_image(&pool, vm, &rows[i], err) < 0 ||
            remove_file(state_dir, rows[i].leaves, err) < 0)
            return -1;
    }
    pool_changed(&pool);
    return 0;
}

static int drop(struct store *store, void *opaque, struct error **err)
{
    const struct store_point *point = opaque;

    return store_point_drop(store, point->id, err) < 0
               ? -1
               : store_vm_leave_pool(store, point->vm_id, err);
}

/* What can't be found out now is not expected. */
void retire_expect(struct merging *merging, const char *state_dir, const struct store_point *point)
{
    CLEANUP(free_pairs) struct pairs pairs = { 0 };
    CLEANUP_ERROR struct error *ignored = NULL;
    char path[PATH_MAX];

    if (load_pairs(merging->store, point, &pairs, &ignored) < 0)
        return;
    for (size_t i = 0; i < pairs.count; i++) {
        if (pairs.upper[i].id && volume_path(state_dir, pairs.upper[i].image, path, &ignored) == 0)
            merging_expect(merging, &pairs.lower[i], volume_allocated(path));
    }
}

int retire_steps(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                 const struct store_point *point, struct error **err)
{
    struct store_point gone = *point;
    struct store *store = merging->store;

    /* With the pool all points of the VM go: there is nothing to merge. */
    if ((!merging->lost_pool && merge_all(merging, state_dir, vm, point, err) < 0) ||
        retire_map_anew(store, state_dir, vm, err) < 0 ||
        remove_files(merging, state_dir, vm, point, err) < 0)
        return -1;
    return claim_transaction(merging->claim, store, drop, &gone, err);
}

/* Every image and leaves file of the complete points that is not sealed: whether there is one, or
 * seal them all. */
static int look_at_seals(struct store *store, const char *state_dir, const struct store_vm *vm,
                         bool seal, bool *open, struct error **err)
{
    CLEANUP_FREE struct store_point *points = NULL;
    size_t count;

    *open = false;
    if (store_points(store, vm->id, &points, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        CLEANUP_FREE struct store_point_disk *rows = NULL;
        size_t disks;

        if (store_point_disks(store, points[i].id, &rows, &disks, err) < 0)
            return -1;
        for (size_t d = 0; d < disks * 2; d++) {
            const char *name = d % 2 ? rows[d / 2].leaves : rows[d / 2].image;
            char path[PATH_MAX];

            if (volume_path(state_dir, name, path, err) < 0)
                return -1;
            if (!volume_is_open(path))
                continue;
            *open = true;
            if (seal && volume_seal(path, err) < 0)
                return -1;
        }
    }
    return 0;
}

int retire_is_needed(struct store *store, const char *state_dir, const struct store_vm *vm,
                     bool *needed, struct error **err)
{
    CLEANUP_FREE struct store_point *going = NULL;
    size_t count;

    if (store_points_going(store, vm->id, &going, &count, err) < 0 ||
        look_at_seals(store, state_dir, vm, false, needed, err) < 0)
        return -1;
    *needed |= count > 0;
    return 0;
}

int retire_unfinished(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                      size_t *count, struct error **err)
{
    CLEANUP_FREE struct store_point *going = NULL;
    struct store *store = merging->store;
    bool open;

    if (store_points_going(store, vm->id, &going, count, err) < 0 ||
        look_at_seals(store, state_dir, vm, true, &open, err) < 0)
        return -1;
    for (size_t i = 0; i < *count; i++)
        retire_expect(merging, state_dir, &going[i]);
    /* The newest first: what stands on another one may be on its way out, too. */
    for (size_t i = 0; i < *count; i++) {
        if (retire_steps(merging, state_dir, vm, &going[i], err) < 0)
            return error_prefix(err, "finishing the deletion of restore point %u of '%s'",
                                going[i].number, vm->name);
    }
    return 0;
}
