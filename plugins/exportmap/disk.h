/* An open disk: raw (raw.c) or qcow2 (qcow2.c).
 *
 * Functions return 0 or an errno, and may be called by several threads at once,
 * except close. Offsets and counts are bytes inside the disk; the caller splits
 * requests to DISK_REQUEST_MAX, and zeroes to DISK_ZERO_MAX. */
#ifndef EXPORTMAP_DISK_H
#define EXPORTMAP_DISK_H

#include <stdbool.h>
#include <stdint.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "error.h"
#include "exportmap-file.h"
#include "mapdir.h"

#define DISK_REQUEST_MAX ((uint32_t)8 << 20)
#define DISK_ZERO_MAX    ((uint32_t)32 << 20) /* where it has to be written, well under a second */

struct disk {
    const struct disk_ops *ops;
    bool fast_zero;
    bool extents;
};

struct disk_ops {
    int (*pread)(struct disk *disk, void *buf, uint32_t count, uint64_t offset);
    int (*pwrite)(struct disk *disk, const void *buf, uint32_t count, uint64_t offset, bool fua);
    /* flags: NBDKIT_FLAG_MAY_TRIM, NBDKIT_FLAG_FAST_ZERO */
    int (*zero)(struct disk *disk, uint32_t count, uint64_t offset, uint32_t flags);
    int (*trim)(struct disk *disk, uint32_t count, uint64_t offset);
    /* Makes durable what any connection to the disk was told is written. */
    int (*flush)(struct disk *disk);
    /* Instead of flush, where it may take long: a descriptor to call fdatasync on,
     * the caller's to close; -1 and errno. NULL: use flush. */
    int (*sync_fd)(struct disk *disk);
    int (*extents)(struct disk *disk, uint32_t count, uint64_t offset, bool only_first,
                   struct nbdkit_extents *extents);
    int (*cache)(struct disk *disk, uint32_t count, uint64_t offset);
    /* Make requests that are under way fail soon; may be NULL. */
    void (*cut)(struct disk *disk);
    void (*close)(struct disk *disk);
};

/* Whether the opened file or device is the one that was mapped, and for writing
 * whether nobody else uses it. *block: it is a block device. */
int disk_check_identity(int fd, const struct exportmap_file *map, bool writable, bool *block,
                        struct error **err);
int disk_check_size(uint64_t found, const struct exportmap_file *map, struct error **err);

/* One writer job a disk, whatever names the map has for it, and one format. Returns the lock's
 * descriptor, to be kept for as long as it is written; -1: somebody else writes to it. */
int disk_lock(int fd, const struct exportmap_file *map, const struct mapdir *dir, const char *name,
              struct error **err);

/* Open the disk of the map and make sure that it is the one that was mapped. NULL: *err
 * says why not. lease_fd is the writers' lock, or -1 to read; it stays the caller's. */
struct disk *raw_open(const struct exportmap_file *map, const struct mapdir *dir, const char *name,
                      int lease_fd, struct error **err);
struct disk *qcow2_open(const struct exportmap_file *map, const struct mapdir *dir,
                        const char *name, int lease_fd, struct error **err);

/* When the plugin is unloaded: wait for the threads that qcow2_open left. */
void qcow2_unload(void);

#endif
