/* A qcow2 disk, or an image of Ceph RBD, by way of its qemu-nbd (qemu.h).
 *
 * nbdkit's threads send requests at once, libnbd's calls are one at a time for a
 * connection: so each client connection has a few to qemu-nbd, made when they are first
 * needed. All lead to one process, which has one cache, so a flush on any of them
 * covers what was written by all. That it is one process is made sure by the
 * description, which a qemu-nbd is given anew at each start: what an earlier one was
 * told and had not flushed may be lost, and nobody must be told that it is safe. */
#include "disk.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#include "libnbd-lazy.h"
#include "qcow2-header.h"
#include "qemu.h"
#include "rbd.h"

#define LINKS_MAX       8
#define DESCRIPTION_MAX 128

/* A connection to qemu-nbd. */
struct link {
    struct nbd_handle *nbd;
    int sock; /* our copy, to shut it down while libnbd waits on it; -1: not connected */
};

struct qcow2 {
    struct disk disk;
    int state_fd;
    int lock_fd; /* see disk_lock(); -1: reading only, or RBD */
    char key[QEMU_KEY_MAX];
    uint64_t size;
    char instance[DESCRIPTION_MAX]; /* of the qemu-nbd; "" until the first link has it */

    pthread_mutex_t lock; /* protects what follows */
    pthread_cond_t freed; /* a link is free, or all is lost */
    struct link links[LINKS_MAX];
    bool busy[LINKS_MAX];
    int made;  /* links[0..made) are connected, the busy ones maybe not greeted yet */
    bool lost; /* qemu-nbd died or was cut off; every request fails from now on */
};

static struct qcow2 *as_qcow2(struct disk *disk)
{
    return (struct qcow2 *)disk;
}

/* ---- links ---- */

static void close_link(struct link *link)
{
    libnbd.close(link->nbd);
    if (link->sock >= 0)
        close(link->sock);
    *link = (struct link){ .sock = -1 };
}

/* Called by libnbd's errno-less failures too. */
static int nbd_failed(const char *what, struct error **err)
{
    return error_set(err, "%s: %s", what,
                     libnbd.get_error() ? libnbd.get_error() : "unknown error");
}

/* Takes `sock`, which is connected. */
static int open_link(struct link *link, int sock, struct error **err)
{
    *link = (struct link){ .nbd = libnbd.create(), .sock = sock };
    if (link->nbd && sock >= 0)
        return 0;
    error_set_errno(err, sock < 0 ? errno : ENOMEM, "connecting to qemu-nbd");
    close_link(link);
    return -1;
}

/* The NBD handshake. What it says of itself is the caller's to free; NULL: *err says why not. */
static char *greet_link(const struct link *link, struct error **err)
{
    int sock = fcntl(link->sock, F_DUPFD_CLOEXEC, 3);
    char *description = NULL;

    libnbd.set_pread_initialize(link->nbd, false); /* we don't use what a failed read left */
    if (sock < 0)
        error_set_errno(err, errno, "connecting to qemu-nbd");
    else if (libnbd.add_meta_context(link->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
             libnbd.set_full_info(link->nbd, true) < 0 ||
             libnbd.connect_socket(link->nbd, sock) < 0 ||
             !(description = libnbd.get_export_description(link->nbd)))
        nbd_failed("connecting to qemu-nbd", err);
    return description;
}

/* As qemu_connect calls it, maybe several times, for the first link. */
static int greet_first(void *opaque, int sock, struct error **err)
{
    struct qcow2 *q = opaque;
    CLEANUP_FREE char *description = NULL;

    if (open_link(&q->links[0], sock, err) < 0)
        return -1;
    description = greet_link(&q->links[0], err);
    if (description && strlen(description) < sizeof q->instance) {
        strcpy(q->instance, description);
        return 0;
    }
    if (description)
        error_set(err, "qemu-nbd does not say which one it is");
    close_link(&q->links[0]);
    return -1;
}

static bool greet_further(const struct qcow2 *q, const struct link *link)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *description = greet_link(link, &err);

    if (description && strcmp(description, q->instance) == 0)
        return true;
    nbdkit_debug("a further connection to qemu-nbd: %s", error_message(err));
    return false;
}

static void lose(struct qcow2 *q)
{
    LOCK_SCOPE(&q->lock);
    q->lost = true;
    for (int i = 0; i < q->made; i++)
        shutdown(q->links[i].sock, SHUT_RDWR);
    pthread_cond_broadcast(&q->freed);
}

static int free_link(const struct qcow2 *q)
{
    for (int i = 0; i < q->made; i++) {
        if (!q->busy[i])
            return i;
    }
    return -1;
}

/* A link that is free now, or one to be greeted yet (*fresh); -1: all is lost. */
static int reserve_link(struct qcow2 *q, bool *fresh)
{
    CLEANUP_ERROR struct error *err = NULL;
    LOCK_SCOPE(&q->lock);

    while (!q->lost) {
        int i = free_link(q);

        *fresh = i < 0 && q->made < LINKS_MAX;
        if (*fresh && open_link(&q->links[q->made], qemu_join(q->state_fd, q->key), &err) < 0)
            q->lost = true;
        else if (*fresh)
            i = q->made++;
        if (i >= 0) {
            q->busy[i] = true;
            return i;
        }
        if (!q->lost)
            pthread_cond_wait(&q->freed, &q->lock);
    }
    return -1;
}

/* A link for one request, -1: all is lost. The handshake is done without the lock: a
 * qemu-nbd that hangs must not keep lose() from ending it. */
static int take_link(struct qcow2 *q)
{
    bool fresh = false;
    int i = reserve_link(q, &fresh);

    if (i < 0 || !fresh || greet_further(q, &q->links[i]))
        return i;
    lose(q);
    return -1;
}

/* `r` is what libnbd said; what the server said is kept in errno's words. */
static int give_link(struct qcow2 *q, int i, int r)
{
    struct nbd_handle *nbd = q->links[i].nbd;
    int errnum = 0;

    if (r < 0) {
        errnum = libnbd.get_errno();
        if (libnbd.aio_is_dead(nbd) || libnbd.aio_is_closed(nbd)) {
            lose(q);
            errnum = ESHUTDOWN;
        }
        if (errnum == 0)
            errnum = EIO;
    }
    LOCK_SCOPE(&q->lock);
    q->busy[i] = false;
    pthread_cond_signal(&q->freed);
    return errnum;
}

/* ---- requests ---- */

static int qcow2_pread(struct disk *disk, void *buf, uint32_t count, uint64_t offset)
{
    struct qcow2 *q = as_qcow2(disk);
    int i = take_link(q);

    return i < 0 ? ESHUTDOWN
                 : give_link(q, i, libnbd.pread(q->links[i].nbd, buf, count, offset, 0));
}

static int qcow2_pwrite(struct disk *disk, const void *buf, uint32_t count, uint64_t offset,
                        bool fua)
{
    struct qcow2 *q = as_qcow2(disk);
    uint32_t flags = fua ? LIBNBD_CMD_FLAG_FUA : 0;
    int i = take_link(q);

    return i < 0 ? ESHUTDOWN
                 : give_link(q, i, libnbd.pwrite(q->links[i].nbd, buf, count, offset, flags));
}

static int qcow2_zero(struct disk *disk, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct qcow2 *q = as_qcow2(disk);
    uint32_t nbd_flags = (flags & NBDKIT_FLAG_MAY_TRIM ? 0 : LIBNBD_CMD_FLAG_NO_HOLE) |
                         (flags & NBDKIT_FLAG_FAST_ZERO ? LIBNBD_CMD_FLAG_FAST_ZERO : 0);
    int i = take_link(q);

    return i < 0 ? ESHUTDOWN
                 : give_link(q, i, libnbd.zero(q->links[i].nbd, count, offset, nbd_flags));
}

static int qcow2_trim(struct disk *disk, uint32_t count, uint64_t offset)
{
    struct qcow2 *q = as_qcow2(disk);
    int i = take_link(q);

    return i < 0 ? ESHUTDOWN : give_link(q, i, libnbd.trim(q->links[i].nbd, count, offset, 0));
}

static int qcow2_flush(struct disk *disk)
{
    struct qcow2 *q = as_qcow2(disk);
    int i = take_link(q);

    return i < 0 ? ESHUTDOWN : give_link(q, i, libnbd.flush(q->links[i].nbd, 0));
}

static int qcow2_cache(struct disk *disk, uint32_t count, uint64_t offset)
{
    struct qcow2 *q = as_qcow2(disk);
    int i = take_link(q);

    return i < 0 ? ESHUTDOWN : give_link(q, i, libnbd.cache(q->links[i].nbd, count, offset, 0));
}

struct extents_reply {
    struct nbdkit_extents *extents;
    uint64_t end;
};

/* Entries may reach past what was asked for; nbdkit's own clients may not see that. */
static int add_extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
                       size_t n, int *error)
{
    struct extents_reply *reply = opaque;

    if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
        return 0;
    for (size_t i = 0; i + 1 < n && offset < reply->end; i += 2) {
        uint64_t length = entries[i];

        if (length > reply->end - offset)
            length = reply->end - offset;
        if (length == 0 ||
            nbdkit_add_extent(reply->extents, offset, length, entries[i + 1] & 3) < 0) {
            *error = length == 0 ? EPROTO : errno;
            return -1;
        }
        offset += length;
    }
    return 0;
}

static int qcow2_extents(struct disk *disk, uint32_t count, uint64_t offset, bool only_first,
                         struct nbdkit_extents *extents)
{
    struct qcow2 *q = as_qcow2(disk);
    struct extents_reply reply = { .extents = extents, .end = offset + count };
    nbd_extent_callback callback = { .callback = add_extents, .user_data = &reply };
    int i = take_link(q);

    return i < 0 ? ESHUTDOWN
                 : give_link(q, i,
                             libnbd.block_status(q->links[i].nbd, count, offset, callback,
                                                 only_first ? LIBNBD_CMD_FLAG_REQ_ONE : 0));
}

static void qcow2_cut(struct disk *disk)
{
    lose(as_qcow2(disk));
}

/* A goodbye on each link, so that qemu-nbd has nothing to complain of. */
static void qcow2_close(struct disk *disk)
{
    struct qcow2 *q = as_qcow2(disk);

    for (int i = 0; i < q->made; i++) {
        if (!q->lost)
            libnbd.shutdown(q->links[i].nbd, 0);
        close_link(&q->links[i]);
    }
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->freed);
    if (q->lock_fd >= 0)
        close(q->lock_fd);
    free(q);
}

static const struct disk_ops qcow2_ops = {
    .pread = qcow2_pread,
    .pwrite = qcow2_pwrite,
    .zero = qcow2_zero,
    .trim = qcow2_trim,
    .flush = qcow2_flush,
    .extents = qcow2_extents,
    .cache = qcow2_cache,
    .cut = qcow2_cut,
    .close = qcow2_close,
};

/* ---- open ---- */

static int check_image(const struct exportmap_file *map, int fd, bool writable, struct error **err)
{
    uint64_t size;
    bool block;

    if (disk_check_identity(fd, map, writable, &block, err) < 0)
        return error_prefix(err, "%s", map->path);
    if (qcow2_chain_check(map->path, &size, err) < 0)
        return -1;
    if (disk_check_size(size, map, err) < 0)
        return error_prefix(err, "%s", map->path);
    return 0;
}

/* Ceph gives an image's id to no other one. */
static int check_rbd(const struct exportmap_file *map, bool writable, struct error **err)
{
    CLEANUP(exportmap_disk_free) struct exportmap_disk found = { 0 };

    if (exportmap_rbd_probe(map->path, &found, err) < 0)
        return -1;
    if (!map->identity.value[EXPORTMAP_WWID])
        return error_set(err, "%s: the map's identity needs the image's wwid", map->path);
    if (exportmap_identity_check(&map->identity, &found, writable, err) < 0 ||
        disk_check_size(found.size, map, err) < 0)
        return error_prefix(err, "%s", map->path);
    return 0;
}

static int check_disk(const struct exportmap_file *map, int fd, bool writable, struct error **err)
{
    if (rbd_is_place(map->path))
        return check_rbd(map, writable, err);
    if (fd < 0)
        return error_set_errno(err, errno, "%s", map->path);
    return check_image(map, fd, writable, err);
}

/* QEMU's own locks keep other QEMUs out, not who writes to the image as if it were raw. */
static int lock_image(struct qcow2 *q, int fd, const struct exportmap_file *map,
                      const struct mapdir *dir, const char *name, struct error **err)
{
    q->lock_fd = disk_lock(fd, map, dir, name, err);
    return q->lock_fd < 0 ? error_prefix(err, "%s", map->path) : 0;
}

static int connect_first(struct qcow2 *q, const struct exportmap_file *map,
                         const struct mapdir *dir, const char *name, int lease_fd,
                         struct error **err)
{
    bool rbd = rbd_is_place(map->path);
    CLEANUP_CLOSE int fd = rbd ? -1 : open(map->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct qemu_image image = { .state_fd = q->state_fd,
                                .name = name,
                                .path = map->path,
                                .fd = fd,
                                .id = map->identity.value[EXPORTMAP_WWID],
                                .lock_fd = -1,
                                .lease_fd = lease_fd };
    int64_t size;

    if (check_disk(map, fd, lease_fd >= 0, err) < 0 ||
        (lease_fd >= 0 && fd >= 0 && lock_image(q, fd, map, dir, name, err) < 0) ||
        qemu_make_key(&image, err) < 0)
        return -1;
    image.lock_fd = q->lock_fd;
    strcpy(q->key, image.key);
    if (qemu_connect(&image, greet_first, q, err) < 0) {
        if (q->links[0].nbd) /* something failed after the handshake */
            close_link(&q->links[0]);
        return error_prefix(err, "%s", map->path);
    }
    q->made = 1;
    size = libnbd.get_size(q->links[0].nbd);
    if (disk_check_size(size < 0 ? 0 : (uint64_t)size, map, err) < 0)
        return error_prefix(err, "%s", map->path);
    q->disk.fast_zero = libnbd.can_fast_zero(q->links[0].nbd) > 0;
    q->disk.extents = libnbd.can_meta_context(q->links[0].nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
    if (libnbd.can_multi_conn(q->links[0].nbd) <= 0)
        return error_set(err, "%s: this qemu-nbd does not keep connections coherent", map->path);
    return 0;
}

struct disk *qcow2_open(const struct exportmap_file *map, const struct mapdir *dir,
                        const char *name, int lease_fd, struct error **err)
{
    struct qcow2 *q;

    if (dir->state_fd < 0) {
        error_set(err, "%s/.exportmap could not be made, so qcow2 can't be served", dir->path);
        return NULL;
    }
    if (libnbd_load(err) < 0)
        return NULL;
    q = calloc(1, sizeof *q);
    if (!q) {
        error_set_errno(err, ENOMEM, "%s", map->path);
        return NULL;
    }
    q->disk.ops = &qcow2_ops;
    q->state_fd = dir->state_fd;
    q->lock_fd = -1;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->freed, NULL);
    if (connect_first(q, map, dir, name, lease_fd, err) < 0) {
        qcow2_close(&q->disk);
        return NULL;
    }
    return &q->disk;
}

void qcow2_unload(void)
{
    qemu_unload();
}
