/* A raw disk: a file or block device, by way of the page cache.
 *
 * The page cache is one for all descriptors of an inode in all processes, so
 * connections see each other's writes at once, and fdatasync on any of them makes
 * all of them durable. */
#include "disk.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#define SMALL_ZERO  ((uint32_t)64 << 10) /* writing so few zeroes is fast anyway */
#define EXTENTS_MAX 16384                /* a reply; the client asks on from there */

struct raw {
    struct disk disk;
    int fd;
    int lock_fd; /* see disk_lock(); -1: reading only */
    bool block;
    uint32_t sector;        /* of a block device; 1 for a file: what fallocate must be aligned to */
    bool zero_offload;      /* fast ZERO_RANGE; always for files */
    atomic_bool no_punch;   /* it said that it can't */
    atomic_bool no_range;   /* FALLOC_FL_ZERO_RANGE, likewise */
    atomic_bool no_discard; /* likewise */
    atomic_bool no_dsync;   /* RWF_DSYNC, likewise */
};

static const char zeroes[256 << 10];

static struct raw *as_raw(struct disk *disk)
{
    return (struct raw *)disk;
}

static int raw_pread(struct disk *disk, void *buf, uint32_t count, uint64_t offset)
{
    char *p = buf;

    while (count > 0) {
        ssize_t n = pread(as_raw(disk)->fd, p, count, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return EIO; /* the file was cut short behind our back */
        p += n;
        offset += (uint64_t)n;
        count -= (uint32_t)n;
    }
    return 0;
}

/* RWF_DSYNC makes these bytes durable without waiting for other dirty ones. */
static ssize_t write_some(struct raw *raw, const char *p, uint32_t count, uint64_t offset, bool fua)
{
    const struct iovec iov = { .iov_base = (void *)p, .iov_len = count };
    ssize_t n;

    if (fua && !atomic_load(&raw->no_dsync)) {
        n = pwritev2(raw->fd, &iov, 1, (off_t)offset, RWF_DSYNC);
        if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
            return n;
        atomic_store(&raw->no_dsync, true);
    }
    n = pwrite(raw->fd, p, count, (off_t)offset);
    if (n >= 0 && fua && fdatasync(raw->fd) < 0)
        return -1;
    return n;
}

static int raw_pwrite(struct disk *disk, const void *buf, uint32_t count, uint64_t offset, bool fua)
{
    const char *p = buf;

    while (count > 0) {
        ssize_t n = write_some(as_raw(disk), p, count, offset, fua);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        p += n;
        offset += (uint64_t)n;
        count -= (uint32_t)n;
    }
    return 0;
}

static int write_zeroes(struct raw *raw, uint32_t count, uint64_t offset)
{
    while (count > 0) {
        uint32_t n = count < sizeof zeroes ? count : (uint32_t)sizeof zeroes;
        int errnum = raw_pwrite(&raw->disk, zeroes, n, offset, false);

        if (errnum != 0)
            return errnum;
        offset += n;
        count -= n;
    }
    return 0;
}

/* 0, an errno, or EOPNOTSUPP for now and ever, which is remembered. */
static int try_fallocate(struct raw *raw, int mode, atomic_bool *unsupported, uint32_t count,
                         uint64_t offset)
{
    if (atomic_load(unsupported))
        return EOPNOTSUPP;
    while (fallocate(raw->fd, mode, (off_t)offset, count) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EOPNOTSUPP && errno != ENOSYS)
            return errno;
        atomic_store(unsupported, true);
        return EOPNOTSUPP;
    }
    return 0;
}

static int punch(struct raw *raw, uint32_t count, uint64_t offset)
{
    return try_fallocate(raw, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, &raw->no_punch, count,
                         offset);
}

static int zero_range(struct raw *raw, uint32_t count, uint64_t offset)
{
    return try_fallocate(raw, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, &raw->no_range, count,
                         offset);
}

/* Zeroes that stay allocated, where ZERO_RANGE is missing (tmpfs). */
static int punch_and_allocate(struct raw *raw, uint32_t count, uint64_t offset)
{
    int errnum = raw->block ? EOPNOTSUPP : punch(raw, count, offset);

    if (errnum == 0 && fallocate(raw->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, count) < 0)
        errnum = errno;
    return errnum;
}

/* count and offset are multiples of the sector. EOPNOTSUPP: only writing helps. */
static int zero_aligned(struct raw *raw, uint32_t count, uint64_t offset, uint32_t flags)
{
    int errnum = EOPNOTSUPP;

    if (flags & NBDKIT_FLAG_MAY_TRIM)
        errnum = punch(raw, count, offset);
    if (errnum == EOPNOTSUPP && (raw->zero_offload || !(flags & NBDKIT_FLAG_FAST_ZERO)))
        errnum = zero_range(raw, count, offset);
    if (errnum == EOPNOTSUPP)
        errnum = punch_and_allocate(raw, count, offset);
    return errnum;
}

static int raw_zero(struct disk *disk, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct raw *raw = as_raw(disk);
    uint32_t head = (uint32_t)((raw->sector - offset % raw->sector) % raw->sector);
    uint32_t middle;
    int errnum = 0;

    if (head > count)
        head = count;
    middle = (count - head) / raw->sector * raw->sector;
    if (middle > 0)
        errnum = zero_aligned(raw, middle, offset + head, flags);
    if (errnum == EOPNOTSUPP) {
        if ((flags & NBDKIT_FLAG_FAST_ZERO) && count > SMALL_ZERO)
            return EOPNOTSUPP;
        return write_zeroes(raw, count, offset);
    }
    if (errnum == 0)
        errnum = write_zeroes(raw, head, offset);
    if (errnum == 0)
        errnum = write_zeroes(raw, count - head - middle, offset + head + middle);
    return errnum;
}

/* Advice: what can't be trimmed stays. */
static int raw_trim(struct disk *disk, uint32_t count, uint64_t offset)
{
    struct raw *raw = as_raw(disk);
    uint64_t start = (offset + raw->sector - 1) / raw->sector * raw->sector;
    uint64_t end = (offset + count) / raw->sector * raw->sector;
    uint64_t range[2] = { start, end - start };
    int errnum;

    if (start >= end)
        return 0;
    errnum = punch(raw, (uint32_t)(end - start), start);
    if (errnum != EOPNOTSUPP || !raw->block || atomic_load(&raw->no_discard))
        return errnum == EOPNOTSUPP ? 0 : errnum;
    if (ioctl(raw->fd, BLKDISCARD, range) < 0) {
        if (errno != EOPNOTSUPP && errno != ENOTTY)
            return errno;
        atomic_store(&raw->no_discard, true);
    }
    return 0;
}

static int raw_sync_fd(struct disk *disk)
{
    return fcntl(as_raw(disk)->fd, F_DUPFD_CLOEXEC, 3);
}

static int raw_extents(struct disk *disk, uint32_t count, uint64_t offset, bool only_first,
                       struct nbdkit_extents *extents)
{
    uint64_t end = offset + count;
    bool data = false; /* what is at offset, alternating */

    for (int n = 0; offset < end && n < EXTENTS_MAX; data = !data) {
        off_t next = lseek(as_raw(disk)->fd, (off_t)offset, data ? SEEK_HOLE : SEEK_DATA);
        uint64_t stop;

        if (next < 0 && errno != ENXIO)
            return errno;
        stop = next < 0 || (uint64_t)next > end ? end : (uint64_t)next;
        if (stop == offset)
            continue;
        if (nbdkit_add_extent(extents, offset, stop - offset,
                              data ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) < 0)
            return errno;
        if (only_first)
            break;
        offset = stop;
        n++;
    }
    return 0;
}

static int raw_cache(struct disk *disk, uint32_t count, uint64_t offset)
{
    return posix_fadvise(as_raw(disk)->fd, (off_t)offset, count, POSIX_FADV_WILLNEED);
}

static void raw_close(struct disk *disk)
{
    if (as_raw(disk)->lock_fd >= 0)
        close(as_raw(disk)->lock_fd);
    close(as_raw(disk)->fd);
    free(disk);
}

static const struct disk_ops raw_ops = {
    .pread = raw_pread,
    .pwrite = raw_pwrite,
    .zero = raw_zero,
    .trim = raw_trim,
    .sync_fd = raw_sync_fd,
    .extents = raw_extents,
    .cache = raw_cache,
    .close = raw_close,
};

/* Whether the device zeroes by itself; else the kernel would write zeroes. */
static bool has_zero_offload(int fd)
{
    static const char *const attributes[] = { "queue/write_zeroes_max_bytes",
                                              "../queue/write_zeroes_max_bytes" };
    struct stat st;

    if (fstat(fd, &st) < 0)
        return false;
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        unsigned long long bytes = 0;
        CLEANUP_FCLOSE FILE *f = NULL;

        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s", major(st.st_rdev), minor(st.st_rdev),
                 attributes[i]);
        f = fopen(path, "re");
        if (f && fscanf(f, "%llu", &bytes) == 1)
            return bytes > 0;
    }
    return false;
}

static int set_up_block(struct raw *raw, struct error **err)
{
    int sector;

    if (ioctl(raw->fd, BLKSSZGET, &sector) < 0 || sector <= 0)
        return error_set_errno(err, errno, "reading the block device's sector size");
    raw->sector = (uint32_t)sector;
    raw->zero_offload = has_zero_offload(raw->fd);
    return 0;
}

struct disk *raw_open(const struct exportmap_file *map, const struct mapdir *dir, const char *name,
                      int lease_fd, struct error **err)
{
    bool writable = lease_fd >= 0;
    struct raw *raw = calloc(1, sizeof *raw);
    off_t last;

    if (!raw) {
        error_set_errno(err, ENOMEM, "%s", map->path);
        return NULL;
    }
    *raw = (struct raw){ .disk = { .ops = &raw_ops, .fast_zero = true },
                         .lock_fd = -1,
                         .sector = 1,
                         .zero_offload = true };
    raw->fd = open(map->path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (raw->fd < 0) {
        error_set_errno(err, errno, "%s", map->path);
        free(raw);
        return NULL;
    }
    if (disk_check_identity(raw->fd, map, writable, &raw->block, err) < 0 ||
        (raw->block && set_up_block(raw, err) < 0) ||
        (writable && (raw->lock_fd = disk_lock(raw->fd, map, dir, name, err)) < 0)) {
        error_prefix(err, "%s", map->path);
        raw_close(&raw->disk);
        return NULL;
    }
    /* Asked at the last byte: from the start, tmpfs would look at every page. */
    last = map->size ? (off_t)map->size - 1 : 0;
    raw->disk.extents = !raw->block && (lseek(raw->fd, last, SEEK_HOLE) >= 0 || errno == ENXIO);
    return &raw->disk;
}
