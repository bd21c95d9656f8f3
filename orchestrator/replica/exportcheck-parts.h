/* What the parts of a check share; see exportcheck.h. The order is
 *
 *     exportcheck.c   rows, files and disks; what differs
 *     exportmend.c    repairs of one difference each
 *     exportfind.c    where a disk is that is not at its path                          */
#ifndef VMFERRY_EXPORTCHECK_PARTS_H
#define VMFERRY_EXPORTCHECK_PARTS_H

#include <limits.h>

#include "exportmap-file.h"
#include "replica/blockdevice.h"
#include "replica/exportcheck.h"

enum disk_state {
    DISK_SAME,
    DISK_RENUMBERED, /* the file; its file system has another device number since a restart */
    DISK_GONE,
    DISK_OTHER,
};

struct mapping {
    struct store_export row;
    struct exportmap_file wanted; /* what the row asks for; path NULL: the row is no use */
    struct json_object *record;   /* our own, of a block device; or NULL */
    enum disk_state state;
    bool looked;       /* state and problem are known */
    bool far;          /* an image in a cluster is looked at only when there is time */
    char problem[512]; /* with the disk, unless it is the same */
};

struct mappings {
    struct store *store;
    const char *state_dir;
    const struct export_check *check;
    struct export_report *report;
    struct mapping *list;
    size_t count;
    struct store_vm *vms;
    size_t vm_count;
    char folder[PATH_MAX]; /* of the map files */
    int folder_fd;
    bool scanned;
    struct blockdevices devices;
};

/* Set state and problem, once. */
void mapping_look(struct mapping *mapping);
/* After its row was changed: row, wanted and state as they are now. */
int mapping_refresh(struct mappings *all, struct mapping *mapping, struct error **err);
static inline bool mapping_is_block(const struct mapping *mapping)
{
    return mapping->wanted.path && mapping->wanted.path[0] == '/' &&
           mapping->wanted.identity.value[EXPORTMAP_SIZE];
}

/* The one device that is this lost mapping's. NULL: *err says why there is none that is safe to
 * take. *how: what it was known by. */
const struct blockdevice *mapping_find_device(struct mappings *all, struct mapping *lost,
                                              const char **how, struct error **err);

#endif
