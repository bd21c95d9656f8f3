/* What has been written, and what of it is safe; see durable.h. */
#include "copy/durable.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define PENDING_MAX ((size_t)32768)     /* ranges or leaves: a flush is due, whatever the bytes */
#define FLUSH_LEAST (UINT64_C(1) << 20) /* bytes, when connections are lost often */
#define MERGE_LOOK  8                   /* completions arrive nearly in order */

struct leaf {
    uint64_t block;
    struct digest digest;
};

/* One flush's worth. */
struct batch {
    struct journal_range *ranges;
    size_t count;
    size_t capacity;
    struct leaf *leaves;
    size_t leaf_count;
    size_t leaf_capacity;
    uint64_t bytes;
};

struct durable {
    pthread_mutex_t lock; /* protects all below */
    struct durable_config config;
    unsigned epoch;
    const void *flusher;   /* of this epoch; NULL: nobody has connected yet */
    uint64_t flush_bytes;  /* from FLUSH_LEAST to the configured; see durable_lost() */
    struct batch pending;  /* written, in this epoch */
    struct batch flushing; /* written before the flush in flight began */
    bool in_flush;
    int64_t last_flush_ns;
};

static void batch_free(struct batch *batch)
{
    free(batch->ranges);
    free(batch->leaves);
}

struct durable *durable_new(const struct durable_config *config, struct error **err)
{
    struct durable *durable = calloc(1, sizeof *durable);

    if (!durable) {
        error_set_errno(err, ENOMEM, "copying");
        return NULL;
    }
    pthread_mutex_init(&durable->lock, NULL);
    durable->config = *config;
    durable->flush_bytes = config->flush_bytes;
    durable->last_flush_ns = monotonic_ns();
    return durable;
}

void durable_free(struct durable *durable)
{
    if (!durable)
        return;
    pthread_mutex_destroy(&durable->lock);
    batch_free(&durable->pending);
    batch_free(&durable->flushing);
    free(durable);
}

unsigned durable_epoch(struct durable *durable)
{
    LOCK_SCOPE(&durable->lock);

    return durable->epoch;
}

void durable_connected(struct durable *durable, unsigned epoch, const void *lane)
{
    LOCK_SCOPE(&durable->lock);

    if (epoch == durable->epoch && !durable->flusher)
        durable->flusher = lane;
}

bool durable_is_flusher(struct durable *durable, const void *lane)
{
    LOCK_SCOPE(&durable->lock);

    return durable->flusher == lane;
}

static bool grow(void **array, size_t *capacity, size_t needed, size_t item)
{
    size_t wanted = *capacity ? *capacity : 256;
    void *grown;

    if (needed <= *capacity)
        return true;
    while (wanted < needed)
        wanted *= 2;
    grown = realloc(*array, wanted * item);
    if (!grown)
        return false;
    *array = grown;
    *capacity = wanted;
    return true;
}

static bool add_range(struct batch *batch, struct journal_range range)
{
    batch->bytes += range.length;
    for (size_t back = 1; back <= MERGE_LOOK && back <= batch->count; back++) {
        struct journal_range *old = &batch->ranges[batch->count - back];

        if (old->kind != range.kind)
            continue;
        if (old->offset + old->length == range.offset) {
            old->length += range.length;
            return true;
        }
        if (range.offset + range.length == old->offset) {
            old->offset = range.offset;
            old->length += range.length;
            return true;
        }
    }
    if (!grow((void **)&batch->ranges, &batch->capacity, batch->count + 1, sizeof *batch->ranges))
        return false;
    batch->ranges[batch->count++] = range;
    return true;
}

static bool add_leaves(struct batch *batch, const struct piece *piece, const struct digest *leaves)
{
    uint64_t first = piece->offset / DIGEST_BLOCK;
    size_t count = (size_t)((piece->length + DIGEST_BLOCK - 1) / DIGEST_BLOCK);

    if (!grow((void **)&batch->leaves, &batch->leaf_capacity, batch->leaf_count + count,
              sizeof *batch->leaves))
        return false;
    for (size_t i = 0; i < count; i++)
        batch->leaves[batch->leaf_count++] = (struct leaf){ first + i, leaves[i] };
    return true;
}

int durable_written(struct durable *durable, unsigned epoch, const struct piece *piece, bool same,
                    const struct digest *leaves)
{
    LOCK_SCOPE(&durable->lock);
    struct batch *batch = &durable->pending;
    enum journal_kind kind = same ? JOURNAL_SAME : piece->zero ? JOURNAL_ZERO : JOURNAL_DATA;

    if (epoch != durable->epoch)
        return 0;
    if (piece->zero &&
        !add_range(batch, (struct journal_range){ piece->offset, piece->length, kind }))
        return -1;
    for (unsigned i = 0; i < piece->count; i++) {
        struct journal_range range = { piece->offset + piece->segments[i].offset,
                                       piece->segments[i].length, kind };

        if (!add_range(batch, range))
            return -1;
    }
    if (leaves && !piece->zero && !add_leaves(batch, piece, leaves))
        return -1;
    return 1;
}

bool durable_is_pending(struct durable *durable)
{
    LOCK_SCOPE(&durable->lock);

    return durable->pending.count || durable->pending.leaf_count || durable->in_flush;
}

bool durable_flush_due(struct durable *durable, const void *lane, bool final, int64_t now_ns)
{
    LOCK_SCOPE(&durable->lock);
    const struct durable_config *config = &durable->config;
    struct batch *pending = &durable->pending;
    struct batch empty = durable->flushing;
    bool due = pending->bytes >= durable->flush_bytes || pending->count >= PENDING_MAX ||
               pending->leaf_count >= PENDING_MAX ||
               (pending->count && now_ns - durable->last_flush_ns >= config->flush_ns);

    final = final && (pending->count || pending->leaf_count);
    if (durable->flusher != lane || durable->in_flush || !(due || final))
        return false;
    /* The one that was flushed last is empty; its memory is used again. */
    durable->flushing = durable->pending;
    durable->pending = empty;
    durable->in_flush = true;
    return true;
}

static void batch_clear(struct batch *batch)
{
    batch->count = 0;
    batch->leaf_count = 0;
    batch->bytes = 0;
}

/* The file is made as long as it has to be to have them: run_open_leaves() looks at that. */
static int punch_leaves(int fd, const struct journal_range *range)
{
    struct stat st;
    uint64_t first = range->offset / DIGEST_BLOCK * sizeof(struct digest);
    uint64_t end =
        (range->offset + range->length + DIGEST_BLOCK - 1) / DIGEST_BLOCK * sizeof(struct digest);

    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)first,
                  (off_t)(end - first)) < 0 ||
        fstat(fd, &st) < 0)
        return -1;
    return (uint64_t)st.st_size < end ? ftruncate(fd, (off_t)end) : 0;
}

static int by_block(const void *a, const void *b)
{
    const struct leaf *x = a;
    const struct leaf *y = b;

    return x->block < y->block ? -1 : x->block > y->block;
}

/* Write the leaves, those of neighbouring blocks together. */
static int write_leaves(int fd, struct batch *batch)
{
    struct digest run[512];
    size_t i = 0;

    if (batch->leaf_count == 0)
        return 0;
    qsort(batch->leaves, batch->leaf_count, sizeof *batch->leaves, by_block);
    while (i < batch->leaf_count) {
        uint64_t first = batch->leaves[i].block;
        size_t n = 0;

        for (; i < batch->leaf_count && n < 512; i++) {
            if (batch->leaves[i].block == first + n)
                run[n++] = batch->leaves[i].digest;
            else if (batch->leaves[i].block == first + n - 1)
                run[n - 1] = batch->leaves[i].digest; /* read twice, the same */
            else
                break;
        }
        if (pwrite(fd, run, n * sizeof *run, (off_t)(first * sizeof *run)) !=
            (ssize_t)(n * sizeof *run))
            return -1;
    }
    return 0;
}

/* Zeroes have no leaf. A hole in a new leaves file stays one. */
static int save_leaves(const struct durable_config *config, struct batch *batch, struct error **err)
{
    int fd = config->leaves_fd;

    if (fd < 0)
        return 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->ranges[i].kind == JOURNAL_ZERO && punch_leaves(fd, &batch->ranges[i]) < 0)
            return error_set_errno(err, errno, "writing %s", config->leaves_name);
    }
    if (write_leaves(fd, batch) < 0)
        return error_set_errno(err, errno, "writing %s", config->leaves_name);
    if (config->sync_leaves && fdatasync(fd) < 0)
        return error_set_errno(err, errno, "writing %s", config->leaves_name);
    return 0;
}

int durable_flushed(struct durable *durable, struct error **err)
{
    struct batch *batch = &durable->flushing;
    int r = 0;

    /* While in_flush is set nobody else touches the batch, but durable_lost(). */
    pthread_mutex_lock(&durable->lock);
    if (save_leaves(&durable->config, batch, err) < 0 ||
        (durable->config.journal && batch->count &&
         journal_add(durable->config.journal, batch->ranges, batch->count, err) < 0))
        r = -1;
    else
        batch_clear(batch);
    durable->flush_bytes += durable->flush_bytes / 8;
    if (durable->flush_bytes > durable->config.flush_bytes)
        durable->flush_bytes = durable->config.flush_bytes;
    durable->in_flush = false;
    durable->last_flush_ns = monotonic_ns();
    pthread_mutex_unlock(&durable->lock);
    return r;
}

void durable_not_flushed(struct durable *durable)
{
    LOCK_SCOPE(&durable->lock);

    durable->in_flush = false;
    durable->last_flush_ns = monotonic_ns();
}

static bool give_back(struct batch *batch, struct plan *plan, uint64_t *bytes)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (plan_again(plan, batch->ranges[i].offset, batch->ranges[i].length,
                       batch->ranges[i].kind == JOURNAL_ZERO) < 0)
            return false;
    }
    *bytes += batch->bytes;
    batch_clear(batch);
    return true;
}

int durable_lost(struct durable *durable, unsigned epoch, struct plan *plan, uint64_t *bytes)
{
    LOCK_SCOPE(&durable->lock);

    *bytes = 0;
    if (epoch != durable->epoch)
        return 0;
    durable->epoch++;
    durable->flusher = NULL;
    if (!give_back(&durable->flushing, plan, bytes) || !give_back(&durable->pending, plan, bytes))
        return -1;
    /* Over a connection that is lost again and again, only what is flushed before
     * the next loss is progress: flush more often, until it lasts longer. */
    if (*bytes / 2 < durable->flush_bytes)
        durable->flush_bytes = *bytes / 2 < FLUSH_LEAST ? FLUSH_LEAST : *bytes / 2;
    return 0;
}
