/* What the kernel says about the file or block device behind a descriptor, so
 * that a disk can be told from another one that took its path.
 *
 * Every key is text: numbers in decimal, device numbers as "MAJOR:MINOR". The
 * facts come from fstat, statx, LOOP_GET_STATUS64 and /sys/dev/block, never from
 * a path lookup: an open descriptor pins its inode or device, so what is checked
 * is what is later written. No udev is needed. Thread-safe. */
#ifndef VMFERRY_EXPORTMAP_IDENTITY_H
#define VMFERRY_EXPORTMAP_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

enum exportmap_key {
    EXPORTMAP_DEV,            /* file: the filesystem's device; block device: its own */
    EXPORTMAP_INODE,          /* file */
    EXPORTMAP_BIRTH,          /* file: creation time, "SECONDS.NANOSECONDS" since 1970 */
    EXPORTMAP_SIZE,           /* block device: bytes */
    EXPORTMAP_SERIAL,         /* block device */
    EXPORTMAP_WWID,           /* block device; the UUID of a device-mapper or md device */
    EXPORTMAP_PARTITION,      /* block device: number of the partition on its disk */
    EXPORTMAP_BACKING_FILE,   /* loop device: path */
    EXPORTMAP_BACKING_DEV,    /* loop device: filesystem of the backing file */
    EXPORTMAP_BACKING_INODE,  /* loop device */
    EXPORTMAP_BACKING_OFFSET, /* loop device: bytes; not given means 0 */
    EXPORTMAP_KEYS
};

struct exportmap_identity {
    char *value[EXPORTMAP_KEYS]; /* owned; NULL: not given, or not to be had */
};

/* A disk as found behind a descriptor. */
struct exportmap_disk {
    struct exportmap_identity identity;
    uint64_t size; /* bytes of the file or device (of a qcow2 file: not of its disk) */
    bool block;
};

/* The JSON name of a key; and whether its value is a JSON number. */
const char *exportmap_key_name(enum exportmap_key key);
bool exportmap_key_is_number(enum exportmap_key key);
/* Returns EXPORTMAP_KEYS when there is no such key. */
enum exportmap_key exportmap_key_find(const char *name);

/* An image of Ceph RBD ("rbd:POOL/IMAGE"): its wwid is the image's id. */
int exportmap_rbd_probe(const char *path, struct exportmap_disk *disk, struct error **err);
/* Neither a regular file nor a block device: error. The caller frees *disk. */
int exportmap_disk_probe(int fd, struct exportmap_disk *disk, struct error **err);
void exportmap_disk_free(struct exportmap_disk *disk);
void exportmap_identity_free(struct exportmap_identity *identity);

/* All keys that `wanted` gives must be what was found. With `for_writing` the
 * given keys must also be enough to tell this disk from any other: a file's
 * inode with its dev or birth; a block device's serial, wwid or backing_file, and
 * its partition. */
int exportmap_identity_check(const struct exportmap_identity *wanted,
                             const struct exportmap_disk *found, bool for_writing,
                             struct error **err);

#endif
