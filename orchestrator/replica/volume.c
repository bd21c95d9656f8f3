/* The files of a replica; see volume.h. */
#include "replica/volume.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "process.h"
#include "qcow2-header.h"
#include "rbd.h"

#define FOLDER_MODE  0700
#define IMAGE_MODE   0600
#define SEALED_MODE  0400
#define QEMU_IMG_MS  60000
#define LOCK_TRIES   50 /* a killed writer's qemu-nbd ends within moments */
#define LOCK_WAIT_US 100000

void volume_names(const char *vm_uuid, int key, unsigned number, bool base,
                  struct volume_names *names)
{
    char folder[256];

    snprintf(folder, sizeof folder, "replicas/%s/disk-%d", vm_uuid, key);
    if (base)
        snprintf(names->image, sizeof names->image, "%s/base.raw", folder);
    else
        snprintf(names->image, sizeof names->image, "%s/point-%04u.qcow2", folder, number);
    snprintf(names->leaves, sizeof names->leaves, "%s/point-%04u.leaves", folder, number);
    snprintf(names->journal, sizeof names->journal, "%s/point-%04u.journal", folder, number);
    snprintf(names->resend, sizeof names->resend, "%s/point-%04u.resend", folder, number);
    snprintf(names->changes, sizeof names->changes, "%s/point-%04u.changes", folder, number);
}

bool volume_is_rbd(const char *path)
{
    return rbd_is_place(path);
}

bool volume_is_device(const char *path)
{
    struct stat st;

    return !volume_is_rbd(path) && stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

int volume_device_size(const char *path, uint64_t *size, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || ioctl(fd, BLKGETSIZE64, size) < 0)
        return error_set_errno(err, errno, "%s", path);
    return 0;
}

int volume_path(const char *state_dir, const char *place, char path[PATH_MAX], struct error **err)
{
    bool whole = place[0] == '/' || volume_is_rbd(place);

    if (snprintf(path, PATH_MAX, "%s%s%s", whole ? "" : state_dir, whole ? "" : "/", place) >=
        PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "%s", place);
    return 0;
}

int volume_sync_folder(const char *path, struct error **err)
{
    CLEANUP_FREE char *copy = strdup(path);
    CLEANUP_CLOSE int fd = -1;

    if (!copy)
        return error_set_errno(err, ENOMEM, "syncing %s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_set_errno(err, errno, "syncing the folder of %s", path);
    return 0;
}

int volume_make_folder(const char *path, struct error **err)
{
    CLEANUP_FREE char *folder = strdup(path);

    if (!folder)
        return error_set_errno(err, ENOMEM, "making the folder of %s", path);
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, FOLDER_MODE) == 0) {
            if (volume_sync_folder(folder, err) < 0)
                return -1;
        } else if (errno != EEXIST) {
            return error_set_errno(err, errno, "making %s", folder);
        }
        *slash = '/';
    }
    return 0;
}

bool volume_exists(const char *path)
{
    struct stat st;

    if (volume_is_rbd(path))
        return rbd_exists(path);
    return lstat(path, &st) == 0;
}

bool volume_is_sealed(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && (st.st_mode & 0777) == SEALED_MODE;
}

bool volume_is_open(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0777) != SEALED_MODE;
}

/* A name of this process for an image until it is whole: one without its size or its backing file
 * must never be taken for one, and a qemu-img that outlives us must not write to another's. */
static int name_half_made(const char *path, char making[PATH_MAX], struct error **err)
{
    if (snprintf(making, PATH_MAX, "%s.%d.new", path, (int)getpid()) >= PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "making %s", path);
    unlink(making); /* of a process that had our number */
    return 0;
}

/* It is durable before it has its name. */
static int give_name(const char *making, const char *path, struct error **err)
{
    if (chmod(making, IMAGE_MODE) < 0)
        error_set_errno(err, errno, "making %s", path);
    else if (volume_sync(making, err) == 0 && rename(making, path) == 0)
        return volume_sync_folder(path, err);
    else if (!*err)
        error_set_errno(err, errno, "making %s", path);
    unlink(making);
    return -1;
}

int volume_create_base(const char *path, uint64_t capacity, struct error **err)
{
    char making[PATH_MAX];
    CLEANUP_CLOSE int fd = -1;

    if (volume_exists(path))
        return error_set_errno(err, EEXIST, "making %s", path);
    if (name_half_made(path, making, err) < 0)
        return -1;
    fd = open(making, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, IMAGE_MODE);
    if (fd < 0)
        return error_set_errno(err, errno, "making %s", path);
    if (ftruncate(fd, (off_t)capacity) < 0) {
        error_set_errno(err, errno, "making %s", path);
        unlink(making);
        return -1;
    }
    return give_name(making, path, err);
}

/* qemu-img says it in words only. */
static int note_full(struct error **err)
{
    if (strstr(error_message(*err), "No space left on device"))
        (*err)->errnum = ENOSPC;
    return -1;
}

int volume_create_qcow2(const char *path, const char *backing, const char *backing_format,
                        uint64_t capacity, struct error **err)
{
    char size[32], name[PATH_MAX], making[PATH_MAX];
    const char *argv[16] = { "qemu-img",
                             "create",
                             "-q",
                             "-f",
                             "qcow2",
                             "-o",
                             "compat=1.1,lazy_refcounts=off,preallocation=off" };
    size_t n = 7;

    if (volume_exists(path)) /* qemu-img would overwrite it */
        return error_set_errno(err, EEXIST, "making %s", path);
    if (name_half_made(path, making, err) < 0)
        return -1;
    snprintf(size, sizeof size, "%" PRIu64, capacity);
    if (backing) {
        argv[n++] = "-F";
        argv[n++] = backing_format;
        argv[n++] = "-b";
        volume_backing_name(path, backing, name);
        argv[n++] = name;
    }
    argv[n++] = making;
    argv[n++] = size;
    if (process_run(argv, QEMU_IMG_MS, NULL, err) < 0) {
        note_full(err);
        unlink(making);
        return error_prefix(err, "making %s", path);
    }
    return give_name(making, path, err);
}

static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? (size_t)(slash - path) + 1 : 0;
}

void volume_backing_name(const char *path, const char *backing, char name[PATH_MAX])
{
    size_t folder = folder_length(backing);
    bool same = folder == folder_length(path) && strncmp(path, backing, folder) == 0;

    snprintf(name, PATH_MAX, "%s", same ? backing + folder : backing);
}

int volume_create_overlay(const char *path, const char *backing, const char *backing_format,
                          uint64_t capacity, struct error **err)
{
    return volume_create_qcow2(path, backing, backing_format, capacity, err);
}

uint64_t volume_allocated(const char *path)
{
    struct stat st;

    if (volume_is_rbd(path) || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    return (uint64_t)st.st_blocks * 512;
}

static const struct process_watch unwatched = { .stop = NULL };

/* It fails while a killed process's qemu-nbd or qemu-img still holds the image ("Failed to get
 * "write" lock"). */
static int run_when_free(const char *const argv[], const struct process_watch *watch,
                         struct error **err)
{
    for (int tries = 1; process_run_watched(argv, watch, err) < 0; tries++) {
        if (tries == LOCK_TRIES || !strstr(error_message(*err), "\" lock"))
            return -1;
        error_clear(err);
        usleep(LOCK_WAIT_US);
    }
    return 0;
}

int volume_check_overlay(const char *path, struct error **err)
{
    const char *argv[] = { "qemu-img", "check", "-q", "-f", "qcow2", "-r", "leaks", path, NULL };

    return run_when_free(argv, &unwatched, err) < 0 ? error_prefix(err, "checking %s", path) : 0;
}

int volume_set_backing(const char *path, const char *backing, const char *backing_format,
                       struct error **err)
{
    char name[PATH_MAX];
    const char *argv[] = { "qemu-img", "rebase",       "-q", "-u", "-f", "qcow2",
                           "-F",       backing_format, "-b", name, path, NULL };

    volume_backing_name(path, backing, name);
    if (run_when_free(argv, &unwatched, err) < 0)
        return error_prefix(err, "putting %s on %s", path, backing);
    return volume_sync(path, err);
}

/* "    (12.34/100%)\r", again and again. */
static void hear_percent(void *opaque, const char *data, size_t length)
{
    const struct volume_watch *watch = opaque;
    const char *last = memrchr(data, '(', length);
    char text[16];

    if (!last)
        return;
    snprintf(text, sizeof text, "%.*s", (int)(data + length - last - 1), last + 1);
    watch->progress(watch->opaque, strtod(text, NULL));
}

int volume_commit(const char *path, const struct volume_watch *watch, struct error **err)
{
    const char *argv[] = { "qemu-img", "commit", "-p", "-d", "-f", "qcow2", path, NULL };
    struct volume_watch copy = *watch;
    const struct process_watch process = { watch->stop, hear_percent, &copy };

    return run_when_free(argv, &process, err) < 0 ? error_prefix(err, "merging %s", path) : 0;
}

static int grow_qcow2(const char *path, uint64_t capacity, struct error **err)
{
    CLEANUP(qcow2_header_free) struct qcow2_header header = { 0 };
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char size[32];
    const char *argv[] = { "qemu-img", "resize", "-q", "-f", "qcow2", path, size, NULL };

    snprintf(size, sizeof size, "%" PRIu64, capacity);
    if (fd < 0)
        return error_set_errno(err, errno, "opening %s", path);
    if (qcow2_header_read(fd, &header, err) < 0)
        return error_prefix(err, "%s", path);
    if (header.size < capacity && run_when_free(argv, &unwatched, err) < 0)
        return error_prefix(err, "growing %s to %" PRIu64 " bytes", path, capacity);
    return 0;
}

/* Only its owner can make it larger. */
static int check_device(const char *path, uint64_t capacity, struct error **err)
{
    uint64_t size;

    if (volume_device_size(path, &size, err) < 0)
        return -1;
    return size >= capacity
               ? 0
               : error_set(err, "%s has %" PRIu64 " bytes, and %" PRIu64 " are needed: enlarge it",
                           path, size, capacity);
}

int volume_grow(const char *path, const char *format, uint64_t capacity, struct error **err)
{
    CLEANUP_CLOSE int fd = -1;
    off_t size;

    if (volume_is_rbd(path))
        return rbd_grow(path, capacity, err);
    if (volume_is_device(path))
        return check_device(path, capacity, err);
    if (strcmp(format, "qcow2") == 0)
        return grow_qcow2(path, capacity, err);
    fd = open(path, O_RDWR | O_CLOEXEC);
    size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (size < 0 ||
        ((uint64_t)size < capacity && (ftruncate(fd, (off_t)capacity) < 0 || fsync(fd) < 0)))
        return error_set_errno(err, errno, "growing %s to %" PRIu64 " bytes", path, capacity);
    return 0;
}

/* Copy the data between holes. */
static int copy_sparse(int from, int to, off_t size)
{
    off_t data = 0, hole;

    if (ftruncate(to, size) < 0)
        return -1;
    while (data < size && (data = lseek(from, data, SEEK_DATA)) >= 0) {
        off_t out = data;

        hole = lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            return -1;
        while (data < hole) {
            ssize_t n = copy_file_range(from, &data, to, &out, (size_t)(hole - data), 0);

            if (n < 0)
                return -1;
            if (n == 0)
                return 0; /* it became shorter: nobody writes to a sealed file */
        }
    }
    return data < 0 && errno != ENXIO ? -1 : 0; /* ENXIO: no data behind this point */
}

int volume_clone(const char *from, const char *to, struct error **err)
{
    CLEANUP_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int out = -1;
    struct stat st;

    if (in < 0 || fstat(in, &st) < 0)
        return error_set_errno(err, errno, "reading %s", from);
    if (volume_remove(to, err) < 0)
        return -1;
    out = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, IMAGE_MODE);
    if (out < 0)
        return error_set_errno(err, errno, "making %s", to);
    if (ioctl(out, FICLONE, in) < 0 && copy_sparse(in, out, st.st_size) < 0)
        return error_set_errno(err, errno, "copying %s to %s", from, to);
    if (fsync(out) < 0)
        return error_set_errno(err, errno, "writing %s", to);
    return volume_sync_folder(to, err);
}

int volume_link(const char *from, const char *to, struct error **err)
{
    if (volume_remove(to, err) < 0)
        return -1;
    if (link(from, to) < 0)
        return error_set_errno(err, errno, "naming %s %s, too", from, to);
    return volume_sync_folder(to, err);
}

int volume_turn_link(const char *path, const char *target, struct error **err)
{
    char making[PATH_MAX];

    if (snprintf(making, sizeof making, "%s.new", path) >= (int)sizeof making)
        return error_set_errno(err, ENAMETOOLONG, "%s", path);
    if (unlink(making) < 0 && errno != ENOENT)
        return error_set_errno(err, errno, "removing %s", making);
    if (symlink(target, making) < 0 || rename(making, path) < 0)
        return error_set_errno(err, errno, "turning the link %s to %s", path, target);
    return volume_sync_folder(path, err);
}

int volume_sync(const char *path, struct error **err)
{
    CLEANUP_CLOSE int fd = -1;

    if (volume_is_rbd(path)) /* the writer's flush did it */
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return error_set_errno(err, errno, "syncing %s", path);
    return volume_sync_folder(path, err);
}

static int set_mode(const char *path, mode_t mode, struct error **err)
{
    if (volume_is_rbd(path) || volume_is_device(path)) /* no mode says so */
        return 0;
    if (chmod(path, mode) < 0)
        return error_set_errno(err, errno, "changing the mode of %s", path);
    return 0;
}

int volume_seal(const char *path, struct error **err)
{
    return set_mode(path, SEALED_MODE, err);
}

int volume_unseal(const char *path, struct error **err)
{
    return set_mode(path, IMAGE_MODE, err);
}

int volume_remove(const char *path, struct error **err)
{
    if (volume_is_rbd(path))
        return rbd_remove(path, err);
    if (unlink(path) == 0)
        return volume_sync_folder(path, err);
    return errno == ENOENT ? 0 : error_set_errno(err, errno, "removing %s", path);
}
