/* Restore points as files; see point.h. */
#include "replica/point.h"

#include <string.h>

#include "replica/pool.h"
#include "replica/volume.h"

static int add_image(struct replica_disk *disk, const char *state_dir,
                     const struct store_point_disk *row, struct error **err)
{
    struct replica_image *image;
    struct replica_image *bigger =
        reallocarray(disk->chain, disk->chain_length + 1, sizeof *disk->chain);

    if (!bigger)
        return error_set_errno(err, ENOMEM, "reading the restore point");
    disk->chain = bigger;
    image = &disk->chain[disk->chain_length++];
    if (volume_path(state_dir, row->image, image->path, err) < 0)
        return -1;
    memcpy(image->format, row->format, sizeof image->format);
    return 0;
}

/* Follow the parents down to the base. A point's parent was complete before it, so
 * ids only fall: a loop in the table can't hang us. */
static int load_chain(struct store *store, const struct pool *pool, struct replica_disk *disk,
                      struct store_point_disk row, struct error **err)
{
    while (add_image(disk, pool->state_dir, &row, err) == 0) {
        int64_t parent = row.parent_id;

        if (parent == 0)
            return pool_settle(pool, row.image, err);
        if (parent >= row.id)
            return error_set(err, "disk-%d: its images do not form a chain", disk->key);
        if (store_point_disk_get(store, parent, &row, err) < 0)
            return -1;
    }
    return -1;
}

static int load_disk(struct store *store, const struct pool *pool,
                     const struct store_point_disk *row, struct replica_disk *disk,
                     struct error **err)
{
    disk->id = row->id;
    disk->disk_id = row->disk_id;
    disk->key = row->key;
    disk->unit = row->unit;
    disk->capacity = row->capacity;
    memcpy(disk->change_id, row->change_id, sizeof disk->change_id);
    memcpy(disk->sync_type, row->sync_type, sizeof disk->sync_type);
    memcpy(disk->digest, row->digest, sizeof disk->digest);
    if (volume_path(pool->state_dir, row->leaves, disk->leaves, err) < 0)
        return -1;
    return load_chain(store, pool, disk, *row, err);
}

int replica_point_load(struct store *store, const char *state_dir, int64_t vm_id, unsigned number,
                       struct replica_point *point, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *rows = NULL;
    CLEANUP_POINT struct replica_point loaded = { 0 };
    struct store_point row;
    struct pool pool;
    int64_t pool_id;
    size_t count;

    if (store_vm_pool(store, vm_id, &pool_id, err) < 0 ||
        pool_open(store, state_dir, pool_id, &pool, err) < 0)
        return -1;
    if (store_point_find(store, vm_id, number, &row, err) < 0 ||
        store_point_disks(store, row.id, &rows, &count, err) < 0)
        return -1;
    loaded.id = row.id;
    loaded.number = row.number;
    loaded.created_ms = row.created_ms;
    loaded.disks = calloc(count, sizeof *loaded.disks);
    if (!loaded.disks)
        return error_set_errno(err, ENOMEM, "reading the restore point");
    for (loaded.count = 0; loaded.count < count;) {
        struct replica_disk *disk = &loaded.disks[loaded.count];

        if (load_disk(store, &pool, &rows[loaded.count++], disk, err) < 0)
            return -1;
    }
    *point = loaded;
    loaded = (struct replica_point){ 0 };
    return 0;
}

void replica_point_free(struct replica_point *point)
{
    for (size_t i = 0; i < point->count; i++)
        free(point->disks[i].chain);
    free(point->disks);
}
