/* Restore points as files; see point.h. */
#include "replica/point.h"

#include <string.h>

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
    if (snprintf(image->path, sizeof image->path, "%s/%s", state_dir, row->image) >=
        (int)sizeof image->path)
        return error_set_errno(err, ENAMETOOLONG, "%s", row->image);
    memcpy(image->format, row->format, sizeof image->format);
    return 0;
}

/* Follow the parents down to the base. A point's parent was complete before it, so
 * ids only fall: a loop in the table can't hang us. */
static int load_chain(struct store *store, const char *state_dir, struct replica_disk *disk,
                      struct store_point_disk row, struct error **err)
{
    while (add_image(disk, state_dir, &row, err) == 0) {
        int64_t parent = row.parent_id;

        if (parent == 0)
            return 0;
        if (parent >= row.id)
            return error_set(err, "disk-%d: its images do not form a chain", disk->key);
        if (store_point_disk_get(store, parent, &row, err) < 0)
            return -1;
    }
    return -1;
}

static int load_disk(struct store *store, const char *state_dir, const struct store_point_disk *row,
                     struct replica_disk *disk, struct error **err)
{
    disk->id = row->id;
    disk->disk_id = row->disk_id;
    disk->key = row->key;
    disk->unit = row->unit;
    disk->capacity = row->capacity;
    memcpy(disk->change_id, row->change_id, sizeof disk->change_id);
    memcpy(disk->sync_type, row->sync_type, sizeof disk->sync_type);
    memcpy(disk->digest, row->digest, sizeof disk->digest);
    if (snprintf(disk->leaves, sizeof disk->leaves, "%s/%s", state_dir, row->leaves) >=
        (int)sizeof disk->leaves)
        return error_set_errno(err, ENAMETOOLONG, "%s", row->leaves);
    return load_chain(store, state_dir, disk, *row, err);
}

int replica_point_load(struct store *store, const char *state_dir, int64_t vm_id, unsigned number,
                       struct replica_point *point, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *rows = NULL;
    CLEANUP_POINT struct replica_point loaded = { 0 };
    struct store_point row;
    size_t count;

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

        if (load_disk(store, state_dir, &rows[loaded.count++], disk, err) < 0)
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
