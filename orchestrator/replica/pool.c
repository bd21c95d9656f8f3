/* What all kinds of pools share; see pool.h. */
#include "replica/pool.h"

#include <json.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "replica/pool-ops.h"
#include "replica/volume.h"

static const struct pool_ops *const kinds[] = { &pool_dir_ops, &pool_libvirt_ops, &pool_block_ops,
                                                &pool_lvm_ops, &pool_rbd_ops };

static const struct pool_ops *find_kind(const char *kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i]->kind, kind) == 0)
            return kinds[i];
    }
    return NULL;
}

int folder_space(const char *folder, struct pool_space *space, struct error **err)
{
    struct statvfs fs;

    if (statvfs(folder, &fs) < 0)
        return error_set_errno(err, errno, "%s", folder);
    space->total = (uint64_t)fs.f_blocks * fs.f_frsize;
    space->free = (uint64_t)fs.f_bavail * fs.f_frsize;
    return 0;
}

json_object *pool_options(const struct store_pool *row, struct error **err)
{
    json_object *json =
        row->options[0] ? json_tokener_parse(row->options) : json_object_new_object();

    if (!json)
        error_set(err, "pool '%s': its options can't be read", row->name);
    return json;
}

const char *pool_option(json_object *json, const char *name)
{
    const char *text = json_object_get_string(json_object_object_get(json, name));

    return text ? text : "";
}

int pool_set_options(struct store_pool *row, json_object *json, struct error **err)
{
    const char *text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_NOSLASHESCAPE);

    if (strlen(text) >= sizeof row->options)
        return error_set(err, "pool '%s' has too many devices: make another pool", row->name);
    strcpy(row->options, text);
    return 0;
}

static int set_state_dir(const char *state_dir, struct pool *pool, struct error **err)
{
    if (snprintf(pool->state_dir, sizeof pool->state_dir, "%s", state_dir) >= PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "%s", state_dir);
    return 0;
}

static int find_ops(const struct store_pool *row, const char *state_dir, struct pool *pool,
                    struct error **err)
{
    *pool = (struct pool){ .row = *row, .ops = find_kind(row->kind) };
    if (set_state_dir(state_dir, pool, err) < 0)
        return -1;
    return pool->ops ? 0
                     : error_set(err, "pool '%s' is of a kind that this vmferry does not know: %s",
                                 row->name, row->kind);
}

int pool_open_row(const struct store_pool *row, const char *state_dir, struct pool *pool,
                  struct error **err)
{
    if (find_ops(row, state_dir, pool, err) < 0)
        return -1;
    if (pool->ops->open && pool->ops->open(pool, err) < 0)
        return error_prefix(err, "pool '%s'", row->name);
    return 0;
}

int pool_open_lost(struct store *store, const char *state_dir, int64_t pool_id, struct pool *pool,
                   struct error **err)
{
    struct store_pool row;

    if (!pool_id)
        return pool_open(store, state_dir, pool_id, pool, err);
    if (store_pool_get(store, pool_id, &row, err) < 0 || find_ops(&row, state_dir, pool, err) < 0)
        return -1;
    pool->lost = true;
    return 0;
}

bool pool_has_lost(const struct pool *pool, bool base)
{
    return pool->lost && (base || pool_keeps_overlays(pool));
}

int pool_open(struct store *store, const char *state_dir, int64_t pool_id, struct pool *pool,
              struct error **err)
{
    struct store_pool row;

    if (pool_id) {
        if (store_pool_get(store, pool_id, &row, err) < 0)
            return -1;
        return pool_open_row(&row, state_dir, pool, err);
    }
    *pool = (struct pool){ .ops = &pool_state_ops };
    return set_state_dir(state_dir, pool, err);
}

int pool_describe(struct store_pool *row, const struct pool_wishes *wishes, struct error **err)
{
    const struct pool_ops *ops = find_kind(row->kind);

    if (!ops)
        return error_set_kind(err, ERROR_USAGE,
                              "'%s' is no kind of pool: say dir, libvirt, block, lvm or rbd",
                              row->kind);
    return ops->describe(row, wishes, err);
}

const char *pool_title(const struct pool *pool, char title[POOL_TITLE])
{
    if (pool->row.id == 0)
        snprintf(title, POOL_TITLE, "the state directory (%.*s)", STORE_PATH, pool->state_dir);
    else
        snprintf(title, POOL_TITLE, "pool '%s' (%s)", pool->row.name, pool->row.location);
    return title;
}

int pool_space(const struct pool *pool, struct pool_space *space, struct error **err)
{
    *space = (struct pool_space){ 0 };
    if (pool->ops->space(pool, space, err) < 0)
        return pool->row.id ? error_prefix(err, "pool '%s'", pool->row.name) : -1;
    return 0;
}

bool pool_keeps_overlays(const struct pool *pool)
{
    return pool->ops->files;
}

bool pool_reads_zero(const struct pool *pool)
{
    return pool->ops->reads_zero;
}

bool pool_takes_format(const struct pool *pool, const char *format)
{
    return pool->ops->files || strcmp(format, "raw") == 0;
}

int pool_image(const struct pool *pool, const struct pool_disk *disk, unsigned number,
               char image[STORE_PATH], struct error **err)
{
    const struct pool_ops *ops = number && !pool_keeps_overlays(pool) ? &pool_state_ops : pool->ops;
    char name[64] = "base";
    int length;

    if (number)
        snprintf(name, sizeof name, "point-%04u", number);
    if (!number && ops->base)
        return ops->base(pool, disk, image, err);
    if (ops == &pool_libvirt_ops) /* it lists what lies in its folder, not below */
        length = snprintf(image, STORE_PATH, "%s/vmferry-%s-disk-%d-%s.%s", pool->folder,
                          disk->vm_uuid, disk->key, name, number ? "qcow2" : disk->format);
    else
        length = snprintf(image, STORE_PATH, "%s/%s/disk-%d/%s.%s",
                          ops == &pool_state_ops ? "replicas" : pool->folder, disk->vm_uuid,
                          disk->key, name, number ? "qcow2" : disk->format);
    return length < STORE_PATH ? 0 : error_set_errno(err, ENAMETOOLONG, "%s", pool->folder);
}

int pool_reserve(struct pool *pool, const struct pool_disk *disk, const char *device,
                 struct error **err)
{
    char title[POOL_TITLE];

    if (pool->ops->reserve)
        return pool->ops->reserve(pool, disk, device, err);
    if (!device)
        return 0;
    return error_set_kind(err, ERROR_USAGE, "--device: %s is no pool of devices",
                          pool_title(pool, title));
}

int pool_release(struct pool *pool, const char *image, struct error **err)
{
    char path[PATH_MAX];

    if (!pool->ops->release)
        return 0;
    if (volume_path(pool->state_dir, image, path, err) < 0)
        return -1;
    return pool->ops->release(pool, image, path, err);
}

/* `act` may be NULL. */
static int act_on(const struct pool *pool, const struct pool_disk *disk, const char *image,
                  int (*act)(const struct pool *, const struct pool_disk *, const char *,
                             struct error **),
                  struct error **err)
{
    char path[PATH_MAX];

    if (!act)
        return 0;
    if (volume_path(pool->state_dir, image, path, err) < 0)
        return -1;
    if (act(pool, disk, path, err) < 0)
        return pool->row.id ? error_prefix(err, "pool '%s'", pool->row.name) : -1;
    return 0;
}

int pool_create_base(const struct pool *pool, const struct pool_disk *disk, const char *image,
                     struct error **err)
{
    return act_on(pool, disk, image, pool->ops->create, err);
}

int pool_grow_base(const struct pool *pool, const struct pool_disk *disk, const char *image,
                   struct error **err)
{
    return act_on(pool, disk, image, pool->ops->grow, err);
}

int pool_remove_base(const struct pool *pool, const struct pool_disk *disk, const char *image,
                     struct error **err)
{
    return act_on(pool, disk, image, pool->ops->remove, err);
}

void pool_changed(const struct pool *pool)
{
    if (pool->ops->changed && !pool->lost)
        pool->ops->changed(pool);
}

int pool_settle(const struct pool *pool, const char *image, struct error **err)
{
    char path[PATH_MAX];

    if (!pool->ops->settle)
        return 0;
    if (volume_path(pool->state_dir, image, path, err) < 0)
        return -1;
    return pool->ops->settle(pool, image, path, err) < 0
               ? error_prefix(err, "pool '%s'", pool->row.name)
               : 0;
}
