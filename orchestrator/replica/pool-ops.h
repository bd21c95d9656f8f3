/* What a kind of pool can do; for pool.c and the kinds' own files. A NULL is "nothing
 * to do". `image` is a place as it is stored, `path` the same as it is opened:
 * absolute, or rbd:… */
#ifndef VMFERRY_POOL_OPS_H
#define VMFERRY_POOL_OPS_H

#include "replica/pool.h"

struct json_object;

struct pool_ops {
    const char *kind;
    bool files;      /* bases and overlays are files in pool->folder */
    bool reads_zero; /* a new base does */
    int (*describe)(struct store_pool *row, const struct pool_wishes *wishes, struct error **err);
    int (*open)(struct pool *pool, struct error **err);
    int (*space)(const struct pool *pool, struct pool_space *space, struct error **err);
    int (*base)(const struct pool *pool, const struct pool_disk *disk, char image[STORE_PATH],
                struct error **err);
    int (*reserve)(struct pool *pool, const struct pool_disk *disk, const char *device,
                   struct error **err);
    int (*release)(struct pool *pool, const char *image, const char *path, struct error **err);
    int (*create)(const struct pool *pool, const struct pool_disk *disk, const char *path,
                  struct error **err);
    int (*grow)(const struct pool *pool, const struct pool_disk *disk, const char *path,
                struct error **err);
    int (*remove)(const struct pool *pool, const struct pool_disk *disk, const char *path,
                  struct error **err);
    void (*changed)(const struct pool *pool);
    int (*settle)(const struct pool *pool, const char *image, const char *path, struct error **err);
};

extern const struct pool_ops pool_state_ops, pool_dir_ops, pool_libvirt_ops, pool_block_ops,
    pool_lvm_ops, pool_rbd_ops;

/* A text of the row's options, or "". The caller frees `json` by json_object_put(). */
struct json_object *pool_options(const struct store_pool *row, struct error **err);
const char *pool_option(struct json_object *json, const char *name);
int pool_set_options(struct store_pool *row, struct json_object *json, struct error **err);

#endif
