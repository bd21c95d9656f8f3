/* Where a VM's replica lies; see sync.h. What comes in: what the operator wishes, what
 * was decided with the first copy. What goes out: one pool for all of the VM's disks,
 * which never changes while there is a replica. */
#include <string.h>

#include "job/options.h"
#include "job/sync.h"

#define STATE_POOL "state"

struct pool_disk sync_pool_disk(const struct sync *sync, const struct disk_sync *disk)
{
    return (struct pool_disk){ .vm_uuid = sync->vm->uuid,
                               .key = disk->stored.key,
                               .capacity = disk->capacity,
                               .format = disk->row.format };
}

static int find_pool(struct store *store, const char *name, int64_t *id, struct error **err)
{
    struct store_pool row;

    *id = 0;
    if (!name || !*name || strcmp(name, STATE_POOL) == 0)
        return 0;
    if (store_pool_find(store, name, &row, err) < 0)
        return -1;
    *id = row.id;
    return 0;
}

static int refuse_pool(const struct store_vm *vm, const char *pool, struct error **err)
{
    return error_set_kind(err, ERROR_USAGE,
                          "--pool=%s: the replica of '%s' lies in another pool, and stays there",
                          pool, vm->name);
}

int replicate_check_pool(struct store *store, const struct store_vm *vm, const char *given,
                         struct error **err)
{
    CLEANUP(job_options_free) struct job_options own = { .json = NULL };
    CLEANUP_ERROR struct error *none = NULL;
    struct store_point point;
    int64_t stored, wanted;
    bool found;

    if (job_options_apply(given ? given : "", &own, err) < 0)
        return -1;
    if (!own.options.pool)
        return 0;
    if (find_pool(store, own.options.pool, &wanted, err) < 0 ||
        store_vm_pool(store, vm->id, &stored, err) < 0 ||
        store_point_unfinished(store, vm->id, &found, &point, err) < 0)
        return -1;
    if (!found && store_point_find(store, vm->id, 0, &point, &none) < 0)
        return none->errnum == ENOENT ? 0 : error_move(err, &none);
    return wanted == stored ? 0 : refuse_pool(vm, own.options.pool, err);
}

/* A replica that was given up lay in another pool: a link of that time must not lead this one's
 * base to a device there, nor the device wait for it for ever. */
static int leave(struct store *store, void *opaque, struct error **err)
{
    const struct sync *sync = opaque;
    CLEANUP_FREE struct store_disk *disks = NULL;
    char before[STORE_OPTIONS];
    struct pool pool;
    int64_t id;
    size_t count;

    if (store_vm_pool(store, sync->vm->id, &id, err) < 0 ||
        pool_open(store, sync->state_dir, id, &pool, err) < 0 ||
        store_disks(store, sync->vm->id, &disks, &count, err) < 0)
        return -1;
    memcpy(before, pool.row.options, sizeof before);
    for (size_t i = 0; i < count; i++) {
        const struct pool_disk disk = { .vm_uuid = sync->vm->uuid,
                                        .key = disks[i].key,
                                        .format = "raw" };
        char image[STORE_PATH];

        if (pool_image(&pool, &disk, 0, image, err) < 0 || pool_release(&pool, image, err) < 0)
            return -1;
    }
    if (strcmp(before, pool.row.options) != 0 &&
        store_pool_set_options(store, &pool.row, before, err) < 0)
        return -1;
    return store_vm_set_pool(store, sync->vm->id, 0, err);
}

/* A replica that is begun stays where it is. */
static int choose_id(struct sync *sync, int64_t *id, struct error **err)
{
    const struct replicate_options *options = sync->options;
    int64_t stored, wanted = 0;

    if (store_vm_pool(sync->store, sync->vm->id, &stored, err) < 0 ||
        find_pool(sync->store, options->pool, &wanted, err) < 0)
        return -1;
    if (sync->newest.id || sync->left.id) {
        *id = stored;
        return options->pool && wanted != stored ? refuse_pool(sync->vm, options->pool, err) : 0;
    }
    if (!options->pool && find_pool(sync->store, options->default_pool, &wanted, err) < 0)
        return error_prefix(err, "[replicate] pool");
    *id = wanted;
    return stored && stored != wanted
               ? claim_transaction(sync->claim, sync->store, leave, sync, err)
               : 0;
}

static int check_format(const struct sync *sync, struct error **err)
{
    const char *base = sync->options->base;
    char title[POOL_TITLE];

    if (!base || sync->newest.id || pool_takes_format(&sync->pool, base))
        return 0;
    return error_set_kind(err, ERROR_USAGE, "a base of format %s: %s takes only raw ones", base,
                          pool_title(&sync->pool, title));
}

int sync_choose_pool(struct sync *sync, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *rows = NULL;
    int64_t id = 0, point = sync->newest.id ? sync->newest.id : sync->left.id;
    size_t count = 0;

    if (choose_id(sync, &id, err) < 0 ||
        pool_open(sync->store, sync->state_dir, id, &sync->pool, err) < 0 ||
        check_format(sync, err) < 0)
        return -1;
    if (point && store_point_disks(sync->store, point, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct pool_disk disk = { .vm_uuid = sync->vm->uuid, .key = rows[i].key, .format = "raw" };
        char image[STORE_PATH];

        if (pool_image(&sync->pool, &disk, 0, image, err) < 0 ||
            pool_settle(&sync->pool, image, err) < 0)
            return -1;
    }
    return 0;
}

/* The path of "disk-KEY=PATH" for this disk; NULL: none was given. */
static const char *chosen_device(const struct sync *sync, const struct disk_sync *disk)
{
    char prefix[32];
    int length = snprintf(prefix, sizeof prefix, "disk-%d=", disk->stored.key);

    for (size_t i = 0; i < sync->options->device_count; i++) {
        if (strncmp(sync->options->devices[i], prefix, (size_t)length) == 0)
            return sync->options->devices[i] + length;
    }
    return NULL;
}

int sync_keep_pool(struct sync *sync, struct error **err)
{
    char before[STORE_OPTIONS];

    if (sync->newest.id)
        return 0;
    if (store_vm_set_pool(sync->store, sync->vm->id, sync->pool.row.id, err) < 0)
        return -1;
    if (sync->pool.row.id == 0)
        return 0;
    /* Another job may have taken a device since we looked. */
    if (store_pool_get(sync->store, sync->pool.row.id, &sync->pool.row, err) < 0)
        return -1;
    memcpy(before, sync->pool.row.options, sizeof before);
    /* The operator's choices first, that no other disk takes them. */
    for (int chosen = 1; chosen >= 0; chosen--) {
        for (size_t i = 0; i < sync->count; i++) {
            struct pool_disk place = sync_pool_disk(sync, &sync->disks[i]);
            const char *device = chosen_device(sync, &sync->disks[i]);

            if ((device != NULL) == chosen && pool_reserve(&sync->pool, &place, device, err) < 0)
                return -1;
        }
    }
    if (strcmp(before, sync->pool.row.options) == 0)
        return 0;
    return store_pool_set_options(sync->store, &sync->pool.row, before, err);
}
