/* Block devices that an operator gives for replicas: which one it is, whether it holds
 * somebody's data, and where it is today. What comes in: a path, or the record of a
 * device. What goes out: the record, as JSON:
 *
 *   { "path": "/dev/disk/by-id/…", "size": BYTES, "identity": { "serial": …, … } }
 *
 * with the keys of common/exportmap-identity.h. Never writes to a device. */
#ifndef VMFERRY_DEVICE_H
#define VMFERRY_DEVICE_H

#include <limits.h>
#include <stdint.h>

#include "error.h"

struct json_object;

/* The record; its path is the stable name below /dev/disk/by-id where there is one. A
 * device that can't be told from others (no serial, wwid, or backing file) is refused. NULL:
 * *err says why. The caller puts it. */
struct json_object *device_describe(const char *path, struct error **err);

/* Nobody uses it: not mounted, no swap, no part of LVM or RAID. */
int device_check_unused(const char *path, struct error **err);
/* And it holds no data: no file system, partition table, member of LVM or RAID, and
 * nothing but zeroes at both ends. */
int device_check_blank(const char *path, struct error **err);

/* The path of the recorded device now: its name, or whatever other name the device with
 * that identity has. Refused when there is none, or more than one. */
int device_find(struct json_object *record, char path[PATH_MAX], struct error **err);

#endif
