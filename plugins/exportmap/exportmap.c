/* nbdkit-exportmap-plugin: one server, any number of disks, named by a directory of
 * map files.
 *
 * In comes a client that names an export, maybe with a lease; the map file is read
 * then (mapdir, common/exportmap-file), the writers' lock taken (lease), the disk
 * opened and its identity checked (raw, qcow2). Each request then passes the guard,
 * which fences writers off when the map changes. Never written: a disk that is not
 * the one that was mapped, or one that is mapped to another lease. */
#include <string.h>
#include <sys/stat.h>

#include "disk.h"
#include "guard.h"
#include "lease.h"
#include "opened.h"
#include "qemu.h"
#include "rbd.h"
#include "request.h"
#include "skiplog.h"
#include "standby.h"
#include "version.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define LEASE_WAIT_MS  4000
#define ORPHAN_WAIT_MS 1000
#define OPEN_ATTEMPTS  20
#define LISTED_MAX     10000 /* nbdkit refuses more */

static char *map_path;
static bool require_lease;
static bool standing_by; /* there is no client yet */
static struct mapdir map_dir = { .fd = -1, .state_fd = -1 };

struct handle {
    struct guard guard;
    struct disk *disk; /* closed by the guard's release */
    int lease_fd;      /* -1: a reader */
    bool writable;
    uint64_t size; /* bytes */
    char *description;
    atomic_int flush_failed; /* the errno of a flush or forced write that failed, or 0 */
};

static int exportmap_config(const char *key, const char *value)
{
    int b;

    if (strcmp(key, "map") == 0) {
        free(map_path);
        map_path = nbdkit_realpath(value);
        return map_path ? 0 : -1;
    }
    if (strcmp(key, "require-lease") == 0) {
        b = nbdkit_parse_bool(value);
        if (b < 0)
            return -1;
        require_lease = b;
        return 0;
    }
    nbdkit_error("unknown parameter '%s'", key);
    return -1;
}

static int exportmap_config_complete(void)
{
    skiplog_init();
    if (!map_path) {
        nbdkit_error("map=DIR is missing: the directory of map files");
        return -1;
    }
    return 0;
}

#define exportmap_config_help                                                                      \
    "map=DIR            (required) Directory of map files.\n"                                      \
    "require-lease=true            Clients that name no lease may only read."

static int open_map(void)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (mapdir_open(&map_dir, map_path, &err) < 0) {
        nbdkit_error("map: %s", error_message(err));
        return -1;
    }
    return 0;
}

static int exportmap_get_ready(void)
{
    opened_init();
    standing_by = standby_init();
    return open_map();
}

/* The map may be another directory by the time that the client comes. */
static int exportmap_after_fork(void)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (!standing_by)
        return 0;
    if (standby_wait(&err) < 0) {
        nbdkit_error("%s", error_message(err));
        return -1;
    }
    mapdir_close(&map_dir);
    return open_map();
}

static void exportmap_unload(void)
{
    watcher_stop();
    qcow2_unload();
    mapdir_close(&map_dir);
    free(map_path);
}

struct listing {
    struct nbdkit_exports *exports;
    size_t count;
};

static int add_export(void *opaque, const char *name, const struct exportmap_file *map)
{
    struct listing *listing = opaque;

    if (listing->count++ >= LISTED_MAX)
        return 0;
    return nbdkit_add_export(listing->exports, name, map->description);
}

static int exportmap_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct listing listing = { .exports = exports };

    (void)readonly;
    (void)is_tls;
    if (mapdir_list(&map_dir, add_export, &listing, &err) < 0) {
        nbdkit_error("%s", error_message(err));
        return -1;
    }
    if (listing.count > LISTED_MAX)
        nbdkit_error("%s: only %d of %zu exports are listed, which is nbdkit's limit; the others "
                     "can be opened all the same",
                     map_dir.path, LISTED_MAX, listing.count);
    return 0;
}

/* ---- open ---- */

static void release(void *opaque)
{
    struct handle *h = opaque;

    if (h->disk)
        h->disk->ops->close(h->disk);
    h->disk = NULL;
    if (h->lease_fd >= 0)
        close(h->lease_fd);
    h->lease_fd = -1;
}

static void cut(void *opaque)
{
    struct handle *h = opaque;

    if (h->disk && h->disk->ops->cut)
        h->disk->ops->cut(h->disk);
}

static void free_handle(struct handle *h)
{
    guard_finish(&h->guard);
    free(h->description);
    free(h);
}

static struct handle *new_handle(const struct request *request, struct exportmap_file *map,
                                 int map_fd, const struct stat *st, bool writable,
                                 struct error **err)
{
    struct handle *h = calloc(1, sizeof *h);
    char *terms = writable ? exportmap_file_terms(map) : NULL;

    if (!h || (writable && !terms)) {
        free(h);
        free(terms);
        close(map_fd);
        error_set_errno(err, ENOMEM, "opening");
        return NULL;
    }
    h->lease_fd = -1;
    h->writable = writable;
    h->size = map->size;
    h->description = steal_ptr(map->description);
    if (guard_init(&h->guard, &map_dir, request->name, terms, map_fd, st) != 0) {
        free_handle(h);
        error_set_errno(err, ENOMEM, "opening");
        return NULL;
    }
    h->guard.cut = cut;
    h->guard.release = release;
    h->guard.opaque = h;
    return h;
}

static int take_lease(struct handle *h, struct error **err)
{
    if (map_dir.state_fd < 0)
        return error_set(err, "%s/.exportmap could not be made, so nothing can be written",
                         map_dir.path);
    h->lease_fd =
        lease_acquire(map_dir.state_fd, h->guard.name, h->guard.terms, ORPHAN_WAIT_MS, err);
    if (h->lease_fd < 0) {
        /* Perhaps it is held by a qemu-nbd that nobody needs any more. */
        error_clear(err);
        qemu_end_orphans(map_dir.state_fd, h->guard.name);
        h->lease_fd =
            lease_acquire(map_dir.state_fd, h->guard.name, h->guard.terms, LEASE_WAIT_MS, err);
    }
    return h->lease_fd < 0 ? -1 : 0;
}

static int open_disk(struct handle *h, const struct exportmap_file *map, struct error **err)
{
    if (map->format == EXPORTMAP_QCOW2 || rbd_is_place(map->path))
        h->disk = qcow2_open(map, &map_dir, h->guard.name, h->lease_fd, err);
    else
        h->disk = raw_open(map, &map_dir, h->guard.name, h->lease_fd, err);
    return h->disk ? 0 : -1;
}

/* One attempt: the handle; or NULL, with *err set unless the map changed between
 * reading it and getting the lease. */
static struct handle *try_open(const struct request *request, bool readonly, struct error **err)
{
    CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };
    struct stat st;
    struct handle *h;
    int writable;
    int map_fd = exportmap_file_read(map_dir.fd, request->name, &map, &st, err);

    if (map_fd < 0) {
        if ((*err)->errnum == ENOENT) {
            error_clear(err);
            error_set(err, "there is no such export in %s", map_dir.path);
        }
        return NULL;
    }
    writable = request_access(request, &map, readonly, require_lease, err);
    if (writable < 0) {
        close(map_fd);
        return NULL;
    }
    h = new_handle(request, &map, map_fd, &st, writable, err);
    if (!h)
        return NULL;
    if (writable && take_lease(h, err) < 0) {
        free_handle(h);
        return NULL;
    }
    /* Under the lease now: if the map still says the same, later changes find us there. */
    if (writable && guard_unchanged(&h->guard) == false) {
        free_handle(h);
        return NULL;
    }
    if (open_disk(h, &map, err) < 0 || guard_watch(&h->guard, err) < 0) {
        free_handle(h);
        return NULL;
    }
    return h;
}

static void *exportmap_open(int readonly)
{
    CLEANUP_ERROR struct error *err = NULL;
    const char *export = nbdkit_export_name();
    struct request request;
    struct handle *h = NULL;
    bool sound;

    if (!export)
        return NULL;
    sound = request_parse(export, &request, &err) == 0;
    if (sound) {
        for (int i = 0; i < OPEN_ATTEMPTS && !h && !err; i++)
            h = try_open(&request, readonly, &err);
        if (!h && !err)
            error_set(&err, "its map file does not stop changing");
    }
    if (!h)
        skiplog_refused(export, sound, error_message(err));
    else
        opened_report();
    return h;
}

static void exportmap_close(void *handle)
{
    free_handle(handle);
}

/* ---- properties ---- */

static int64_t exportmap_get_size(void *handle)
{
    const struct handle *h = handle;

    return (int64_t)h->size;
}

static const char *exportmap_description(void *handle)
{
    const struct handle *h = handle;

    return h->description ? nbdkit_strdup_intern(h->description) : NULL;
}

static int exportmap_can_write(void *handle)
{
    const struct handle *h = handle;

    return h->writable;
}

static int exportmap_can_multi_conn(void *handle)
{
    (void)handle;
    return 1; /* see disk_ops.flush */
}

static int exportmap_can_fua(void *handle)
{
    (void)handle;
    return NBDKIT_FUA_NATIVE;
}

static int exportmap_can_cache(void *handle)
{
    (void)handle;
    return NBDKIT_CACHE_NATIVE;
}

static int exportmap_yes(void *handle)
{
    (void)handle;
    return 1;
}

/* Asked before the first request: the disk can't have been released for long
 * enough to matter, but it may have been. */
static int exportmap_can_fast_zero(void *handle)
{
    struct handle *h = handle;
    int r = 0;

    if (guard_enter(&h->guard) == 0) {
        r = h->disk->fast_zero;
        guard_leave(&h->guard);
    }
    return r;
}

static int exportmap_can_extents(void *handle)
{
    struct handle *h = handle;
    int r = 0;

    if (guard_enter(&h->guard) == 0) {
        r = h->disk->extents;
        guard_leave(&h->guard);
    }
    return r;
}

static int exportmap_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
                                uint32_t *maximum)
{
    (void)handle;
    *minimum = 1;
    *preferred = 256 << 10;
    *maximum = 32 << 20;
    return 0;
}

/* ---- requests ---- */

/* A fenced writer was reported once, when it was fenced. */
static int result(struct handle *h, const char *what, uint64_t offset, int errnum)
{
    if (errnum == 0)
        return 0;
    if (atomic_load(&h->guard.fenced) != 0)
        errnum = atomic_load(&h->guard.fenced);
    else if (errnum != EOPNOTSUPP)
        nbdkit_error("export %s: %s at %llu: %s", h->guard.name, what, (unsigned long long)offset,
                     strerror(errnum));
    nbdkit_set_error(errnum);
    return -1;
}

static int exportmap_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct handle *h = handle;
    char *p = buf;
    int errnum = 0;

    (void)flags;
    while (count > 0) {
        uint32_t n = count < DISK_REQUEST_MAX ? count : DISK_REQUEST_MAX;

        errnum = guard_enter(&h->guard);
        if (errnum == 0) {
            errnum = h->disk->ops->pread(h->disk, p, n, offset);
            guard_leave(&h->guard);
        }
        if (errnum != 0)
            break;
        p += n;
        offset += n;
        count -= n;
    }
    return result(h, "reading", offset, errnum);
}

static int exportmap_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
                            uint32_t flags)
{
    struct handle *h = handle;
    const char *p = buf;
    int errnum = 0;

    while (count > 0) {
        uint32_t n = count < DISK_REQUEST_MAX ? count : DISK_REQUEST_MAX;

        errnum = guard_enter(&h->guard);
        if (errnum == 0) {
            errnum = h->disk->ops->pwrite(h->disk, p, n, offset, flags & NBDKIT_FLAG_FUA);
            guard_leave(&h->guard);
        }
        if (errnum != 0)
            break;
        p += n;
        offset += n;
        count -= n;
    }
    /* A forced write may have been told what the next flush would have been told. */
    if (errnum != 0 && (flags & NBDKIT_FLAG_FUA))
        atomic_store(&h->flush_failed, errnum);
    return result(h, "writing", offset, errnum);
}

/* Writers are not fenced off while the disk's own flush runs, which may take long;
 * a descriptor of our own keeps the file open for it. */
static int flush(struct handle *h)
{
    CLEANUP_CLOSE int fd = -1;
    int errnum = guard_enter(&h->guard);

    if (errnum != 0)
        return errnum;
    if (h->disk->ops->sync_fd) {
        fd = h->disk->ops->sync_fd(h->disk);
        errnum = fd < 0 ? errno : 0;
    } else {
        errnum = h->disk->ops->flush(h->disk);
    }
    guard_leave(&h->guard);
    if (fd >= 0 && fdatasync(fd) < 0)
        errnum = errno;
    return errnum;
}

/* The kernel tells of a failed write-back once; a client that asks again must not
 * hear that all is well. */
static int exportmap_flush(void *handle, uint32_t flags)
{
    struct handle *h = handle;
    int errnum = atomic_load(&h->flush_failed);

    (void)flags;
    if (errnum == 0) {
        errnum = flush(h);
        if (errnum != 0)
            atomic_store(&h->flush_failed, errnum);
    }
    return result(h, "flushing", 0, errnum);
}

/* Zeroes and trims: in pieces, so that fencing never waits for a large one. */
static int in_pieces(struct handle *h, bool trim, uint32_t count, uint64_t offset, uint32_t flags)
{
    int errnum = 0;

    while (count > 0) {
        uint32_t n = count < DISK_ZERO_MAX ? count : DISK_ZERO_MAX;

        errnum = guard_enter(&h->guard);
        if (errnum == 0) {
            errnum = trim ? h->disk->ops->trim(h->disk, n, offset)
                          : h->disk->ops->zero(h->disk, n, offset, flags);
            guard_leave(&h->guard);
        }
        if (errnum != 0)
            break;
        offset += n;
        count -= n;
    }
    if (errnum == 0 && (flags & NBDKIT_FLAG_FUA))
        return exportmap_flush(h, 0);
    return result(h, trim ? "trimming" : "zeroing", offset, errnum);
}

static int exportmap_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    return in_pieces(handle, false, count, offset, flags);
}

static int exportmap_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    return in_pieces(handle, true, count, offset, flags);
}

static int exportmap_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                             struct nbdkit_extents *extents)
{
    struct handle *h = handle;
    int errnum = guard_enter(&h->guard);

    if (errnum == 0) {
        errnum =
            h->disk->ops->extents(h->disk, count, offset, flags & NBDKIT_FLAG_REQ_ONE, extents);
        guard_leave(&h->guard);
    }
    return result(h, "reading block status", offset, errnum);
}

static int exportmap_cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct handle *h = handle;
    int errnum = guard_enter(&h->guard);

    (void)flags;
    if (errnum == 0) {
        errnum = h->disk->ops->cache(h->disk, count, offset);
        guard_leave(&h->guard);
    }
    return result(h, "caching", offset, errnum);
}

static struct nbdkit_plugin plugin = {
    .name = "exportmap",
    .longname = "nbdkit exportmap plugin",
    .version = VMFERRY_VERSION,
    .description = "serve many disks, named by a directory of map files",
    .unload = exportmap_unload,
    .config = exportmap_config,
    .config_complete = exportmap_config_complete,
    .config_help = exportmap_config_help,
    .magic_config_key = "map",
    .get_ready = exportmap_get_ready,
    .after_fork = exportmap_after_fork,
    .list_exports = exportmap_list_exports,
    .open = exportmap_open,
    .close = exportmap_close,
    .get_size = exportmap_get_size,
    .export_description = exportmap_description,
    .can_write = exportmap_can_write,
    .can_flush = exportmap_yes,
    .can_trim = exportmap_can_write,
    .can_zero = exportmap_can_write,
    .can_fast_zero = exportmap_can_fast_zero,
    .can_fua = exportmap_can_fua,
    .can_multi_conn = exportmap_can_multi_conn,
    .can_extents = exportmap_can_extents,
    .can_cache = exportmap_can_cache,
    .block_size = exportmap_block_size,
    .pread = exportmap_pread,
    .pwrite = exportmap_pwrite,
    .flush = exportmap_flush,
    .zero = exportmap_zero,
    .trim = exportmap_trim,
    .extents = exportmap_extents,
    .cache = exportmap_cache,
    .errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN(plugin)
