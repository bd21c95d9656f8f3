/* What every disk is asked before it is opened; see disk.h. */
#include "disk.h"

#include <fcntl.h>
#include <time.h>

#define CLAIM_ATTEMPTS 100
#define CLAIM_RETRY_NS 2000000L

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
