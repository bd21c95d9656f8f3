/* Pools of block devices that the operator gave; see pool.h. Each device is the base of
 * one disk, and it is written down whose before anything is written to it:
 *
 *   { "devices": [ { "path": …, "size": …, "identity": { … },
 *                    "forced": true, "image": "replicas/UUID/disk-KEY/base.raw" } ] }
 *
 * "image" is missing while it is free. A new base is not taken for zeroes. */
#include <json.h>
#include <string.h>
#include <sys/stat.h>

#include "replica/device.h"
#include "replica/pool-ops.h"
#include "replica/volume.h"

static void json_put(json_object **json)
{
    json_object_put(*json);
}
#define CLEANUP_JSON CLEANUP(json_put)

static size_t device_count(json_object *options)
{
    json_object *devices = json_object_object_get(options, "devices");

    return devices ? json_object_array_length(devices) : 0;
}

static json_object *device_at(json_object *options, size_t i)
{
    return json_object_array_get_idx(json_object_object_get(options, "devices"), i);
}

static uint64_t device_size(json_object *device)
{
    return json_object_get_uint64(json_object_object_get(device, "size"));
}

static const char *device_image(json_object *device)
{
    return pool_option(device, "image");
}

/* Both paths lead to one device. */
static bool same_device(const char *a, const char *b)
{
    struct stat sa, sb;

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && S_ISBLK(sa.st_mode) && S_ISBLK(sb.st_mode) &&
           sa.st_rdev == sb.st_rdev;
}

static bool is_forced(const struct pool_wishes *wishes, const char *path)
{
    for (size_t i = 0; i < wishes->forced_count; i++) {
        if (same_device(wishes->forced[i], path))
            return true;
    }
    return false;
}

static json_object *take_device(const struct pool_wishes *wishes, const char *path,
                                struct error **err)
{
    CLEANUP_JSON json_object *device = device_describe(path, err);
    bool forced = is_forced(wishes, path);

    if (!device)
        return NULL;
    if ((forced ? device_check_unused : device_check_blank)(path, err) < 0) {
        if (!forced)
            error_prefix(
                err, "refused (--force-device=%s overwrites it, but not while it is in use)", path);
        return NULL;
    }
    if (forced)
        json_object_object_add(device, "forced", json_object_new_boolean(true));
    return steal_ptr(device);
}

static int block_describe(struct store_pool *row, const struct pool_wishes *wishes,
                          struct error **err)
{
    CLEANUP_JSON json_object *options = json_object_new_object();
    json_object *devices = json_object_new_array();

    json_object_object_add(options, "devices", devices);
    if (wishes->location)
        return error_set_kind(err, ERROR_USAGE, "give devices as --device=PATH, one or more");
    if (wishes->device_count + wishes->forced_count == 0)
        return error_set_kind(err, ERROR_USAGE, "say which devices: --device=PATH");
    for (size_t i = 0; i < wishes->device_count + wishes->forced_count; i++) {
        const char *path = i < wishes->device_count ? wishes->devices[i]
                                                    : wishes->forced[i - wishes->device_count];
        json_object *device;

        for (size_t j = 0; j < json_object_array_length(devices); j++) {
            if (same_device(path, pool_option(json_object_array_get_idx(devices, j), "path")))
                path = NULL;
            if (!path)
                break;
        }
        if (!path)
            continue;
        device = take_device(wishes, path, err);
        if (!device)
            return -1;
        json_object_array_add(devices, device);
    }
    snprintf(row->location, sizeof row->location, "%zu device%s", json_object_array_length(devices),
             json_object_array_length(devices) == 1 ? "" : "s");
    return pool_set_options(row, options, err);
}

int pool_share_device(const struct store_pool *a, const struct store_pool *b, struct error **err)
{
    CLEANUP_JSON json_object *mine = pool_options(a, err);
    CLEANUP_JSON json_object *theirs = mine ? pool_options(b, err) : NULL;

    if (!theirs)
        return -1;
    for (size_t i = 0; i < device_count(mine); i++) {
        for (size_t j = 0; j < device_count(theirs); j++) {
            json_object *identity = json_object_object_get(device_at(mine, i), "identity");

            if (json_object_equal(identity,
                                  json_object_object_get(device_at(theirs, j), "identity")))
                return error_set(err, "%s is in pool '%s' already",
                                 pool_option(device_at(theirs, j), "path"), a->name);
        }
    }
    return 0;
}

/* What no disk has yet. */
static int block_space(const struct pool *pool, struct pool_space *space, struct error **err)
{
    CLEANUP_JSON json_object *options = pool_options(&pool->row, err);

    if (!options)
        return -1;
    for (size_t i = 0; i < device_count(options); i++) {
        json_object *device = device_at(options, i);

        space->total += device_size(device);
        space->free += device_image(device)[0] ? 0 : device_size(device);
    }
    return 0;
}

static int block_base(const struct pool *pool, const struct pool_disk *disk, char image[STORE_PATH],
                      struct error **err)
{
    (void)pool;
    if (snprintf(image, STORE_PATH, "replicas/%s/disk-%d/base.raw", disk->vm_uuid, disk->key) >=
        STORE_PATH)
        return error_set_errno(err, ENAMETOOLONG, "%s", disk->vm_uuid);
    return 0;
}

static json_object *device_of(json_object *options, const char *image)
{
    for (size_t i = 0; i < device_count(options); i++) {
        if (strcmp(device_image(device_at(options, i)), image) == 0)
            return device_at(options, i);
    }
    return NULL;
}

/* The operator's choice, by any of its names. */
static json_object *named_device(json_object *options, const char *path)
{
    for (size_t i = 0; i < device_count(options); i++) {
        json_object *device = device_at(options, i);

        if (strcmp(pool_option(device, "path"), path) == 0 ||
            same_device(pool_option(device, "path"), path))
            return device;
    }
    return NULL;
}

/* The smallest free one that is large enough; of equals the one that was given first. */
static json_object *smallest_device(json_object *options, uint64_t capacity)
{
    json_object *best = NULL;

    for (size_t i = 0; i < device_count(options); i++) {
        json_object *device = device_at(options, i);

        if (!device_image(device)[0] && device_size(device) >= capacity &&
            (!best || device_size(device) < device_size(best)))
            best = device;
    }
    return best;
}

static int check_choice(json_object *device, const struct pool_disk *disk, const char *path,
                        struct error **err)
{
    if (!device && path)
        return error_set(err, "%s is not in the pool", path);
    if (!device)
        return error_set(err, "no device is free for a disk of %llu bytes",
                         (unsigned long long)disk->capacity);
    if (device_image(device)[0])
        return error_set(err, "%s is the base of another disk: %s", path, device_image(device));
    if (device_size(device) < disk->capacity)
        return error_set(err, "%s has %llu bytes, the disk %llu", path,
                         (unsigned long long)device_size(device),
                         (unsigned long long)disk->capacity);
    return 0;
}

static int block_reserve(struct pool *pool, const struct pool_disk *disk, const char *path,
                         struct error **err)
{
    CLEANUP_JSON json_object *options = pool_options(&pool->row, err);
    json_object *device;
    char image[STORE_PATH];

    if (!options || block_base(pool, disk, image, err) < 0)
        return -1;
    device = device_of(options, image);
    if (device) {
        if (!path || named_device(options, path) == device)
            return 0;
        return error_set(err, "disk-%d has %s already", disk->key, pool_option(device, "path"));
    }
    device = path ? named_device(options, path) : smallest_device(options, disk->capacity);
    if (check_choice(device, disk, path, err) < 0)
        return error_prefix(err, "disk-%d", disk->key);
    json_object_object_add(device, "image", json_object_new_string(image));
    return pool_set_options(&pool->row, options, err);
}

/* The link goes first: while it stands, the device is not free. */
static int block_release(struct pool *pool, const char *image, const char *path, struct error **err)
{
    CLEANUP_JSON json_object *options = pool_options(&pool->row, err);
    json_object *device = options ? device_of(options, image) : NULL;
    struct stat st;

    if (!options)
        return -1;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && volume_remove(path, err) < 0)
        return -1;
    if (!device)
        return 0;
    json_object_object_del(device, "image");
    json_object_object_add(device, "forced", json_object_new_boolean(true));
    return pool_set_options(&pool->row, options, err);
}

/* It may have been used since it was given. Where its link stands, that was found out
 * before, and what is on it is ours. */
static int block_create(const struct pool *pool, const struct pool_disk *disk, const char *path,
                        struct error **err)
{
    CLEANUP_JSON json_object *options = pool_options(&pool->row, err);
    json_object *device;
    char image[STORE_PATH], found[PATH_MAX];
    bool forced;

    if (!options || block_base(pool, disk, image, err) < 0)
        return -1;
    device = device_of(options, image);
    if (!device)
        return error_set(err, "disk-%d has no device", disk->key);
    forced = json_object_get_boolean(json_object_object_get(device, "forced"));
    if (device_find(device, found, err) < 0)
        return -1;
    if (same_device(path, found))
        return device_check_unused(found, err);
    if ((forced ? device_check_unused : device_check_blank)(found, err) < 0 ||
        volume_make_folder(path, err) < 0)
        return -1;
    return volume_turn_link(path, found, err);
}

static int block_grow(const struct pool *pool, const struct pool_disk *disk, const char *path,
                      struct error **err)
{
    (void)pool;
    return volume_grow(path, "raw", disk->capacity, err);
}

static int block_settle(const struct pool *pool, const char *image, const char *path,
                        struct error **err)
{
    CLEANUP_JSON json_object *options = pool_options(&pool->row, err);
    json_object *device = options ? device_of(options, image) : NULL;
    char found[PATH_MAX];

    if (!options)
        return -1;
    if (!device)
        return error_set(err, "%s has no device", image);
    if (device_find(device, found, err) < 0)
        return -1;
    if (same_device(path, found))
        return 0;
    return volume_turn_link(path, found, err);
}

const struct pool_ops pool_block_ops = {
    .kind = "block",
    .describe = block_describe,
    .space = block_space,
    .base = block_base,
    .reserve = block_reserve,
    .release = block_release,
    .create = block_create,
    .grow = block_grow,
    .settle = block_settle,
};
