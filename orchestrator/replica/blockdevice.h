/* The block devices of this machine, and which of them is one that was mapped before.
 * What comes in: the identity that was written down (common/exportmap-identity.h), with
 * a record of our own:
 *
 *   { "by_id": [ "wwn-0x5000…", … ], "table": "gpt:GUID", "partition": "gpt:GUID" }
 *
 * the names of udev that come from the hardware, the partition table that is on the
 * device, and the name of the partition that it is. What goes out: how sure it is that
 * a device is that one. Opens devices only for reading. */
#ifndef VMFERRY_BLOCKDEVICE_H
#define VMFERRY_BLOCKDEVICE_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "exportmap-identity.h"

struct json_object;

struct blockdevice {
    char path[PATH_MAX]; /* /dev/NAME */
    dev_t number;
    struct exportmap_disk disk;
    struct json_object *record; /* owned */
};

struct blockdevices {
    struct blockdevice *list;
    size_t count;
};

/* All that can be opened and are not empty. */
int blockdevices_scan(struct blockdevices *devices, struct error **err);
void blockdevices_free(struct blockdevices *devices);
#define CLEANUP_BLOCKDEVICES CLEANUP(blockdevices_free)

/* The record of an open device. The caller puts it; NULL: no memory. */
struct json_object *blockdevice_record(int fd, const struct exportmap_disk *disk);

/* Its best name below /dev/disk/by-id; `path` where it has none. */
void blockdevice_stable_name(const struct blockdevice *device, char name[PATH_MAX]);

/* What was written down. */
struct blockdevice_wanted {
    const struct exportmap_identity *identity;
    struct json_object *record; /* or NULL */
    uint64_t size;
};

enum blockdevice_match {
    BLOCKDEVICE_OTHER,   /* its size, or a serial number or wwid, says that it is another one */
    BLOCKDEVICE_UNKNOWN, /* nothing speaks for it or against it but its size */
    BLOCKDEVICE_LIKELY,  /* a name from udev, the partition's name, or a loop device's file */
    BLOCKDEVICE_SURE,    /* serial number, wwid or backing file, all that was written down */
};
enum blockdevice_match blockdevice_match(const struct blockdevice_wanted *wanted,
                                         const struct blockdevice *device);

/* Compare with the leaves (copy/digest.h) of the disk's `capacity` bytes: 256 blocks that
 * hold data, spread evenly, or all blocks. 1: the same, 0: it differs, or there is no data
 * to tell it by; -1: error. */
int blockdevice_holds(const char *path, const char *leaves, uint64_t capacity, bool all,
                      struct error **err);

#endif
