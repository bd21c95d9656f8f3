/* Pools of Ceph RBD; see pool.h. Keys stay in Ceph's keyrings. */
#include <json.h>
#include <string.h>

#include "rbd.h"
#include "replica/pool-ops.h"

/* A colon or comma would end the name in QEMU's syntax. */
static int check_word(const char *what, const char *text, struct error **err)
{
    if (text && (!*text || strpbrk(text, ":, \\@\n") || text[0] == '-'))
        return error_set_kind(err, ERROR_USAGE, "%s '%s': a character that can't be in it", what,
                              text);
    return 0;
}

static int rbd_describe(struct store_pool *row, const struct pool_wishes *wishes,
                        struct error **err)
{
    json_object *json;
    int r;

    if (!wishes->location)
        return error_set_kind(err, ERROR_USAGE,
                              "say which of Ceph's pools: POOL or POOL/NAMESPACE");
    if (check_word("pool", wishes->location, err) < 0 ||
        check_word("--config", wishes->config, err) < 0 ||
        check_word("--user", wishes->user, err) < 0)
        return -1;
    if (wishes->config && wishes->config[0] != '/')
        return error_set_kind(err, ERROR_USAGE, "--config=%s: give an absolute path",
                              wishes->config);
    if (rbd_check_pool(wishes->location, wishes->config, wishes->user, err) < 0)
        return -1;
    if (snprintf(row->location, sizeof row->location, "%s", wishes->location) >= 256)
        return error_set_errno(err, ENAMETOOLONG, "%s", wishes->location);
    json = json_object_new_object();
    if (wishes->config)
        json_object_object_add(json, "config", json_object_new_string(wishes->config));
    if (wishes->user)
        json_object_object_add(json, "user", json_object_new_string(wishes->user));
    r = pool_set_options(row, json, err);
    json_object_put(json);
    return r;
}

static int rbd_pool_space(const struct pool *pool, struct pool_space *space, struct error **err)
{
    json_object *json = pool_options(&pool->row, err);
    int r;

    if (!json)
        return -1;
    r = rbd_space(pool->row.location, pool_option(json, "config"), pool_option(json, "user"),
                  &space->free, &space->total, err);
    json_object_put(json);
    return r;
}

static int rbd_base(const struct pool *pool, const struct pool_disk *disk, char image[STORE_PATH],
                    struct error **err)
{
    json_object *json = pool_options(&pool->row, err);
    const char *config, *user;
    int length;

    if (!json)
        return -1;
    config = pool_option(json, "config");
    user = pool_option(json, "user");
    length = snprintf(image, STORE_PATH, "rbd:%s/vmferry-%s-disk-%d%s%s%s%s", pool->row.location,
                      disk->vm_uuid, disk->key, *user ? ":id=" : "", user, *config ? ":conf=" : "",
                      config);
    json_object_put(json);
    return length < STORE_PATH ? 0 : error_set_errno(err, ENAMETOOLONG, "%s", pool->row.location);
}

static int create(const struct pool *pool, const struct pool_disk *disk, const char *path,
                  struct error **err)
{
    (void)pool;
    return rbd_create(path, disk->capacity, err);
}

static int grow(const struct pool *pool, const struct pool_disk *disk, const char *path,
                struct error **err)
{
    (void)pool;
    return rbd_grow(path, disk->capacity, err);
}

static int drop(const struct pool *pool, const struct pool_disk *disk, const char *path,
                struct error **err)
{
    (void)pool;
    (void)disk;
    return rbd_remove(path, err);
}

const struct pool_ops pool_rbd_ops = {
    .kind = "rbd",
    .reads_zero = true,
    .describe = rbd_describe,
    .space = rbd_pool_space,
    .base = rbd_base,
    .create = create,
    .grow = grow,
    .remove = drop,
};
