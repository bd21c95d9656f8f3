/* Map files in their directory; see exportmap-file.h. The text in them: exportmap-json.c. */
#include "exportmap-file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>

#include "qcow2-header.h"
#include "rbd.h"

#define OPEN_ATTEMPTS 100
#define WAIT_STEP_MS  5

void exportmap_file_free(struct exportmap_file *map)
{
    free(map->path);
    free(map->lease);
    free(map->description);
    exportmap_identity_free(&map->identity);
    *map = (struct exportmap_file){ 0 };
}

const char *exportmap_format_name(enum exportmap_format format)
{
    return format == EXPORTMAP_QCOW2 ? "qcow2" : "raw";
}

/* The length of the UTF-8 character at `p`, 0 when it is none. */
static size_t utf8_length(const unsigned char *p)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t code;

    if (length <= 1)
        return length;
    code = p[0] & (0xffU >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fU);
    }
    if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    return length;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_length = strlen(end);

    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

bool exportmap_name_ignored(const char *name)
{
    return name[0] == '.' || ends_with(name, "~") || ends_with(name, ".tmp");
}

const char *exportmap_name_problem(const char *name)
{
    size_t step;

    if (name[0] == '\0')
        return "is empty";
    if (strlen(name) > EXPORTMAP_NAME_MAX)
        return "is too long";
    if (exportmap_name_ignored(name))
        return "is that of a hidden or temporary file";
    for (const char *p = name; *p; p += step) {
        step = utf8_length((const unsigned char *)p);
        if (step == 0)
            return "is not UTF-8";
        /* U+0080 to U+009F are control characters too: some terminals obey them. */
        if ((unsigned char)*p < 0x20 || *p == 0x7f ||
            (step == 2 && (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] < 0xa0))
            return "holds a control character";
        if (*p == '/' || *p == '@')
            return "holds a '/' or '@'";
    }
    return NULL;
}

bool exportmap_lease_ok(const char *lease)
{
    size_t length = strlen(lease);

    return length > 0 && length <= EXPORTMAP_LEASE_MAX &&
           strspn(lease, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
               length;
}

/* ---- files ---- */

/* Opened without following a link out of the directory, and never waiting for a
 * FIFO's other end. */
static int open_beneath(int dirfd, const char *name)
{
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd = -1;

    /* EAGAIN: something was renamed while ".." in a link was looked up. */
    for (int i = 0; i < OPEN_ATTEMPTS; i++) {
        fd = syscall(SYS_openat2, dirfd, name, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    if (fd < 0 && errno == ENOSYS) /* before Linux 5.6, or under valgrind: no links at all */
        fd = openat(dirfd, name, (int)how.flags | O_NOFOLLOW);
    return (int)fd;
}

int exportmap_mode_check(const struct stat *st, struct error **err)
{
    if (!(st->st_mode & (S_IWGRP | S_IWOTH)))
        return 0;
    return error_set(err, "may be written by others (mode %03o); chmod go-w it",
                     st->st_mode & 0777);
}

static int check_status(const struct stat *st, struct error **err)
{
    if (!S_ISREG(st->st_mode))
        return error_set(err, "is not a regular file");
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return error_set(err, "is owned by user %u, not by root or the server's own user",
                         st->st_uid);
    return exportmap_mode_check(st, err);
}

/* The whole file, one byte more than allowed at most. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
    size_t length = 0;

    while (length < size) {
        ssize_t n = read(fd, buf + length, size - length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        length += (size_t)n;
    }
    return (ssize_t)length;
}

int exportmap_file_read(int dirfd, const char *name, struct exportmap_file *map, struct stat *st,
                        struct error **err)
{
    CLEANUP_CLOSE int fd = open_beneath(dirfd, name);
    CLEANUP_FREE char *text = malloc(EXPORTMAP_FILE_MAX + 1);
    ssize_t length;

    *map = (struct exportmap_file){ 0 };
    if (fd < 0 && errno == EXDEV)
        return error_set(err, "is a symbolic link that leads out of the map directory or is not "
                              "relative");
    if (fd < 0)
        return error_set_errno(err, errno, "opening it");
    if (!text)
        return error_set_errno(err, ENOMEM, "reading it");
    if (fstat(fd, st) < 0)
        return error_set_errno(err, errno, "fstat");
    if (check_status(st, err) < 0)
        return -1;
    length = read_all(fd, text, EXPORTMAP_FILE_MAX + 1);
    if (length < 0)
        return error_set_errno(err, errno, "reading it");
    if (exportmap_file_parse(text, (size_t)length, map, err) < 0)
        return -1;
    return steal_fd(fd);
}

static int probe_rbd(const char *path, struct exportmap_file *map, struct error **err)
{
    struct exportmap_disk disk;

    if (exportmap_rbd_probe(path, &disk, err) < 0)
        return -1;
    *map = (struct exportmap_file){
        .format = EXPORTMAP_RAW, .size = disk.size, .identity = disk.identity, .path = strdup(path)
    };
    if (map->path)
        return 0;
    exportmap_file_free(map);
    return error_set_errno(err, ENOMEM, "%s", path);
}

int exportmap_file_probe(const char *path, enum exportmap_format format, struct exportmap_file *map,
                         struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct exportmap_disk disk;

    *map = (struct exportmap_file){ .format = format };
    if (rbd_is_place(path) && format == EXPORTMAP_RAW)
        return probe_rbd(path, map, err);
    if (fd < 0)
        return error_set_errno(err, errno, "%s", path);
    if (exportmap_disk_probe(fd, &disk, err) < 0)
        return error_prefix(err, "%s", path);
    map->size = disk.size;
    map->identity = disk.identity;
    if (disk.block) { /* its own number is given anew at every start */
        free(map->identity.value[EXPORTMAP_DEV]);
        map->identity.value[EXPORTMAP_DEV] = NULL;
    }
    /* Symbolic links stay: /dev/disk/by-id names are links, and good ones. */
    if (path[0] == '/') {
        map->path = strdup(path);
    } else {
        CLEANUP_FREE char *here = getcwd(NULL, 0);

        if (!here || asprintf(&map->path, "%s/%s", here, path) < 0)
            map->path = NULL;
    }
    if (!map->path)
        error_set_errno(err, ENOMEM, "%s", path);
    else if (format != EXPORTMAP_QCOW2 || qcow2_chain_check(path, &map->size, err) == 0)
        return 0;
    exportmap_file_free(map);
    return -1;
}

static int open_directory(const char *dir, struct error **err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, errno, "%s", dir);
    return fd;
}

static int write_all(int fd, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        ssize_t n = write(fd, text, left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        text += n;
        left -= (size_t)n;
    }
    return 0;
}

static int write_and_rename(int dirfd, const char *temporary, const char *name, const char *text,
                            bool durable, struct error **err)
{
    CLEANUP_CLOSE int fd =
        openat(dirfd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return error_set_errno(err, errno, "creating %s", temporary);
    if (write_all(fd, text) < 0 || (durable && fsync(fd) < 0) ||
        renameat(dirfd, temporary, dirfd, name) < 0 || (durable && fsync(dirfd) < 0)) {
        error_set_errno(err, errno, "writing %s", temporary);
        unlinkat(dirfd, temporary, 0);
        return -1;
    }
    return 0;
}

/* What we write must be what a server can read: text that is no UTF-8, or too long, would make
 * the export vanish. */
static char *format_checked(const struct exportmap_file *map, struct error **err)
{
    CLEANUP(exportmap_file_free) struct exportmap_file again = { 0 };
    CLEANUP_FREE char *text = exportmap_file_format(map);

    if (!text)
        error_set_errno(err, ENOMEM, "its map file");
    else if (exportmap_file_parse(text, strlen(text), &again, err) < 0)
        error_prefix(err, "its map file");
    return *err ? NULL : steal_ptr(text);
}

static int write_file(const char *dir, const char *name, const struct exportmap_file *map,
                      bool durable, struct error **err)
{
    CLEANUP_CLOSE int dirfd = -1;
    CLEANUP_FREE char *text = NULL;
    const char *problem = exportmap_name_problem(name);
    char temporary[EXPORTMAP_NAME_MAX + 32];

    if (problem)
        return error_set(err, "export name '%s' %s", name, problem);
    text = format_checked(map, err);
    if (!text)
        return error_prefix(err, "export %s", name);
    dirfd = open_directory(dir, err);
    if (dirfd < 0)
        return -1;
    /* Same process and thread: the same name; a dead one's leftover is overwritten. */
    snprintf(temporary, sizeof temporary, ".%s.%ld.tmp", name, (long)syscall(SYS_gettid));
    unlinkat(dirfd, temporary, 0);
    if (write_and_rename(dirfd, temporary, name, text, durable, err) < 0)
        return error_prefix(err, "%s/%s", dir, name);
    return 0;
}

int exportmap_file_write(const char *dir, const char *name, const struct exportmap_file *map,
                         struct error **err)
{
    return write_file(dir, name, map, true, err);
}

int exportmap_file_write_soon(const char *dir, const char *name, const struct exportmap_file *map,
                              struct error **err)
{
    return write_file(dir, name, map, false, err);
}

int exportmap_file_remove(const char *dir, const char *name, struct error **err)
{
    CLEANUP_CLOSE int dirfd = -1;
    const char *problem = exportmap_name_problem(name);

    if (problem)
        return error_set(err, "export name '%s' %s", name, problem);
    dirfd = open_directory(dir, err);
    if (dirfd < 0)
        return -1;
    if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
        return error_set_errno(err, errno, "withdrawing %s/%s", dir, name);
    if (fsync(dirfd) < 0)
        return error_set_errno(err, errno, "withdrawing %s/%s", dir, name);
    return 0;
}

int exportmap_wait_unwritten(const char *dir, const char *name, int timeout_ms, struct error **err)
{
    CLEANUP_FREE char *path = NULL;
    CLEANUP_CLOSE int fd = -1;

    if (asprintf(&path, "%s/" EXPORTMAP_STATE_DIR "/" EXPORTMAP_LOCK, dir, name) < 0) {
        path = NULL;
        return error_set_errno(err, ENOMEM, "export %s", name);
    }
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return 0; /* nobody ever wrote to it */
    if (fd < 0)
        return error_set_errno(err, errno, "%s", path);
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return error_set_errno(err, errno, "%s", path);
        if (timeout_ms <= 0) {
            error_set(err, "export %s is still held by a writer; `fuser -v %s` finds it", name,
                      path);
            (*err)->errnum = EBUSY;
            return -1;
        }
        nanosleep(&(struct timespec){ .tv_nsec = WAIT_STEP_MS * 1000000L }, NULL);
        timeout_ms -= WAIT_STEP_MS;
    }
    return 0;
}
