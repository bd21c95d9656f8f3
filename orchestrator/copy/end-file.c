/* A local regular file or block device as an end. Requests are done at once with
 * pread and pwrite, straight from and into the engine's buffers, which saves the
 * hop over a server. It never truncates and never makes an existing file's
 * content go away by itself; it creates or lengthens a file only when asked. */
#include "end.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define DIRECT_ALIGN    UINT64_C(4096)
#define STATUS_PAIRS    1024
#define HOLE_FLAGS      3 /* base:allocation: hole, reads as zero */
#define WRITE_ZERO_STEP ((size_t)65536)
#define COPY_STEP       65536
#define EXTENT_MAX      (UINT64_C(2) << 30)

struct end_file {
    struct end end;
    int fd;
    bool is_block;
    bool direct;
    bool created;
    bool lengthened;
    off_t former_size; /* before that */
    bool no_punch;     /* fallocate cannot; found out by the first try */
};

static struct end_file *file_of(struct conn *conn)
{
    return (struct end_file *)conn->end;
}

static int file_connect(struct conn *conn, struct error **err)
{
    (void)err;
    conn->handle = conn->end;
    return 0;
}

static void file_disconnect(struct conn *conn, bool drained)
{
    (void)conn;
    (void)drained;
}

/* Returns 0 or an errno. */
static int read_all(struct end_file *file, char *buf, uint64_t length, uint64_t offset)
{
    uint64_t done = 0;
    /* With O_DIRECT only the disk's last block can be odd; its buffer has room. */
    uint64_t count = file->direct ? (length + DIRECT_ALIGN - 1) & ~(DIRECT_ALIGN - 1) : length;

    while (done < length) {
        ssize_t n = pread(file->fd, buf + done, count - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return ENODATA; /* the file became shorter */
        done += (uint64_t)n;
    }
    return 0;
}

static int write_all(struct end_file *file, const char *buf, uint64_t length, uint64_t offset)
{
    uint64_t done = 0;

    while (done < length) {
        ssize_t n = pwrite(file->fd, buf + done, length - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        done += (uint64_t)n;
    }
    return 0;
}

static bool is_unsupported(int errnum)
{
    return errnum == EOPNOTSUPP || errnum == ENOSYS || errnum == EINVAL || errnum == ENODEV;
}

static int zero(struct end_file *file, uint64_t length, uint64_t offset)
{
    static const char zeroes[WRITE_ZERO_STEP];
    uint64_t range[2] = { offset, length };
    uint64_t done = 0;

    if (!file->no_punch) {
        if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                      (off_t)length) == 0)
            return 0;
        if (!is_unsupported(errno))
            return errno;
        file->no_punch = true;
    }
    if (file->is_block && ioctl(file->fd, BLKZEROOUT, range) == 0)
        return 0;
    while (done < length) {
        uint64_t step = length - done < WRITE_ZERO_STEP ? length - done : WRITE_ZERO_STEP;
        int errnum = write_all(file, zeroes, step, offset + done);

        if (errnum)
            return errnum;
        done += step;
    }
    return 0;
}

/* What the kernel will not do between these two files after all. */
static int copy_by_hand(struct end_file *file, struct end_file *from, uint64_t length,
                        uint64_t offset)
{
    char buf[COPY_STEP];

    while (length > 0) {
        uint64_t step = length < sizeof buf ? length : sizeof buf;
        int errnum = read_all(from, buf, step, offset);

        if (!errnum)
            errnum = write_all(file, buf, step, offset);
        if (errnum)
            return errnum;
        offset += step;
        length -= step;
    }
    return 0;
}

static int copy_from(struct end_file *file, struct end_file *from, uint64_t length, uint64_t offset)
{
    off_t in = (off_t)offset, out = (off_t)offset;

    while (length > 0) {
        ssize_t n = copy_file_range(from->fd, &in, file->fd, &out, length, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (is_unsupported(errno) || errno == EXDEV))
            return copy_by_hand(file, from, length, (uint64_t)out);
        if (n < 0)
            return errno;
        if (n == 0)
            return ENODATA; /* the file became shorter */
        length -= (uint64_t)n;
    }
    return 0;
}

/* The extents from `offset` on, as far as the array reaches. The last one may go
 * beyond the question: to ask again from there would make the file system, tmpfs
 * above all, look at the same pages once more. */
static int status(struct end_file *file, struct request *req)
{
    uint32_t entries[2 * STATUS_PAIRS];
    size_t pairs = 0;
    uint64_t pos = req->offset;
    uint64_t end = req->offset + req->length;

    while (pos < end && pairs < STATUS_PAIRS) {
        off_t data = lseek(file->fd, (off_t)pos, SEEK_DATA);
        uint64_t until = file->end.size;
        uint32_t flags = 0;

        if (data < 0 && errno != ENXIO)
            return errno;
        if (data < 0 || (uint64_t)data > pos) { /* ENXIO: no data up to the end */
            flags = HOLE_FLAGS;
            if (data >= 0 && (uint64_t)data < until)
                until = (uint64_t)data;
        } else {
            off_t hole = lseek(file->fd, (off_t)pos, SEEK_HOLE);

            if (hole < 0)
                return errno;
            if ((uint64_t)hole <= pos)
                return EIO; /* somebody truncates or writes the file meanwhile */
            if ((uint64_t)hole < until)
                until = (uint64_t)hole;
        }
        if (until - pos > EXTENT_MAX)
            until = pos + EXTENT_MAX;
        entries[2 * pairs] = (uint32_t)(until - pos);
        entries[2 * pairs + 1] = flags;
        pairs++;
        pos = until;
    }
    req->extents(req, EXTENTS_ALLOCATION, req->offset, entries, pairs);
    return 0;
}

static void file_start(struct conn *conn, struct request *req)
{
    struct end_file *file = file_of(conn);

    switch (req->op) {
    case OP_READ:
        req->errnum = read_all(file, req->buf, req->length, req->offset);
        break;
    case OP_WRITE:
        req->errnum = write_all(file, req->buf, req->length, req->offset);
        break;
    case OP_ZERO:
        req->errnum = zero(file, req->length, req->offset);
        break;
    case OP_FLUSH:
        req->errnum = fdatasync(file->fd) < 0 ? errno : 0;
        break;
    case OP_STATUS:
        req->errnum = status(file, req);
        break;
    case OP_COPY:
        req->errnum = copy_from(file, (struct end_file *)req->from, req->length, req->offset);
        break;
    }
    request_list_add(conn->completed, req);
}

static void file_discard(struct end *end)
{
    struct end_file *file = (struct end_file *)end;

    if (file->created)
        unlink(end->name);
    else if (file->lengthened && ftruncate(file->fd, file->former_size) < 0)
        return; /* it reads as zeroes beyond */
}

static void file_close(struct end *end)
{
    struct end_file *file = (struct end_file *)end;

    close(file->fd);
    free(file);
}

static const struct end_ops file_ops = {
    .connect = file_connect,
    .start = file_start,
    .disconnect = file_disconnect,
    .discard = file_discard,
    .close = file_close,
};

/* A new file's name has to survive a crash as its content does. */
static int sync_directory(const char *path)
{
    char directory[PATH_MAX];
    CLEANUP_CLOSE int fd = -1;
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) : 0;

    if (!slash)
        strcpy(directory, ".");
    else if (snprintf(directory, sizeof directory, "%.*s", length ? length : 1, path) >=
             (int)sizeof directory)
        return -1;
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -1 : fsync(fd);
}

/* Making the file would follow no link, and to write to who knows where is not asked for. */
static int refuse_dangling(const char *path, struct error **err)
{
    char to[PATH_MAX];
    ssize_t length = readlink(path, to, sizeof to - 1);

    if (length < 0)
        return 0;
    return error_set(err,
                     "%s is a symbolic link to %.*s, which is not there: make that file first "
                     "(truncate -s 0), or remove the link",
                     path, (int)length, to);
}

static int open_path(struct end_file *file, const char *path, const struct end_wants *wants,
                     struct error **err)
{
    int flags = O_CLOEXEC | O_NOCTTY | (wants->role == END_SOURCE ? O_RDONLY : O_RDWR);
    bool exists;
    struct stat st;

    exists = stat(path, &st) == 0;
    /* Not even opened: a FIFO waits for somebody at its other end. */
    if (exists && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set_kind(err, ERROR_USAGE, "%s is not a regular file or block device", path);
    if (wants->role == END_DESTINATION && exists && S_ISBLK(st.st_mode))
        flags |= O_EXCL; /* refused when it is mounted or otherwise in use */
    file->direct = wants->direct;
    file->fd = open(path, flags | (file->direct ? O_DIRECT : 0));
    if (file->fd < 0 && errno == EINVAL && file->direct) {
        file->direct = false;
        file->fd = open(path, flags);
    }
    if (file->fd >= 0)
        return 0;
    if (errno != ENOENT || !wants->create)
        return error_set_errno(err, errno, "opening %s", path);

    if (refuse_dangling(path, err) < 0)
        return -1;
    file->fd = open(path, flags | O_CREAT | O_EXCL, 0666);
    if (file->fd < 0)
        return error_set_errno(err, errno, "creating %s", path);
    file->created = true;
    if (sync_directory(path) < 0)
        return error_set_errno(err, errno, "syncing the directory of %s", path);
    return 0;
}

/* A file that takes the place of another may get its inode number, not its time of birth. */
static uint64_t birth_ns(int fd)
{
    struct statx stx;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) < 0 || !(stx.stx_mask & STATX_BTIME))
        return 0;
    return (uint64_t)stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec;
}

/* The size, after making a destination file as long as it has to be. */
static int find_size(struct end_file *file, const char *path, const struct end_wants *wants,
                     struct error **err)
{
    struct end *end = &file->end;
    struct stat st;

    if (fstat(file->fd, &st) < 0)
        return error_set_errno(err, errno, "%s", path);
    end->identity[0] = S_ISBLK(st.st_mode) ? 0 : st.st_dev;
    end->identity[1] = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_ino;
    if (S_ISBLK(st.st_mode)) {
        file->is_block = true;
        if (ioctl(file->fd, BLKGETSIZE64, &end->size) < 0)
            return error_set_errno(err, errno, "%s: reading the device's size", path);
        return 0;
    }
    if (!S_ISREG(st.st_mode))
        return error_set_kind(err, ERROR_USAGE, "%s is not a regular file or block device", path);
    end->size = (uint64_t)st.st_size;
    end->must_fit = true;
    end->birth_ns = birth_ns(file->fd);
    if (wants->role == END_DESTINATION && wants->create && end->size < wants->size) {
        if (wants->size > INT64_MAX || ftruncate(file->fd, (off_t)wants->size) < 0)
            return error_set_errno(err, wants->size > INT64_MAX ? EFBIG : errno,
                                   "%s: making it %" PRIu64 " bytes long", path, wants->size);
        end->reads_zero = end->size == 0;
        end->grown = wants->size - end->size;
        file->lengthened = true;
        file->former_size = st.st_size;
        end->size = wants->size;
    }
    return 0;
}

bool end_can_copy(const struct end *from, const struct end *to)
{
    const struct end_file *in = (const struct end_file *)from;
    const struct end_file *out = (const struct end_file *)to;
    off_t zero[2] = { 0, 0 };

    /* The kernel checks the files before it finds that there is nothing to copy. */
    return from->ops == &file_ops && to->ops == &file_ops && !in->direct && !out->direct &&
           copy_file_range(in->fd, &zero[0], out->fd, &zero[1], 0, 0) == 0;
}

/* Asked at the last byte, where the answer is near: from the start, some file systems
 * look at each page. */
static bool seeks_holes(const struct end_file *file)
{
    off_t last = file->end.size ? (off_t)file->end.size - 1 : 0;

    return lseek(file->fd, last, SEEK_HOLE) >= 0 || errno == ENXIO;
}

struct end *end_file_open(const char *path, const struct end_wants *wants, struct error **err)
{
    struct end_file *file;

    if (wants->changes) {
        error_set_kind(err, ERROR_USAGE,
                       "%s is a local file: only an NBD server has the metadata context %s", path,
                       wants->changes);
        return NULL;
    }
    file = calloc(1, sizeof *file);
    if (!file) {
        error_set_errno(err, ENOMEM, "opening %s", path);
        return NULL;
    }
    file->end = (struct end){ .ops = &file_ops,
                              .block_min = 1,
                              .block_max = UINT32_MAX,
                              .can_flush = true,
                              .can_zero = true,
                              .can_multi = true,
                              .is_local = true };
    file->fd = -1;
    if (open_path(file, path, wants, err) < 0 || find_size(file, path, wants, err) < 0) {
        if (file->created)
            unlink(path);
        if (file->fd >= 0)
            close(file->fd);
        free(file);
        return NULL;
    }
    file->end.has_extents[EXTENTS_ALLOCATION] = !file->is_block && seeks_holes(file);
    posix_fadvise(file->fd, 0, 0, wants->direct ? POSIX_FADV_DONTNEED : POSIX_FADV_SEQUENTIAL);
    return &file->end;
}
