/* Pools: where the volumes of replicas lie. Every kind does the same few things:
 *
 *   kind     base                           overlays            new base reads as zeroes
 *   state    a file in the state directory  beside it           yes
 *   dir      a file in a directory          beside it           yes
 *   libvirt  a volume of a storage pool     beside it           yes
 *   lvm      a logical volume               state directory     no
 *   block    a device that was given        state directory     no
 *   rbd      an image of Ceph               state directory     yes
 *
 * What comes in: a pool's row and a disk. What goes out: the place of an image, as it
 * stands in restore_point_disks: relative to the state directory, absolute, or
 * "rbd:POOL/IMAGE". The base of a device is a symbolic link in the state directory, so
 * that overlays name it by its relative name, and a device that comes back under
 * another name is one link to turn. Leaves, journals and change maps are always in the
 * state directory. Nothing here decides which VM lies where, or writes to the store. */
#ifndef VMFERRY_POOL_H
#define VMFERRY_POOL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

struct pool_ops;

struct pool {
    struct store_pool row; /* row.id 0: the state directory */
    char state_dir[PATH_MAX];
    char folder[PATH_MAX]; /* absolute, where its files lie; "" when it has none of its own */
    const struct pool_ops *ops;
    bool lost; /* see pool_open_lost() */
};

/* One disk's base, to be named, made or removed. */
struct pool_disk {
    const char *vm_uuid;
    int key;
    uint64_t capacity;  /* bytes */
    const char *format; /* raw, qcow2 */
};

/* Bytes. */
struct pool_space {
    uint64_t total;
    uint64_t free;
};

/* The VM's pool (0: the state directory), and that it is there: the directory that was
 * added and no other, libvirt's pool running, the volume group or cluster answering. */
int pool_open(struct store *store, const char *state_dir, int64_t pool_id, struct pool *pool,
              struct error **err);
/* One that is lost for good: nothing of it is looked at. For what is elsewhere. */
int pool_open_lost(struct store *store, const char *state_dir, int64_t pool_id, struct pool *pool,
                   struct error **err);
/* It is such a one, and a base, or an overlay, was in it. */
bool pool_has_lost(const struct pool *pool, bool base);
int pool_open_row(const struct store_pool *row, const char *state_dir, struct pool *pool,
                  struct error **err);

/* Fill row->location and row->options of a pool that is to be added, from what the
 * operator said; it is checked, and what marks it is written. */
struct pool_wishes {
    const char *location; /* a directory, libvirt's pool, a volume group, rbd POOL[/NAMESPACE] */
    const char *uri;      /* libvirt: NULL: qemu:///system */
    const char *config;   /* rbd: ceph.conf; NULL: Ceph's own */
    const char *user;     /* rbd: client name without "client."; NULL: admin */
    const char *const *devices; /* block */
    size_t device_count;
    const char *const *forced; /* block: those of them whose data may be overwritten */
    size_t forced_count;
};
int pool_describe(struct store_pool *row, const struct pool_wishes *wishes, struct error **err);

/* An error when a device is in both pools of devices. */
int pool_share_device(const struct store_pool *a, const struct store_pool *b, struct error **err);

/* "pool 'fast' (/srv/fast)", "the state directory (/var/lib/vmferry)". */
#define POOL_TITLE (STORE_NAME + STORE_PATH + 32)
const char *pool_title(const struct pool *pool, char title[POOL_TITLE]);

/* Of the file system that holds `folder`. */
int folder_space(const char *folder, struct pool_space *space, struct error **err);
/* What new bases can take. */
int pool_space(const struct pool *pool, struct pool_space *space, struct error **err);
/* Overlays, too, lie in the pool. */
bool pool_keeps_overlays(const struct pool *pool);
/* A new base reads as zeroes, because we made it so. */
bool pool_reads_zero(const struct pool *pool);
/* Bases of devices are raw. */
bool pool_takes_format(const struct pool *pool, const char *format);

/* The place of a disk's image: point `number`'s overlay, or the base when that is 0. */
int pool_image(const struct pool *pool, const struct pool_disk *disk, unsigned number,
               char image[STORE_PATH], struct error **err);

/* Choose what the base shall be made of, where that has to be written down before (a
 * device): pool->row.options is changed, for the caller to store. `device`: the
 * operator's choice, or NULL. Nothing else happens. */
int pool_reserve(struct pool *pool, const struct pool_disk *disk, const char *device,
                 struct error **err);
/* What pool_reserve() chose for `image`, a base of no point, is free again: pool->row.options is
 * changed. What is on a device stays there, and may be overwritten. */
int pool_release(struct pool *pool, const char *image, struct error **err);
/* Make the base; it must not exist. `image` is what pool_image() said. */
int pool_create_base(const struct pool *pool, const struct pool_disk *disk, const char *image,
                     struct error **err);
/* At least `capacity` bytes; it never becomes smaller. Nobody has it open. */
int pool_grow_base(const struct pool *pool, const struct pool_disk *disk, const char *image,
                   struct error **err);
/* One that is not there is no error. A device stays as it is, for the same disk. */
int pool_remove_base(const struct pool *pool, const struct pool_disk *disk, const char *image,
                     struct error **err);
/* An overlay was made or removed: whoever lists the pool's volumes may want to know. */
void pool_changed(const struct pool *pool);
/* The base's link leads to its device, whatever name that has today. */
int pool_settle(const struct pool *pool, const char *image, struct error **err);

#endif
