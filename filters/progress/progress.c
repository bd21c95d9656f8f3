/* nbdkit-progress-filter: says how much of what has to move has moved.
 *
 * What comes in: every request of every client, and the plugin's block status. What
 * goes out: the requests, unchanged, and records (common/progress.h) to the sinks. It
 * never changes, delays or fails a request.
 *
 *   scan.c   what has to move     tally.c  both counted together, in ranges.c's sets
 *   report.c figures to records   sink-*.c records to a file, a descriptor, a URL */
#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>

#include <curl/curl.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "report.h"
#include "scan.h"

#define NS_PER_SECOND 1000000000LL
/* Exports beyond are not counted: each has its own sets. */
#define EXPORTS_MAX 64

/* What the total is. */
static enum { TOTAL_CHANGED, TOTAL_SIZE, TOTAL_BYTES } total_is = TOTAL_CHANGED;
static uint64_t total_bytes; /* for TOTAL_BYTES */
static struct report_options options = { .interval_ns = NS_PER_SECOND };

static bool parallel;
static struct report *report;

/* All exports that have been opened; they stay, as clients come back. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct export
{
    struct tally *tally;
    struct tally *settled; /* with progress-total=size: what has been read, or told to be zero.
                              NULL: not of use */
}
exports[EXPORTS_MAX];
static size_t nr_exports;
static unsigned connections;
static unsigned staying; /* connections that have not begun to leave */
static bool seen, writable;
static atomic_bool written; /* a client has changed something, or tried to */

struct handle {
    const char *name;      /* of the export */
    bool counted;          /* among the connections */
    bool leaving;          /* no longer among those that stay */
    struct export *export; /* NULL: not counted */
    struct scan scan;
};

static void progress_load(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void progress_unload(void)
{
    for (size_t i = 0; i < nr_exports; i++) {
        tally_free(exports[i].tally);
        tally_free(exports[i].settled);
    }
    for (struct sink *next; options.sinks; options.sinks = next) {
        next = options.sinks->next;
        options.sinks->close(options.sinks);
    }
    curl_global_cleanup();
}

static int add_sink(struct sink *sink)
{
    if (sink == NULL)
        return -1;
    sink->next = options.sinks;
    options.sinks = sink;
    return 0;
}

/* Seconds, with a fraction if need be, or NNms: as nbdkit-delay-filter(1). */
static int parse_interval(const char *value)
{
    char *end;
    double seconds;

    errno = 0;
    seconds = strtod(value, &end);
    if (end != value && strcmp(end, "ms") == 0) {
        seconds /= 1000;
        end += 2;
    } else if (end != value && strcmp(end, "s") == 0) {
        end++;
    }
    if (end == value || *end != '\0' || errno != 0 || !(seconds >= 0.01 && seconds <= 86400)) {
        nbdkit_error("progress-interval=%s: give seconds (\"5\", \"0.5\") or milliseconds "
                     "(\"500ms\"), from 10ms to a day",
                     value);
        return -1;
    }
    options.interval_ns = (int64_t)(seconds * NS_PER_SECOND);
    return 0;
}

static int parse_total(const char *value)
{
    int64_t bytes;

    if (strcmp(value, "changed") == 0) {
        total_is = TOTAL_CHANGED;
        return 0;
    }
    if (strcmp(value, "size") == 0) {
        total_is = TOTAL_SIZE;
        return 0;
    }
    bytes = nbdkit_parse_size(value);
    if (bytes < 0) {
        nbdkit_error("progress-total=%s: give \"changed\", \"size\" or a number of bytes", value);
        return -1;
    }
    total_is = TOTAL_BYTES;
    total_bytes = (uint64_t)bytes;
    return 0;
}

/* A text that goes into the record, which has room for `max` bytes of it. */
static int parse_text(const char *key, const char *value, size_t max, const char **text)
{
    if (strlen(value) > max) {
        nbdkit_error("%s: longer than %zu bytes", key, max);
        return -1;
    }
    *text = nbdkit_strdup_intern(value);
    return *text ? 0 : -1;
}

static int parse_sync_type(const char *value)
{
    if (strcmp(value, "initial") != 0 && strcmp(value, "incremental") != 0 &&
        strcmp(value, "resync") != 0) {
        nbdkit_error("progress-sync-type=%s: give \"initial\", \"incremental\" or \"resync\"",
                     value);
        return -1;
    }
    return parse_text("progress-sync-type", value,
                      sizeof((struct progress_record *)0)->sync_type - 1, &options.sync_type);
}

static int progress_config(nbdkit_next_config *next, nbdkit_backend *nxdata, const char *key,
                           const char *value)
{
    if (strcmp(key, "progress-file") == 0)
        return add_sink(sink_file_new(value));
    if (strcmp(key, "progress-fd") == 0)
        return add_sink(sink_fd_new(value));
    if (strcmp(key, "progress-url") == 0)
        return add_sink(sink_url_new(value));
    if (strcmp(key, "progress-interval") == 0)
        return parse_interval(value);
    if (strcmp(key, "progress-total") == 0)
        return parse_total(value);
    if (strcmp(key, "progress-label") == 0)
        return parse_text(key, value, sizeof((struct progress_record *)0)->label - 1,
                          &options.label);
    if (strcmp(key, "progress-sync-type") == 0)
        return parse_sync_type(value);
    return next(nxdata, key, value);
}

#define progress_config_help                                                                       \
    "progress-file=FILE        The newest record is kept in this file.\n"                          \
    "progress-fd=N             A JSON line a record to this file descriptor.\n"                    \
    "progress-url=URL          Each record is POSTed to this URL.\n"                               \
    "progress-interval=SECS    Time between records, or NNms (default: 1).\n"                      \
    "progress-total=changed    Count against data and changed bytes (default).\n"                  \
    "progress-total=size|BYTES Count against the size of the disk, or a number.\n"                 \
    "progress-label=TEXT       Name what moves, in the records.\n"                                 \
    "progress-sync-type=TYPE   initial, incremental or resync, in the records."

/* Does every reader of a disk that counts as a whole know every byte of it? Of nothing
 * but zeroes a destination is told, too, before it is written. */
static bool all_settled(const struct figures *figures)
{
    struct figures settled = { 0 };

    for (size_t i = 0; i < nr_exports; i++) {
        if (!exports[i].settled)
            return false;
        tally_sum(exports[i].settled, &settled);
    }
    return settled.done == settled.total && !written && (!writable || figures->done > 0);
}

/* For the reporter's thread. */
static void look(struct situation *situation)
{
    struct figures *figures = &situation->figures;

    LOCK_SCOPE(&lock);
    for (size_t i = 0; i < nr_exports; i++)
        tally_sum(exports[i].tally, figures);
    situation->settled = all_settled(figures);
    if (total_is == TOTAL_BYTES)
        figures->total = total_bytes;
    situation->connections = connections;
    situation->seen = seen;
    situation->readonly = !writable;
}

static int progress_get_ready(int thread_model)
{
    parallel = thread_model == NBDKIT_THREAD_MODEL_PARALLEL;
    return report_check(&options);
}

static int progress_after_fork(nbdkit_backend *backend)
{
    (void)backend;
    options.look = look;
    report = report_start(&options);
    options.sinks = NULL; /* the reporter's now */
    return report ? 0 : -1;
}

static void progress_cleanup(nbdkit_backend *backend)
{
    (void)backend;
    report_stop(report);
    report = NULL;
}

static void *progress_open(nbdkit_next_open *next, nbdkit_context *context, int readonly,
                           const char *exportname, int is_tls)
{
    struct handle *handle;

    (void)is_tls;
    if (next(context, readonly, exportname) < 0)
        return NULL;
    handle = calloc(1, sizeof *handle);
    if (handle == NULL) {
        nbdkit_error("calloc: %m");
        return NULL;
    }
    handle->name = nbdkit_strdup_intern(exportname);
    if (handle->name == NULL) {
        free(handle);
        return NULL;
    }
    return handle;
}

/* The whole disk has to move. */
static struct tally *whole_tally(const char *name, uint64_t size)
{
    struct tally *tally = tally_new(name, size);

    if (tally) {
        tally_need(tally, 0, size);
        tally_looked(tally, 0, size);
    }
    return tally;
}

/* This export, a new one at its first client; under the lock. NULL: not counted. */
static struct export *find_export(const char *name, uint64_t size, bool all, bool can_extents)
{
    struct export *export;

    for (export = exports; export < exports + nr_exports; export ++) {
        if (strcmp(tally_name(export->tally), name) == 0 && tally_size(export->tally) == size)
            return export;
    }
    if (nr_exports == EXPORTS_MAX) {
        nbdkit_debug("progress: export '%s' is not counted, there are too many", name);
        return NULL;
    }
    export->tally = all ? whole_tally(name, size) : tally_new(name, size);
    if (export->tally == NULL) {
        nbdkit_error("progress: no memory: export '%s' is not counted", name);
        return NULL;
    }
    if (total_is == TOTAL_SIZE && can_extents)
        export->settled = whole_tally(name, size);
    nr_exports++;
    return export;
}

static int progress_prepare(nbdkit_next *next, void *opaque, int readonly)
{
    struct handle *handle = opaque;
    int64_t size = next->get_size(next);
    int can_extents = next->can_extents(next);
    int can_write = next->can_write(next);
    bool first, all;

    (void)readonly;
    if (size < 0 || can_extents < 0 || can_write < 0)
        return -1;
    /* Without block status everything has to move. */
    all = total_is != TOTAL_CHANGED || !can_extents;
    pthread_mutex_lock(&lock);
    handle->export = find_export(handle->name, (uint64_t)size, all, can_extents);
    handle->counted = true;
    first = connections++ == 0;
    staying++;
    seen = true;
    writable |= can_write;
    pthread_mutex_unlock(&lock);

    if (first)
        report_poke(report);
    if (handle->export && !all)
        scan_init(&handle->scan, next, handle->export->tally, parallel);
    return 0;
}

static void leave(struct handle *handle)
{
    bool last;

    if (!handle->counted)
        return;
    handle->counted = false;
    pthread_mutex_lock(&lock);
    last = --connections == 0;
    if (!handle->leaving)
        staying--;
    pthread_mutex_unlock(&lock);
    if (last)
        report_poke(report);
}

/* Always called for a client that has made a request, also when nbdkit quits; a
 * failed handshake ends in close alone. */
static int progress_finalize(nbdkit_next *next, void *opaque)
{
    struct handle *handle = opaque;
    bool last;

    (void)next;
    pthread_mutex_lock(&lock);
    last = --staying == 0;
    handle->leaving = true;
    pthread_mutex_unlock(&lock);
    scan_stop(&handle->scan, last);
    leave(handle);
    return 0;
}

static void progress_close(void *opaque)
{
    struct handle *handle = opaque;

    leave(handle);
    free(handle);
}

static int progress_pread(nbdkit_next *next, void *opaque, void *buf, uint32_t count,
                          uint64_t offset, uint32_t flags, int *err)
{
    struct handle *handle = opaque;

    scan_ahead(&handle->scan, offset, count);
    if (next->pread(next, buf, count, offset, flags, err) < 0)
        return -1;
    if (handle->export == NULL)
        return 0;
    tally_moved(handle->export->tally, offset, offset + count);
    if (handle->export->settled)
        tally_moved(handle->export->settled, offset, offset + count);
    return 0;
}

static int progress_pwrite(nbdkit_next *next, void *opaque, const void *buf, uint32_t count,
                           uint64_t offset, uint32_t flags, int *err)
{
    struct handle *handle = opaque;

    written = true;
    scan_ahead(&handle->scan, offset, count);
    if (next->pwrite(next, buf, count, offset, flags, err) < 0)
        return -1;
    if (handle->export)
        tally_written(handle->export->tally, offset, offset + count);
    return 0;
}

/* A zeroed or trimmed range has moved where it had to: zeroes for old data. */
static int progress_zero(nbdkit_next *next, void *opaque, uint32_t count, uint64_t offset,
                         uint32_t flags, int *err)
{
    struct handle *handle = opaque;

    written = true;
    scan_ahead(&handle->scan, offset, count);
    if (next->zero(next, count, offset, flags, err) < 0)
        return -1;
    if (handle->export)
        tally_moved(handle->export->tally, offset, offset + count);
    return 0;
}

static int progress_trim(nbdkit_next *next, void *opaque, uint32_t count, uint64_t offset,
                         uint32_t flags, int *err)
{
    struct handle *handle = opaque;

    written = true;
    scan_ahead(&handle->scan, offset, count);
    if (next->trim(next, count, offset, flags, err) < 0)
        return -1;
    if (handle->export)
        tally_moved(handle->export->tally, offset, offset + count);
    return 0;
}

/* A reader does not read what it has been told to be zero. */
static void settle_zeroes(struct tally *settled, uint64_t end, const struct nbdkit_extents *extents)
{
    for (size_t i = 0; i < nbdkit_extents_count(extents); i++) {
        struct nbdkit_extent extent = nbdkit_get_extent(extents, i);
        uint64_t stop = extent.offset + extent.length;

        if ((extent.type & NBDKIT_EXTENT_ZERO) && extent.offset < end)
            tally_moved(settled, extent.offset, stop < end ? stop : end);
    }
}

static int progress_extents(nbdkit_next *next, void *opaque, uint32_t count, uint64_t offset,
                            uint32_t flags, struct nbdkit_extents *extents, int *err)
{
    struct handle *handle = opaque;

    if (next->extents(next, count, offset, flags, extents, err) < 0)
        return -1;
    scan_learn(&handle->scan, offset, count, extents);
    if (handle->export && handle->export->settled)
        settle_zeroes(handle->export->settled, offset + count, extents);
    return 0;
}

static struct nbdkit_filter filter = {
    .name = "progress",
    .longname = "vmferry progress filter",
    .description = "say how much of what has to move has moved",
    .load = progress_load,
    .unload = progress_unload,
    .config = progress_config,
    .config_help = progress_config_help,
    .get_ready = progress_get_ready,
    .after_fork = progress_after_fork,
    .cleanup = progress_cleanup,
    .open = progress_open,
    .close = progress_close,
    .prepare = progress_prepare,
    .finalize = progress_finalize,
    .pread = progress_pread,
    .pwrite = progress_pwrite,
    .zero = progress_zero,
    .trim = progress_trim,
    .extents = progress_extents,
};

NBDKIT_REGISTER_FILTER(filter)
