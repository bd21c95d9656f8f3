/* nbdkit-cbt-filter: gives a plugin's disk the block status of a change map, and
 * answers reads of what the plugin calls zero without asking it again. What comes
 * in: a map of changed ranges (changemap.h), and the plugin's extents. What goes
 * out: the disk, read-only. It never changes a byte that a client reads: the map
 * decides what block status says, and only the plugin's own word turns a read
 * into zeroes.
 *
 * Block status     inside the map                outside it
 *   hole mode      data, or zero (never hole)    hole, not zero
 *   zero mode      data                          hole and zero
 *   no map         as the plugin says (hole mode), or data (zero mode)
 *
 * So in hole mode the hole bit alone tells unchanged from changed. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <nbdkit-filter.h>

#include "changemap.h"
#include "extentcache.h"

/* The most extents in one answer: a bound on its time and memory, nothing more. */
#define ANSWER_EXTENTS 65536

/* The most to ask the plugin about at once. */
#define QUERY_MAX (UINT64_C(1) << 30)

enum unchanged { UNCHANGED_HOLE, UNCHANGED_ZERO };

static const char *map_source; /* cbt-map, or NULL */
static struct changemap map = CHANGEMAP_INIT;
static enum unchanged unchanged = UNCHANGED_HOLE; /* cbt-unchanged */
static int64_t wanted_size = -1;                  /* cbt-size, or -1 */

/* -D cbt.lookup=1 logs every answer about an offset. */
NBDKIT_DLL_PUBLIC int cbt_debug_lookup = 0;

/* One connection. */
struct handle {
    uint64_t size;         /* of the plugin's disk */
    bool has_extents;      /* the plugin can say what is zero */
    uint32_t minimum;      /* the plugin's smallest block, a power of 2: reads are split no finer */
    pthread_mutex_t query; /* held while the plugin is asked, so that threads which read the
                              same stretch ask once; taken before the cache's own lock */
    struct extentcache cache;
};

static void cbt_unload(void)
{
    changemap_free(&map);
}

static int cbt_config_map(const char *value)
{
    if (map_source) {
        nbdkit_error("cbt-map is given twice");
        return -1;
    }
    if (value[0] == '\0' || strcmp(value, "-") == 0) {
        nbdkit_error("cbt-map=%s: expected a file, a FIFO or fd:N", value);
        return -1;
    }
    map_source = value;
    return 0;
}

static int cbt_config(nbdkit_next_config *next, nbdkit_backend *nxdata, const char *key,
                      const char *value)
{
    if (strcmp(key, "cbt-map") == 0)
        return cbt_config_map(value);
    if (strcmp(key, "cbt-size") == 0) {
        wanted_size = nbdkit_parse_size(value);
        return wanted_size < 0 ? -1 : 0;
    }
    if (strcmp(key, "cbt-unchanged") != 0)
        return next(nxdata, key, value);
    if (strcmp(value, "hole") == 0) {
        unchanged = UNCHANGED_HOLE;
    } else if (strcmp(value, "zero") == 0) {
        unchanged = UNCHANGED_ZERO;
    } else {
        nbdkit_error("cbt-unchanged=%s: expected hole or zero", value);
        return -1;
    }
    return 0;
}

#define cbt_config_help                                                                            \
    "cbt-map=<FILE>             The changed ranges: text or JSON; a file, a FIFO or fd:N.\n"       \
    "cbt-unchanged=hole|zero    What block status says of the rest (default: hole).\n"             \
    "cbt-size=<SIZE>            Refuse a disk of another size."

static int check_map_size(uint64_t size)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (!map_source || changemap_check_size(&map, size, &err) == 0)
        return 0;
    nbdkit_error("cbt-map: %s", error_message(err));
    return -1;
}

/* Before nbdkit forks and leaves the directory, so that a path may be relative. */
static int cbt_get_ready(int thread_model)
{
    CLEANUP_ERROR struct error *err = NULL;

    (void)thread_model;
    if (!map_source)
        return 0;
    if (changemap_load(map_source, &map, &err) < 0) {
        nbdkit_error("cbt-map: %s", error_message(err));
        return -1;
    }
    nbdkit_debug("cbt: %zu changed ranges, %" PRIu64 " bytes", map.count, changemap_bytes(&map));
    return wanted_size < 0 ? 0 : check_map_size(wanted_size);
}

static void *cbt_open(nbdkit_next_open *next, nbdkit_context *context, int readonly,
                      const char *exportname, int is_tls)
{
    struct handle *h;

    (void)readonly;
    (void)is_tls;
    if (next(context, 1, exportname) < 0)
        return NULL;
    h = calloc(1, sizeof *h);
    if (!h) {
        nbdkit_error("calloc: %m");
        return NULL;
    }
    pthread_mutex_init(&h->query, NULL);
    extentcache_init(&h->cache);
    return h;
}

static void cbt_close(void *handle)
{
    struct handle *h = handle;

    extentcache_destroy(&h->cache);
    pthread_mutex_destroy(&h->query);
    free(h);
}

static int cbt_prepare(nbdkit_next *next, void *handle, int readonly)
{
    struct handle *h = handle;
    int64_t size = next->get_size(next);
    int extents = size < 0 ? -1 : next->can_extents(next);
    uint32_t minimum, preferred, maximum;

    (void)readonly;
    if (extents < 0 || next->block_size(next, &minimum, &preferred, &maximum) < 0)
        return -1;
    h->size = size;
    h->has_extents = extents;
    h->minimum = minimum ? minimum : 1;

    if (wanted_size >= 0 && size != wanted_size) {
        nbdkit_error("the disk has %" PRIi64 " bytes, but cbt-size says %" PRIi64
                     ": the change map is not one of this disk",
                     size, wanted_size);
        return -1;
    }
    return check_map_size(size);
}

/* Writing would make the map and the cache wrong. */
static int cbt_can_write(nbdkit_next *next, void *handle)
{
    (void)next;
    (void)handle;
    return 0;
}

/* Without extents of its own the plugin's disk is all data. */
static int cbt_can_extents(nbdkit_next *next, void *handle)
{
    (void)next;
    (void)handle;
    return 1;
}

static void cleanup_extents(struct nbdkit_extents **extents)
{
    nbdkit_extents_free(*extents);
}
#define CLEANUP_EXTENTS CLEANUP(cleanup_extents)

/* Put one of the plugin's extents into a window. Where a zero does not begin or
 * end on the plugin's block size, its edge counts as data: the read beside it has
 * to be one that the plugin can serve. */
static bool add_extent(const struct handle *h, struct window *window, struct nbdkit_extent extent)
{
    uint64_t mask = h->minimum - 1;
    uint64_t end = extent.offset + extent.length;
    uint64_t first = (extent.offset + mask) & ~mask;
    uint64_t last = end == h->size ? end : end & ~mask;

    if (!(extent.type & NBDKIT_EXTENT_ZERO))
        return window_add(window, end, extent.type);
    if (first >= last)
        return window_add(window, end, 0);
    return (first == extent.offset || window_add(window, first, 0)) &&
           window_add(window, last, extent.type) && (last == end || window_add(window, end, 0));
}

/* Ask the plugin about at least the byte at `start`, and remember its answer. */
static int query_plugin(nbdkit_next *next, struct handle *h, uint64_t start, uint64_t span,
                        int *err)
{
    CLEANUP_EXTENTS struct nbdkit_extents *extents = NULL;
    struct window window = { .start = start };
    size_t count;

    if (span > QUERY_MAX)
        span = QUERY_MAX;
    if (span > h->size - start)
        span = h->size - start;
    extents = nbdkit_extents_new(start, h->size);
    if (!extents) {
        *err = errno;
        return -1;
    }
    if (next->extents(next, (uint32_t)span, start, 0, extents, err) < 0)
        return -1;
    count = nbdkit_extents_count(extents);
    for (size_t i = 0; i < count; i++) {
        if (!add_extent(h, &window, nbdkit_get_extent(extents, i)))
            break;
    }
    extentcache_store(&h->cache, &window);
    return 0;
}

/* What the plugin says of the byte at `offset`, and how far that holds. Asked
 * anew, it is asked about `wanted` bytes or more. */
static int plugin_extent(nbdkit_next *next, struct handle *h, uint64_t offset, uint64_t wanted,
                         struct cached_extent *found, int *err)
{
    uint64_t start, span;

    *found = (struct cached_extent){ .end = h->size };
    if (!h->has_extents || extentcache_find(&h->cache, offset, found))
        return 0;

    LOCK_SCOPE(&h->query);
    if (extentcache_find(&h->cache, offset, found))
        return 0;
    extentcache_plan(&h->cache, offset, &start, &span);
    if (span < offset - start + wanted)
        span = offset - start + wanted;
    if (query_plugin(next, h, start, span, err) < 0)
        return -1;
    if (extentcache_find(&h->cache, offset, found))
        return 0;
    /* It answered for less than it was asked: begin at the byte itself. */
    if (query_plugin(next, h, offset, wanted, err) < 0)
        return -1;
    if (extentcache_find(&h->cache, offset, found))
        return 0;
    nbdkit_error("the plugin said nothing of offset %" PRIu64 ", about which it was asked", offset);
    *err = EIO;
    return -1;
}

/* What block status says of the byte at `offset`, and how far that holds. */
static int status_extent(nbdkit_next *next, struct handle *h, uint64_t offset, uint64_t wanted,
                         struct cached_extent *found, int *err)
{
    size_t i = map_source ? changemap_find(&map, offset) : 0;
    uint64_t changed_end = h->size;

    if (map_source) {
        if (i == map.count || offset < map.ranges[i].offset) {
            found->end = i == map.count ? h->size : map.ranges[i].offset;
            found->type = NBDKIT_EXTENT_HOLE;
            if (unchanged == UNCHANGED_ZERO)
                found->type |= NBDKIT_EXTENT_ZERO;
            return 0;
        }
        changed_end = range_end(map.ranges[i]);
    }
    if (unchanged == UNCHANGED_ZERO) {
        *found = (struct cached_extent){ .end = changed_end };
        return 0;
    }
    if (plugin_extent(next, h, offset, wanted, found, err) < 0)
        return -1;
    if (found->end > changed_end)
        found->end = changed_end;
    if (map_source)
        found->type &= NBDKIT_EXTENT_ZERO;
    return 0;
}

/* Never past offset + count: nbdkit 1.32 aborts when an answer to the largest
 * request is longer than that. */
static int cbt_extents(nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
                       uint32_t flags, struct nbdkit_extents *extents, int *err)
{
    struct handle *h = handle;
    uint64_t end = offset + count;
    struct cached_extent found;
    uint32_t first_type = 0;

    for (unsigned n = 0; offset < end && n < ANSWER_EXTENTS; n++) {
        if (status_extent(next, h, offset, end - offset, &found, err) < 0)
            return -1;
        if (found.end > end)
            found.end = end;
        if (cbt_debug_lookup)
            nbdkit_debug("cbt lookup: offset=%" PRIu64 " length=%" PRIu64 " type=%" PRIu32, offset,
                         found.end - offset, found.type);
        if (n == 0)
            first_type = found.type;
        if ((flags & NBDKIT_FLAG_REQ_ONE) && found.type != first_type)
            break;
        if (nbdkit_add_extent(extents, offset, found.end - offset, found.type) < 0) {
            *err = errno;
            return -1;
        }
        offset = found.end;
    }
    return 0;
}

/* How much of [offset, end) is all zero, or all not, as far as the plugin says. A
 * plugin that fails to say is read: that is always right. */
static uint64_t same_run(nbdkit_next *next, struct handle *h, uint64_t offset, uint64_t end,
                         bool *zero)
{
    uint64_t run = offset;
    struct cached_extent found;
    int ignored;

    while (run < end) {
        bool is_zero;

        if (plugin_extent(next, h, run, end - run, &found, &ignored) < 0)
            found = (struct cached_extent){ .end = end };
        is_zero = found.type & NBDKIT_EXTENT_ZERO;
        if (run > offset && is_zero != *zero)
            break;
        *zero = is_zero;
        run = found.end < end ? found.end : end;
    }
    return run - offset;
}

static int cbt_pread(nbdkit_next *next, void *handle, void *buf, uint32_t count, uint64_t offset,
                     uint32_t flags, int *err)
{
    struct handle *h = handle;
    uint64_t end = offset + count;
    char *p = buf;

    while (offset < end) {
        bool zero = false;
        uint32_t length = (uint32_t)same_run(next, h, offset, end, &zero);

        if (cbt_debug_lookup)
            nbdkit_debug("cbt read: offset=%" PRIu64 " length=%" PRIu32 " %s", offset, length,
                         zero ? "known to be zero" : "from the plugin");
        if (zero)
            memset(p, 0, length);
        else if (next->pread(next, p, length, offset, flags, err) < 0)
            return -1;
        p += length;
        offset += length;
    }
    return 0;
}

static struct nbdkit_filter filter = {
    .name = "cbt",
    .longname = "nbdkit change map (CBT) filter",
    .description = "Block status from a change map, and sparse reading.",
    .unload = cbt_unload,
    .config = cbt_config,
    .config_help = cbt_config_help,
    .get_ready = cbt_get_ready,
    .open = cbt_open,
    .close = cbt_close,
    .prepare = cbt_prepare,
    .can_write = cbt_can_write,
    .can_extents = cbt_can_extents,
    .extents = cbt_extents,
    .pread = cbt_pread,
};

NBDKIT_REGISTER_FILTER(filter)
