/* What every disk is asked before it is opened; see disk.h. */
#include "disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "lease.h"

#define CLAIM_ATTEMPTS 100
#define CLAIM_RETRY_NS 2000000L
#define LOCK_WAIT_MS   2000 /* for a writer that is being fenced off */

/* The kernel gives a block device exclusively only when nobody has mounted it or
 * built something on it. Other connections ask the same for a moment. */
static int check_unused(int fd, struct error **err)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    for (int i = 0; i < CLAIM_ATTEMPTS; i++) {
        CLEANUP_CLOSE int claim = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);

        if (claim >= 0)
            return 0;
        if (errno != EBUSY)
            return error_set_errno(err, errno, "claiming it");
        nanosleep(&(struct timespec){ .tv_nsec = CLAIM_RETRY_NS }, NULL);
    }
    return error_set(err, "is mounted or otherwise in use, and is not opened for writing");
}

int disk_check_size(uint64_t found, const struct exportmap_file *map, struct error **err)
{
    if (found != map->size)
        return error_set(err, "its size is %llu bytes, the map says %llu",
                         (unsigned long long)found, (unsigned long long)map->size);
    return 0;
}

int disk_check_identity(int fd, const struct exportmap_file *map, bool writable, bool *block,
                        struct error **err)
{
    CLEANUP(exportmap_disk_free) struct exportmap_disk found = { 0 };

    if (exportmap_disk_probe(fd, &found, err) < 0)
        return -1;
    if (exportmap_identity_check(&map->identity, &found, writable, err) < 0)
        return -1;
    if (map->format == EXPORTMAP_RAW && disk_check_size(found.size, map, err) < 0)
        return -1;
    *block = found.block;
    return found.block && writable ? check_unused(fd, err) : 0;
}

/* A lock like an export's, but named after the disk itself. No export's name has an '@'. */
int disk_lock(int fd, const struct exportmap_file *map, const struct mapdir *dir, const char *name,
              struct error **err)
{
    char lock[64], terms[EXPORTMAP_NAME_MAX + 32];
    struct stat st;
    int lock_fd;

    if (fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "looking at it");
    if (S_ISBLK(st.st_mode))
        snprintf(lock, sizeof lock, "@block-%ju", (uintmax_t)st.st_rdev);
    else
        snprintf(lock, sizeof lock, "@file-%ju-%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    snprintf(terms, sizeof terms, "%s %s%s", map->lease ? "lease" : "export",
             map->lease ? map->lease : name, map->format == EXPORTMAP_QCOW2 ? " qcow2" : "");
    lock_fd = lease_acquire(dir->state_fd, lock, terms, LOCK_WAIT_MS, err);
    if (lock_fd >= 0 || (*err)->errnum != EBUSY)
        return lock_fd;
    error_clear(err);
    return error_set(err, "it is being written as another export");
}
