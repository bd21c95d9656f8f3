/* Pools of LVM: a volume group, a logical volume for each base; see pool.h. A new volume
 * holds what was on those blocks before, so nothing is taken for zeroes. The base's link
 * is made last: without it there is no base. */
#include <inttypes.h>
#include <string.h>

#include "process.h"
#include "replica/pool-ops.h"
#include "replica/volume.h"

#define LVM_MS 60000
#define TAG    "vmferry"

static int group_space(const char *group, struct pool_space *space, struct error **err)
{
    const char *argv[] = { "vgs",       "--noheadings",  "--nosuffix",
                           "--units=b", "--separator=;", "--options=vg_free,vg_size",
                           "--",        group,           NULL };
    CLEANUP_FREE char *text = NULL;

    if (process_run(argv, LVM_MS, &text, err) < 0)
        return -1;
    if (sscanf(text, " %" SCNu64 ";%" SCNu64, &space->free, &space->total) != 2)
        return error_set(err, "vgs says of %s: %.100s", group, text);
    return 0;
}

static int lvm_describe(struct store_pool *row, const struct pool_wishes *wishes,
                        struct error **err)
{
    struct pool_space space;

    if (!wishes->location || strpbrk(wishes->location, "/ \n"))
        return error_set_kind(err, ERROR_USAGE, "say which volume group");
    if (snprintf(row->location, sizeof row->location, "%s", wishes->location) >= 128)
        return error_set_errno(err, ENAMETOOLONG, "%s", wishes->location);
    return group_space(row->location, &space, err);
}

static int lvm_space(const struct pool *pool, struct pool_space *space, struct error **err)
{
    return group_space(pool->row.location, space, err);
}

static int lvm_base(const struct pool *pool, const struct pool_disk *disk, char image[STORE_PATH],
                    struct error **err)
{
    (void)pool;
    if (snprintf(image, STORE_PATH, "replicas/%s/disk-%d/base.raw", disk->vm_uuid, disk->key) >=
        STORE_PATH)
        return error_set_errno(err, ENAMETOOLONG, "%s", disk->vm_uuid);
    return 0;
}

static void volume_name(const struct pool_disk *disk, char name[128])
{
    snprintf(name, 128, "vmferry-%.40s-disk-%d", disk->vm_uuid, disk->key);
}

static int lvm_create(const struct pool *pool, const struct pool_disk *disk, const char *path,
                      struct error **err)
{
    char name[128], size[32], device[STORE_PATH + 256];
    const char *argv[] = { "lvcreate", "--yes",    "--wipesignatures=n",
                           "--zero=n", "--addtag", TAG,
                           "--name",   name,       "--size",
                           size,       "--",       pool->row.location,
                           NULL };

    volume_name(disk, name);
    snprintf(size, sizeof size, "%" PRIu64 "b", disk->capacity);
    snprintf(device, sizeof device, "/dev/%s/%s", pool->row.location, name);
    if (volume_make_folder(path, err) < 0 || process_run(argv, LVM_MS, NULL, err) < 0)
        return -1;
    return volume_turn_link(path, device, err);
}

static int lvm_grow(const struct pool *pool, const struct pool_disk *disk, const char *path,
                    struct error **err)
{
    char name[128], size[32], volume[STORE_PATH + 256];
    const char *argv[] = { "lvextend", "--size", size, "--", volume, NULL };
    uint64_t now;

    if (volume_device_size(path, &now, err) < 0)
        return -1;
    if (now >= disk->capacity)
        return 0;
    volume_name(disk, name);
    snprintf(size, sizeof size, "%" PRIu64 "b", disk->capacity);
    snprintf(volume, sizeof volume, "%s/%s", pool->row.location, name);
    return process_run(argv, LVM_MS, NULL, err);
}

/* Only one that has our tag. */
static int lvm_remove(const struct pool *pool, const struct pool_disk *disk, const char *path,
                      struct error **err)
{
    char name[128], select[256];
    const char *argv[] = {
        "lvremove", "--yes", "--select", select, "--", pool->row.location, NULL
    };

    volume_name(disk, name);
    snprintf(select, sizeof select, "lv_name=%s && lv_tags=%s", name, TAG);
    if (process_run(argv, LVM_MS, NULL, err) < 0)
        return -1;
    return volume_remove(path, err);
}

const struct pool_ops pool_lvm_ops = {
    .kind = "lvm",
    .describe = lvm_describe,
    .space = lvm_space,
    .base = lvm_base,
    .create = lvm_create,
    .grow = lvm_grow,
    .remove = lvm_remove,
};
