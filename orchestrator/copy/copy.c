/* The copy engine from above; see copy.h. What comes in: names and options. What
 * goes out: the result. It opens the ends, checks that they fit, decides the
 * geometry, lets the plan be moved, and has it verified. It never touches data
 * itself. */
#include "copy/copy.h"

#include <inttypes.h>
#include <string.h>

#include "changemap.h"
#include "copy/durable.h"
#include "copy/end.h"
#include "copy/journal.h"
#include "copy/move.h"
#include "copy/plan.h"
#include "copy/retry.h"
#include "copy/run.h"
#include "copy/verify.h"

#define REQUEST_DEFAULT     (UINT64_C(384) << 10) /* docs/benchmarks.md has what others cost */
#define REQUEST_DIRECT      (UINT64_C(4) << 20)   /* no buffer has to stay in the CPU's cache */
#define ZERO_MAX            (UINT64_C(1) << 30)
#define ZERO_MAX_COMPARED   (UINT64_C(64) << 20)
#define SMALL_AREA          (UINT64_C(1) << 20) /* of a change map, on average */
#define CONNECTIONS         2
#define CONNECTIONS_FAR     4 /* on a long link, or with TLS at most */
#define CONNECTIONS_MAX     64
#define FLUSH_BYTES         (UINT64_C(1) << 30)
#define FLUSH_BYTES_JOURNAL (UINT64_C(256) << 20)
#define FLUSH_NS            (INT64_C(60) * 1000000000)
#define FLUSH_NS_JOURNAL    (INT64_C(3) * 1000000000)

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Options */

static int check_options(const struct copy_options *options, struct error **err)
{
    if (options->target_zero && (options->changes || options->compare))
        return error_set_kind(err, ERROR_USAGE,
                              "a destination that reads as zeroes (--target-zero) is for a first "
                              "copy: with changes the zeroes have to be written");
    if (options->compare && options->changes)
        return error_set_kind(err, ERROR_USAGE,
                              "comparing looks at the whole disk, a change map does not fit");
    if (options->compare && !options->leaves)
        return error_set_kind(err, ERROR_USAGE,
                              "comparing needs the leaves file that describes the destination");
    if (options->digest && options->changes && !options->leaves)
        return error_set_kind(err, ERROR_USAGE,
                              "a digest after changes needs the leaves file (--leaves) that an "
                              "earlier copy of the whole disk made");
    if (options->connections > CONNECTIONS_MAX)
        return error_set_kind(err, ERROR_USAGE, "more than %d connections", CONNECTIONS_MAX);
    if (options->request_size > MOVE_REQUEST_MAX)
        return error_set_kind(err, ERROR_USAGE, "a request size above %" PRIu64 " bytes",
                              (uint64_t)MOVE_REQUEST_MAX);
    return 0;
}

static int load_changes(struct run *run, struct error **err)
{
    const char *changes = run->options->changes;

    if (!changes)
        return 0;
    if (strcmp(changes, "base:allocation-hole") == 0) {
        run->holes_unchanged = true;
        return 0;
    }
    if (strncmp(changes, "qemu:", 5) == 0) {
        /* qemu:allocation-depth has numbers, not a bit for what changed. */
        if (strncmp(changes, "qemu:dirty-bitmap:", 18) != 0)
            return error_set_kind(err, ERROR_USAGE,
                                  "%s does not say what changed: of QEMU's metadata contexts "
                                  "only qemu:dirty-bitmap:NAME does",
                                  changes);
        run->changes_context = true;
        return 0;
    }
    if (changemap_load(changes, &run->changes, err) < 0)
        return -1;
    run->changes_loaded = true;
    return 0;
}

/* Ends */

static int check_ends(struct run *run, struct error **err)
{
    uint64_t size = run->src->size;

    if (end_is_same(run->src, run->dst))
        return error_set_kind(err, ERROR_USAGE, "source and destination are the same: %s",
                              run->src->name);
    if (run->dst->size < size)
        return error_set_kind(err, ERROR_USAGE,
                              "the destination %s has %" PRIu64
                              " bytes, the source %s has more: %" PRIu64,
                              run->dst->name, run->dst->size, run->src->name, size);
    if (run->dst->must_fit && run->dst->size != size)
        return error_set_kind(err, ERROR_USAGE,
                              "the file %s has %" PRIu64 " bytes, the source %s has %" PRIu64
                              "; it is not cut off here: remove it, or name another",
                              run->dst->name, run->dst->size, run->src->name, size);
    if (run->holes_unchanged && !run->src->has_extents[EXTENTS_ALLOCATION])
        return error_set_kind(err, ERROR_USAGE,
                              "%s does not offer the metadata context base:allocation",
                              run->src->name);
    if (size % run->dst->block_min)
        return error_set_kind(err, ERROR_USAGE,
                              "the destination takes multiples of %" PRIu64
                              " bytes, and the source's size %" PRIu64 " is none",
                              run->dst->block_min, size);
    if (run->changes_loaded && changemap_check_size(&run->changes, size, err) < 0)
        return -1;
    return 0;
}

/* Geometry */

static uint64_t power_of_two_up_to(uint64_t n)
{
    uint64_t power = 1;

    while (power <= n / 2)
        power *= 2;
    return power;
}

/* One thread encrypts slower than it copies: as many as there are CPUs for. */
static unsigned tls_connections(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    return (unsigned)min(max(cpus > 0 ? (uint64_t)cpus : 1, CONNECTIONS), CONNECTIONS_FAR);
}

static int choose_geometry(struct run *run, struct error **err)
{
    const struct copy_options *options = run->options;
    const struct end *src = run->src;
    const struct end *dst = run->dst;
    uint64_t longest = power_of_two_up_to(min(src->block_max, dst->block_max));
    unsigned lanes = options->connections;

    run->copy_directly = !run->make_leaves && end_can_copy(src, dst);
    run->align = max(src->block_min, dst->block_min);
    if (run->make_leaves)
        run->align = max(run->align, DIGEST_BLOCK);
    if (run->align > longest)
        return error_set(err,
                         "%s takes requests of at most %" PRIu64 " bytes, but %" PRIu64
                         " are needed at once",
                         src->block_max < dst->block_max ? run->src->name : run->dst->name,
                         min(src->block_max, dst->block_max), run->align);
    if (options->request_size)
        run->request_size = options->request_size;
    else
        run->request_size = run->copy_directly ? REQUEST_DIRECT : REQUEST_DEFAULT;
    run->request_size = max(min(run->request_size, longest) / run->align, 1) * run->align;

    run->lanes_near = lanes;
    if (!lanes) {
        lanes = CONNECTIONS_FAR;
        run->lanes_near = src->is_tls || dst->is_tls ? tls_connections() : CONNECTIONS;
    }
    /* Two would only wait for each other: a file has one writer at a time. */
    if (!src->can_multi || !dst->can_multi || run->copy_directly)
        lanes = 1;
    run->lanes = (unsigned)min(lanes, max(src->size / run->request_size, 1));
    run->lanes_near = (unsigned)min(run->lanes_near, run->lanes);
    return 0;
}

/* In a map of many small areas it costs less to read one, and to look whether it is
 * zeroes, than to ask for its block status first: a server that has to search for
 * holes may search far beyond the area. */
static bool allocation_pays(const struct run *run)
{
    if (!run->src->has_extents[EXTENTS_ALLOCATION])
        return false;
    return !run->changes_loaded || run->changes.count == 0 ||
           changemap_bytes(&run->changes) / run->changes.count > SMALL_AREA;
}

static struct plan *make_plan(struct run *run, struct error **err)
{
    const struct copy_options *options = run->options;
    const struct end *src = run->src;
    uint64_t zero_max = !run->dst->can_zero ? run->request_size
                        : options->compare  ? ZERO_MAX_COMPARED
                                            : ZERO_MAX;
    struct plan_config config = {
        .size = src->size,
        .request_size = run->request_size,
        .zero_size = zero_max,
        .read_align = run->align,
        .write_align = run->dst->block_min,
        .status_align = src->block_min,
        .has_allocation = allocation_pays(run),
        .has_changes = run->changes_context,
        .holes_unchanged = run->holes_unchanged,
        .skip_zeroes = options->target_zero || run->dst->reads_zero,
        .changes = run->changes_loaded ? &run->changes : NULL,
        .durable = run->durable.count ? &run->durable : NULL,
    };

    return plan_new(&config, err);
}

/* Moving */

static void report(void *opaque, uint64_t done, const char *trouble)
{
    struct run *run = opaque;
    struct copy_progress now = { .operation = run->operation, .trouble = trouble };

    if (!run->options->progress || !run->plan)
        return;
    now.bytes_total = plan_total(run->plan, &now.total_known);
    now.bytes_done = min(done, now.bytes_total);
    run->options->progress(run->options->opaque, &now);
}

static struct move_config move_defaults(struct run *run)
{
    const struct copy_options *options = run->options;

    return (struct move_config){
        .plan = run->plan,
        .lanes = run->lanes,
        .lanes_near = run->lanes_near,
        .lanes_first = options->connections ? run->lanes : 1,
        .requests = options->requests,
        .request_size = run->request_size,
        .retries = run_retries(options),
        .timeout_s = run_timeout_s(options),
        .patience_s = run_patience_s(options),
        .make_leaves = run->make_leaves,
        .expected_leaves_fd = -1,
        .rate = options->rate,
        .stop = &run->stop,
        .cancel = options->cancel,
        .progress = report,
        .opaque = run,
    };
}

static int move_data(struct run *run, struct error **err)
{
    const struct copy_options *options = run->options;
    bool has_journal = options->journal != NULL;
    struct durable_config durable_config = {
        .leaves_fd = run->leaves_fd,
        .leaves_name = run->leaves_name,
        .sync_leaves = has_journal,
        .journal = run->journal,
        .flush_bytes = has_journal ? FLUSH_BYTES_JOURNAL : FLUSH_BYTES,
        .flush_ns = has_journal ? FLUSH_NS_JOURNAL : FLUSH_NS,
    };
    struct move_config config = move_defaults(run);
    struct move_stats stats = { 0 };
    int r;

    if (options->flush_bytes)
        durable_config.flush_bytes = options->flush_bytes;
    config.durable = durable_new(&durable_config, err);
    if (!config.durable)
        return -1;
    config.src = run->src;
    config.dst = run->dst;
    config.expected_leaves_fd = options->compare ? run->leaves_fd : -1;
    config.copy_directly = run->copy_directly;
    run->operation = "copying";
    r = move_run(&config, &stats, err);
    durable_free(config.durable);
    run->result->bytes_read = stats.read;
    run->result->bytes_written = stats.written;
    run->result->bytes_zeroed = stats.zeroed;
    run->result->bytes_same = stats.same;
    run->result->reconnects = stats.reconnects;
    if (r == 0) {
        bool known;

        run->result->bytes_total = plan_total(run->plan, &known);
    }
    plan_free(steal_ptr(run->plan));
    return r;
}

/* Verifying */

/* The destination to be read: a local one past the page cache, where that can be. */
static struct end *open_again(struct run *run, struct error **err)
{
    struct end_wants wants = { .role = END_SOURCE, .direct = true, .stop = &run->stop };

    return run->dst->is_local && !run->dst->is_null ? end_open(run->dst_name, &wants, err)
                                                    : run->dst;
}

static int verify_written(struct run *run, struct end *disk, struct error **err)
{
    const struct copy_options *options = run->options;
    /* A whole copy is verified as a whole, also where zeroes were only assumed. */
    bool whole = !run_is_delta(run) && !options->compare && disk->has_extents[EXTENTS_ALLOCATION];
    CLEANUP_CHANGEMAP struct changemap written = CHANGEMAP_INIT;
    struct verify_config config = {
        .disk = disk,
        .size = run->src->size,
        .ranges = whole ? NULL : &written,
        .leaves_fd = run->leaves_fd,
        .move = move_defaults(run),
        .plan = &run->plan,
    };

    changemap_free(&run->changes);
    changemap_free(&run->durable);
    if (!whole && journal_read(run->journal, true, &written, err) < 0)
        return -1;
    run->operation = "verifying";
    return verify_disk(&config, &run->result->bytes_verified, err);
}

static int verify(struct run *run, struct error **err)
{
    struct end *disk;
    int r;

    if (!run->options->verify || run->dst->is_null)
        return 0;
    disk = open_again(run, err);
    if (!disk)
        return error_prefix(err, "verifying");
    r = verify_written(run, disk, err);
    if (disk != run->dst)
        end_close(disk);
    return r < 0 ? error_prefix(err, "verifying") : 0;
}

/* The digest */

static int finish_leaves(struct run *run, struct error **err)
{
    const struct copy_options *options = run->options;

    if (!run->make_leaves || !(options->leaves || options->digest))
        return 0;
    /* Its length says that it is whole: run_open_leaves() looks at it. */
    if (options->leaves &&
        (ftruncate(run->leaves_fd, (off_t)digest_leaves_size(run->src->size)) < 0 ||
         fsync(run->leaves_fd) < 0))
        return error_set_errno(err, errno, "syncing the leaves file %s", options->leaves);
    if (digest_root(run->leaves_fd, run->src->size, &run->result->digest, err) < 0)
        return -1;
    run->result->has_digest = true;
    return 0;
}

static void close_run(struct run *run)
{
    plan_free(run->plan);
    end_close(run->src);
    end_close(run->dst);
    journal_close(run->journal);
    changemap_free(&run->changes);
    changemap_free(&run->durable);
    if (run->leaves_fd >= 0)
        close(run->leaves_fd);
    free(run->leaves_name);
}

/* Everything up to the first byte. */
static int prepare(struct run *run, struct error **err)
{
    const struct copy_options *options = run->options;

    /* With a journal always: a later run may be asked for what an earlier was not. */
    run->make_leaves = options->leaves || options->digest || options->verify || options->journal;
    if (check_options(options, err) < 0 || load_changes(run, err) < 0 ||
        run_open_ends(run, err) < 0 || check_ends(run, err) < 0 || choose_geometry(run, err) < 0)
        return -1;
    run->result->size = run->src->size;
    if (run_open_journal(run, err) < 0 || run_open_leaves(run, err) < 0)
        return -1;
    run->plan = make_plan(run, err);
    return run->plan ? 0 : -1;
}

static int execute(struct run *run, struct error **err)
{
    if (prepare(run, err) < 0) {
        end_discard(run->dst);
        return -1;
    }
    if (move_data(run, err) < 0)
        return -1;
    if (verify(run, err) < 0) {
        run_spoil_leaves(run, *err);
        return -1;
    }
    return finish_leaves(run, err);
}

int copy_disk(const char *src, const char *dst, const struct copy_options *options,
              struct copy_result *result, struct error **err)
{
    static const struct copy_options defaults;
    int64_t started_ns = monotonic_ns();
    struct run run = { .src_name = src,
                       .dst_name = dst,
                       .options = options ? options : &defaults,
                       .result = result,
                       .leaves_fd = -1,
                       .changes = CHANGEMAP_INIT,
                       .durable = CHANGEMAP_INIT };
    int r;

    *result = (struct copy_result){ 0 };
    r = execute(&run, err);
    close_run(&run);
    result->seconds = (double)(monotonic_ns() - started_ns) / 1e9;
    if (r < 0 && (*err)->kind == ERROR_PAUSED && !run.options->journal && !run.options->resumable)
        (*err)->kind = ERROR_FAILED;
    return r;
}

int copy_digest(const char *disk, const char *leaves, const struct copy_options *options,
                struct copy_result *result, struct error **err)
{
    struct copy_options digest_options = options ? *options : (struct copy_options){ 0 };

    digest_options.digest = true;
    digest_options.leaves = leaves;
    return copy_disk(disk, "null:", &digest_options, result, err);
}
