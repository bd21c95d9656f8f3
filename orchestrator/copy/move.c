/* The move; see move.h.
 *
 * A lane's turn: bring lost connections back, start again what waits, start new
 * pieces while the window has room, flush when it is due, wait for something to
 * complete, and act on what completed. A piece is read into a slot's buffer,
 * looked at (digest, zeroes, comparison), written from the same buffer, and only
 * then called written.
 *
 * In flight are a lane's slots that are not free; their bytes are counted where
 * a slot is taken (start_piece) and given back (finish_slot), nowhere else. */
#include "copy/move.h"

#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "copy/retry.h"
#include "copy/window.h"

#define MEMORY_MAX    (UINT64_C(32) << 20) /* all buffers of all lanes */
#define WINDOW_PIECES 4
#define WRITES_MAX    32 /* of a piece; more than PIECE_SEGMENTS */
#define TICK_MS       100
#define JOIN_BYTES    (UINT64_C(128) << 20) /* what the first lane reads before others connect */
#define JOIN_WINDOW   (UINT64_C(4) << 20)   /* a link that takes so much is a long one */
#define SLOW_FACTOR   10 /* flushing and zeroing may take so much longer than a read */

struct mover;
struct lane;

struct slot {
    struct lane *lane;
    struct slot *next_free;
    struct piece piece;
    char *buf;
    struct digest *leaves; /* one for each block of a piece */
    int64_t started_ns;
    unsigned epoch; /* of the connection that the first write went to */
    bool reading;
    bool given_up;                       /* a request failed for good */
    unsigned outstanding;                /* requests not completed */
    unsigned count;                      /* of writes */
    struct request requests[WRITES_MAX]; /* [0] is the read, then the writes */
};

enum side { SOURCE, DESTINATION };

/* A lane's connection to one end. */
struct link {
    struct conn conn;
    unsigned failures;     /* in a row */
    int64_t not_before_ns; /* when to try to connect again */
    unsigned epoch;        /* destination: see durable.h */
    bool was_up;
};

struct lane {
    struct mover *mover;
    pthread_t thread;
    struct link links[2];
    struct request_list completed;
    struct request_list waiting; /* to be started again */
    struct slot *slots;
    struct slot *free;
    unsigned busy;      /* slots not free */
    uint64_t in_flight; /* bytes of them */
    struct window window;
    struct request status;
    bool asking;
    struct request flush;
    bool flushing;
    bool flushed; /* the final flush is done */
    bool plan_done;
    int64_t pace_ns; /* the rate lets nothing start before */
    int64_t stopped_ns;
    int wake_fd;
    char *buffers;
    size_t buffers_size;
    char *zeroes; /* of a request's size; never written to */
    struct digest *leaves;
    struct move_stats stats;
};

struct mover {
    const struct move_config *config;
    pthread_mutex_t lock; /* protects err, active, pace_ns; changed is signalled with it */
    pthread_cond_t changed;
    struct error *err; /* the first */
    unsigned active;   /* lanes that run */
    unsigned wanted;   /* lanes that are worth their connections */
    int64_t pace_ns;   /* see take_pace() */
    unsigned lane_count;
    unsigned started; /* lanes whose thread was started; the main thread's */
    struct lane *lanes;
    atomic_uint_fast64_t done;
    atomic_bool slow_zero; /* the destination refused to zero fast */
    atomic_bool no_flush;  /* a flush failed: never believe a later one */
};

static bool stopping(const struct mover *mover)
{
    return atomic_load_explicit(mover->config->stop, memory_order_relaxed);
}

static void wake_all(struct mover *mover)
{
    for (unsigned i = 0; i < mover->lane_count; i++)
        eventfd_write(mover->lanes[i].wake_fd, 1);
}

/* Stop everything for this reason, which becomes ours; the first one counts. */
static void fail(struct mover *mover, struct error **err)
{
    pthread_mutex_lock(&mover->lock);
    if (!mover->err)
        mover->err = steal_ptr(*err);
    pthread_mutex_unlock(&mover->lock);
    error_clear(err);
    atomic_store(mover->config->stop, true);
    wake_all(mover);
}

static enum side side_of(const struct request *req)
{
    return req->op == OP_READ || req->op == OP_STATUS ? SOURCE : DESTINATION;
}

static const char *op_name(enum op op)
{
    static const char *const names[] = {
        "reading", "writing", "zeroing", "flushing", "asking for block status of", "copying"
    };

    return names[op];
}

static const char *reason(const struct request *req)
{
    if (req->errnum == EPROTO)
        return "the answer is not as long as what was asked for";
    return req->conn && req->conn->why[0] && req->errnum == ENOTCONN ? req->conn->why
                                                                     : strerror(req->errnum);
}

static void fail_request(struct mover *mover, const struct request *req)
{
    CLEANUP_ERROR struct error *err = NULL;
    const struct end *end = side_of(req) == SOURCE ? mover->config->src : mover->config->dst;
    bool worth_retrying = retry_is_worthwhile(req->errnum);

    error_set(&err, "%s: %s %" PRIu64 " bytes at offset %" PRIu64 "%s: %s", end->name,
              op_name(req->op), req->length, req->offset,
              worth_retrying ? " (tried again and again)" : "", reason(req));
    err->errnum = req->errnum;
    if (worth_retrying || retry_later_helps(req->errnum))
        err->kind = ERROR_PAUSED;
    fail(mover, &err);
}

/* Connections */

static void link_down(struct lane *lane, enum side side, struct error **why)
{
    struct link *link = &lane->links[side];
    const struct move_config *config = lane->mover->config;
    CLEANUP_ERROR struct error *err = NULL;
    uint64_t bytes = 0;

    conn_disconnect(&link->conn, false); /* what was in flight completes with an error */
    lane->flushed = false;
    if (side == DESTINATION) {
        if (durable_lost(config->durable, link->epoch, config->plan, &bytes) < 0) {
            error_set_errno(&err, ENOMEM, "copying");
            fail(lane->mover, &err);
        }
        atomic_fetch_sub(&lane->mover->done, bytes);
        lane->plan_done = false;
    }
    window_forget(&lane->window);
    if (++link->failures > config->retries) {
        if (why && *why)
            error_move(&err, why);
        else
            error_set(&err, "%s: the connection was lost%s%s", link->conn.end->name,
                      link->conn.why[0] ? ": " : "", link->conn.why);
        error_prefix(&err, "gave up after %u tries in a row", link->failures);
        if (err->kind != ERROR_USAGE)
            err->kind = ERROR_PAUSED;
        fail(lane->mover, &err);
    }
    link->not_before_ns = monotonic_ns() + retry_delay_ns(link->failures);
}

static void link_up(struct lane *lane, enum side side)
{
    struct link *link = &lane->links[side];
    CLEANUP_ERROR struct error *err = NULL;

    if (link->conn.handle || monotonic_ns() < link->not_before_ns)
        return;
    link->epoch = durable_epoch(lane->mover->config->durable);
    if (conn_connect(&link->conn, &err) == 0) {
        lane->stats.reconnects += link->was_up;
        link->was_up = true;
    } else if (err->kind == ERROR_USAGE) {
        fail(lane->mover, &err); /* another disk: no use to try again */
    } else {
        link_down(lane, side, &err);
    }
}

static bool link_is_stalled(const struct lane *lane, const struct link *link, int64_t now)
{
    const struct move_config *config = lane->mover->config;
    int64_t limit = (int64_t)config->timeout_s * 1000000000;

    if (link->conn.slow_in_flight)
        limit *= SLOW_FACTOR;
    return link->conn.in_flight && now - link->conn.heard_ns > limit;
}

static void check_links(struct lane *lane)
{
    int64_t now = monotonic_ns();

    for (int side = SOURCE; side <= DESTINATION; side++) {
        struct link *link = &lane->links[side];
        CLEANUP_ERROR struct error *err = NULL;

        if (!link->conn.handle || link->conn.end->is_local)
            continue;
        if (!conn_is_alive(&link->conn)) {
            link_down(lane, (enum side)side, &err);
        } else if (link_is_stalled(lane, link, now)) {
            error_set_errno(&err, ETIMEDOUT, "%s: no answer", link->conn.end->name);
            link_down(lane, (enum side)side, &err);
        }
    }
}

/* Requests */

static void wait_until(struct lane *lane, struct request *req, int64_t not_before_ns)
{
    req->not_before_ns = not_before_ns;
    request_list_add(&lane->waiting, req);
}

static void start(struct lane *lane, struct request *req)
{
    struct link *link = &lane->links[side_of(req)];

    if (!link->conn.handle) {
        wait_until(lane, req, 0);
        return;
    }
    if (req->op == OP_WRITE || req->op == OP_ZERO) {
        struct slot *slot = req->owner;

        if (slot->outstanding == slot->count)
            slot->epoch = link->epoch; /* nothing of it went anywhere else */
    }
    conn_start(&link->conn, req);
}

/* Whether a failed request will be started again; else its failure is final. */
static bool retry(struct lane *lane, struct request *req)
{
    struct mover *mover = lane->mover;
    struct link *link = &lane->links[side_of(req)];

    if (req->op == OP_ZERO && req->errnum == ENOTSUP && !req->slow_zero) {
        atomic_store(&mover->slow_zero, true);
        req->slow_zero = true;
        start(lane, req);
        return true;
    }
    if (stopping(mover))
        return false;
    req->attempts++;
    if (conn_is_alive(&link->conn) && !retry_is_worthwhile(req->errnum)) {
        fail_request(mover, req);
        return false;
    }
    if (req->attempts > mover->config->retries) {
        fail_request(mover, req);
        return false;
    }
    wait_until(lane, req,
               conn_is_alive(&link->conn) ? monotonic_ns() + retry_delay_ns(req->attempts) : 0);
    return true;
}

/* Start again what has waited long enough; when stopping, nothing waits. */
static void restart_waiting(struct lane *lane)
{
    struct request_list waiting = lane->waiting;
    struct request *req;
    int64_t now;

    if (!waiting.head)
        return;
    if (waiting.tail == &lane->waiting.head)
        waiting.tail = &waiting.head;
    request_list_init(&lane->waiting);
    now = monotonic_ns();
    while ((req = request_list_take(&waiting))) {
        if (stopping(lane->mover)) {
            req->errnum = ECANCELED;
            request_list_add(&lane->completed, req);
        } else if (now < req->not_before_ns || !lane->links[side_of(req)].conn.handle) {
            request_list_add(&lane->waiting, req);
        } else {
            start(lane, req);
        }
    }
}

/* Pieces */

/* What a piece takes of the window. Small ones cost more than their bytes. */
static uint64_t cost(const struct lane *lane, const struct piece *piece)
{
    uint64_t least = lane->mover->config->request_size / WINDOW_PIECES;

    if (piece->zero)
        return lane->mover->config->request_size;
    return piece->length > least ? piece->length : least;
}

static void finish_slot(struct lane *lane, struct slot *slot)
{
    lane->busy--;
    lane->in_flight -= cost(lane, &slot->piece);
    slot->next_free = lane->free;
    lane->free = slot;
}

static void start_writes(struct lane *lane, struct slot *slot)
{
    slot->reading = false;
    slot->epoch = lane->links[DESTINATION].epoch;
    slot->outstanding = slot->count;
    for (unsigned i = 0; i < slot->count; i++)
        start(lane, &slot->requests[i]);
}

static void count_piece(struct lane *lane, const struct slot *slot)
{
    uint64_t moved = slot->piece.zero ? slot->piece.length : 0;

    for (unsigned i = 0; i < slot->piece.count; i++)
        moved += slot->piece.segments[i].length;
    atomic_fetch_add_explicit(&lane->mover->done, moved, memory_order_relaxed);
    lane->stats.same += slot->count == 0 ? moved : 0;
    for (unsigned i = 0; i < slot->count; i++) {
        if (slot->requests[i].op == OP_ZERO)
            lane->stats.zeroed += slot->requests[i].length;
        else
            lane->stats.written += slot->requests[i].length;
    }
}

static void want_lanes(struct mover *mover, unsigned count)
{
    LOCK_SCOPE(&mover->lock);

    if (mover->wanted >= count)
        return;
    mover->wanted = count;
    pthread_cond_broadcast(&mover->changed);
}

static void sample_window(struct lane *lane, const struct slot *slot)
{
    struct window *window = &lane->window;
    uint64_t before = window->limit;

    window_sample(window, cost(lane, &slot->piece), monotonic_ns() - slot->started_ns);
    if (before < JOIN_WINDOW && window->limit >= JOIN_WINDOW)
        want_lanes(lane->mover, lane->mover->config->lanes);
}

/* All of the piece is on the destination, or was there already. */
static void piece_written(struct lane *lane, struct slot *slot)
{
    const struct move_config *config = lane->mover->config;
    CLEANUP_ERROR struct error *err = NULL;
    unsigned epoch = slot->count ? slot->epoch : durable_epoch(config->durable);
    bool has_leaves = config->make_leaves && !slot->piece.zero;
    int r = durable_written(config->durable, epoch, &slot->piece, slot->count == 0,
                            has_leaves ? slot->leaves : NULL);

    if (r < 0) {
        error_set_errno(&err, ENOMEM, "copying");
        fail(lane->mover, &err);
    } else if (r == 0 && !stopping(lane->mover)) {
        /* A connection was lost that may have taken some of it along: once more, and
         * over a connection made after that. */
        struct link *link = &lane->links[DESTINATION];

        if (link->conn.handle && link->epoch == slot->epoch)
            link_down(lane, DESTINATION, &err);
        start_writes(lane, slot);
        return;
    } else if (r > 0) {
        count_piece(lane, slot);
        sample_window(lane, slot);
    }
    finish_slot(lane, slot);
}

static void add_write(struct lane *lane, struct slot *slot, uint64_t offset, uint64_t length,
                      bool zero)
{
    bool send_zeroes = zero && !lane->mover->config->dst->can_zero;

    slot->requests[slot->count++] =
        (struct request){ .op = zero && !send_zeroes ? OP_ZERO : OP_WRITE,
                          .offset = offset,
                          .length = length,
                          .buf = slot->piece.zero ? lane->zeroes
                                                  : slot->buf + (offset - slot->piece.offset),
                          .slow_zero = atomic_load(&lane->mover->slow_zero),
                          .owner = slot };
}

/* Whether the leaves of blocks [first, first + count) that the destination has
 * now are those of `leaves`; NULL stands for zeroes. same[] says it for each. */
static int compare_leaves(struct lane *lane, uint64_t first, size_t count,
                          const struct digest *leaves, bool *same)
{
    static const struct digest zero_leaf;
    CLEANUP_ERROR struct error *err = NULL;
    struct digest have[64];
    int fd = lane->mover->config->expected_leaves_fd;

    for (size_t done = 0; done < count;) {
        size_t n = count - done < 64 ? count - done : 64;
        ssize_t got;

        memset(have, 0, sizeof have);
        got = pread(fd, have, n * sizeof *have, (off_t)((first + done) * sizeof *have));
        if (got < 0) {
            error_set_errno(&err, errno, "reading the leaves file");
            fail(lane->mover, &err);
            return -1;
        }
        for (size_t i = 0; i < n; i++)
            same[done + i] = digest_equal(&have[i], leaves ? &leaves[done + i] : &zero_leaf);
        done += n;
    }
    return 0;
}

/* These blocks are about to be written: until that is durable their leaves say
 * "not known", so that a comparison after a crash sends them again. */
static int forget_leaves(struct lane *lane, uint64_t first, size_t count)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct digest unknown[64];

    memset(unknown, 0xff, sizeof unknown);
    for (size_t done = 0; done < count;) {
        size_t n = count - done < 64 ? count - done : 64;

        if (pwrite(lane->mover->config->expected_leaves_fd, unknown, n * sizeof *unknown,
                   (off_t)((first + done) * sizeof *unknown)) < 0) {
            error_set_errno(&err, errno, "writing the leaves file");
            fail(lane->mover, &err);
            return -1;
        }
        done += n;
    }
    return 0;
}

/* A block that is not what its leaf says. */
static void fail_difference(struct lane *lane, uint64_t offset)
{
    const struct move_config *config = lane->mover->config;
    CLEANUP_ERROR struct error *err = NULL;

    error_set(&err, "%s: what was written is not there: the block at offset %" PRIu64 " differs",
              config->src->name, offset);
    fail(lane->mover, &err);
}

static bool is_zero(const char *data, size_t length)
{
    return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

enum fate { KEEP, WRITE, ZERO };

/* What happens to the blocks of a piece that has been read. */
static int decide(struct lane *lane, struct slot *slot, enum fate *fates, size_t blocks)
{
    const struct move_config *config = lane->mover->config;
    const struct piece *piece = &slot->piece;
    uint64_t first = piece->offset / DIGEST_BLOCK;
    bool same[MOVE_BLOCKS_MAX];

    for (size_t i = 0; i < blocks; i++) {
        uint64_t start = i == 0 ? piece->offset : (first + i) * DIGEST_BLOCK;
        uint64_t end = (first + i + 1) * DIGEST_BLOCK;
        char *data = slot->buf + (start - piece->offset);
        bool zero;

        if (end > piece->offset + piece->length)
            end = piece->offset + piece->length;
        if (config->make_leaves) {
            static const struct digest zero_leaf;

            slot->leaves[i] = digest_leaf(data, end - start);
            zero = digest_equal(&slot->leaves[i], &zero_leaf);
        } else {
            /* Short of a whole block the request costs more than the bytes. */
            zero = end - start == DIGEST_BLOCK && config->dst->can_zero && !config->dst->is_null &&
                   is_zero(data, end - start);
        }
        fates[i] = !zero || end - start < DIGEST_BLOCK ? WRITE
                   : config->dst->reads_zero           ? KEEP
                                                       : ZERO;
    }
    if (config->expected_leaves_fd < 0)
        return 0;
    if (compare_leaves(lane, first, blocks, slot->leaves, same) < 0)
        return -1;
    for (size_t i = 0; i < blocks; i++) {
        if (same[i])
            fates[i] = KEEP;
        else if (config->differences_fail)
            fail_difference(lane, (first + i) * DIGEST_BLOCK);
        else if (forget_leaves(lane, first + i, 1) < 0)
            return -1;
    }
    return 0;
}

/* Cut a segment into requests by its blocks' fates. Each segment that is still
 * to come may need one request of its own; when room gets short, a block is
 * written together with the one before it, which is never wrong. */
static void cut_segment(struct lane *lane, struct slot *slot, const struct segment *segment,
                        const enum fate *fates, unsigned to_come)
{
    const struct piece *piece = &slot->piece;
    uint64_t pos = piece->offset + segment->offset;
    uint64_t end = pos + segment->length;
    unsigned first_request = slot->count;

    while (pos < end) {
        size_t block = (size_t)(pos / DIGEST_BLOCK - piece->offset / DIGEST_BLOCK);
        uint64_t until = (pos / DIGEST_BLOCK + 1) * DIGEST_BLOCK;
        struct request *last =
            slot->count > first_request ? &slot->requests[slot->count - 1] : NULL;
        bool touches = last && last->offset + last->length == pos;
        bool is_short = slot->count + to_come + 2 > WRITES_MAX;
        enum fate fate = fates[block];

        if (until > end)
            until = end;
        if (is_short && touches) {
            last->op = OP_WRITE;
            last->length += until - pos;
        } else if (fate != KEEP || is_short) {
            enum op op = fate == ZERO && lane->mover->config->dst->can_zero ? OP_ZERO : OP_WRITE;

            if (touches && last->op == op)
                last->length += until - pos;
            else
                add_write(lane, slot, pos, until - pos, op == OP_ZERO);
        }
        pos = until;
    }
}

static void count_read(struct lane *lane, uint64_t bytes)
{
    uint64_t before = lane->stats.read;

    lane->stats.read += bytes;
    if (before < JOIN_BYTES && lane->stats.read >= JOIN_BYTES)
        want_lanes(lane->mover, lane->mover->config->lanes_near);
}

/* A piece has been read: look at it, then write what has to be written. */
static void piece_read(struct lane *lane, struct slot *slot)
{
    const struct piece *piece = &slot->piece;
    enum fate fates[MOVE_BLOCKS_MAX];
    size_t blocks = (size_t)((piece->offset + piece->length - 1) / DIGEST_BLOCK -
                             piece->offset / DIGEST_BLOCK + 1);

    count_read(lane, piece->length);
    slot->count = 0;
    if (decide(lane, slot, fates, blocks) == 0) {
        for (unsigned i = 0; i < piece->count; i++)
            cut_segment(lane, slot, &piece->segments[i], fates, piece->count - i - 1);
    }
    if (stopping(lane->mover)) {
        finish_slot(lane, slot);
        return;
    }
    start_writes(lane, slot);
    if (slot->count == 0)
        piece_written(lane, slot);
}

/* Zeroes need no reading. Compared, they are left alone where they are already. */
static void start_zeroes(struct lane *lane, struct slot *slot)
{
    const struct move_config *config = lane->mover->config;
    const struct piece *piece = &slot->piece;
    uint64_t end = piece->offset + piece->length;
    uint64_t pos = piece->offset;
    bool same[64];

    slot->count = 0;
    if (config->expected_leaves_fd < 0) {
        add_write(lane, slot, piece->offset, piece->length, true);
        pos = end;
    }
    while (pos < end) {
        uint64_t first = pos / DIGEST_BLOCK;
        off_t data =
            lseek(config->expected_leaves_fd, (off_t)(first * sizeof(struct digest)), SEEK_DATA);
        size_t count = 64;

        if (data < 0 && errno == ENXIO)
            break; /* no leaves from here on */
        if (data >= 0 && (uint64_t)data / sizeof(struct digest) > first) {
            pos = (uint64_t)data / sizeof(struct digest) * DIGEST_BLOCK;
            continue;
        }
        if ((end - 1) / DIGEST_BLOCK - first + 1 < count)
            count = (size_t)((end - 1) / DIGEST_BLOCK - first + 1);
        if (compare_leaves(lane, first, count, NULL, same) < 0)
            break;
        for (size_t i = 0; i < count; i++) {
            if (same[i])
                continue;
            if (config->differences_fail)
                fail_difference(lane, (first + i) * DIGEST_BLOCK);
            else if (forget_leaves(lane, first + i, 1) == 0 && slot->count == 0)
                add_write(lane, slot, piece->offset, piece->length, true);
        }
        pos = (first + count) * DIGEST_BLOCK;
    }
    if (stopping(lane->mover)) {
        finish_slot(lane, slot);
        return;
    }
    start_writes(lane, slot);
    if (slot->count == 0)
        piece_written(lane, slot);
}

/* Nobody has to see the data: the destination fetches it. */
static void start_copies(struct lane *lane, struct slot *slot)
{
    const struct piece *piece = &slot->piece;

    slot->count = piece->count;
    for (unsigned i = 0; i < piece->count; i++) {
        const struct segment *segment = &piece->segments[i];

        slot->requests[i] = (struct request){ .op = OP_COPY,
                                              .offset = piece->offset + segment->offset,
                                              .length = segment->length,
                                              .from = lane->mover->config->src,
                                              .owner = slot };
        count_read(lane, segment->length);
    }
    start_writes(lane, slot);
}

static void start_piece(struct lane *lane, const struct piece *piece)
{
    struct slot *slot = lane->free;

    lane->free = slot->next_free;
    lane->busy++;
    lane->in_flight += cost(lane, piece);
    slot->piece = *piece;
    slot->given_up = false;
    slot->started_ns = monotonic_ns();
    if (piece->zero) {
        start_zeroes(lane, slot);
        return;
    }
    if (lane->mover->config->copy_directly) {
        start_copies(lane, slot);
        return;
    }
    slot->reading = true;
    slot->outstanding = 1;
    slot->requests[0] = (struct request){ .op = OP_READ,
                                          .offset = piece->offset,
                                          .length = piece->length,
                                          .buf = slot->buf,
                                          .owner = slot };
    start(lane, &slot->requests[0]);
}

static void slot_completed(struct lane *lane, struct request *req)
{
    struct slot *slot = req->owner;

    if (req->errnum && retry(lane, req))
        return;
    if (req->errnum)
        slot->given_up = true;
    if (--slot->outstanding)
        return;
    if (slot->given_up)
        finish_slot(lane, slot);
    else if (slot->reading)
        piece_read(lane, slot);
    else
        piece_written(lane, slot);
}

/* Questions to the source, flushes of the destination */

static void on_extents(struct request *req, enum extents_kind kind, uint64_t offset,
                       const uint32_t *entries, size_t pairs)
{
    struct lane *lane = req->owner;

    plan_extents(lane->mover->config->plan, kind, offset, entries, pairs);
}

static void ask(struct lane *lane)
{
    uint64_t offset;
    uint64_t length;

    if (lane->asking || !plan_question(lane->mover->config->plan, &offset, &length))
        return;
    lane->asking = true;
    lane->status = (struct request){
        .op = OP_STATUS, .offset = offset, .length = length, .extents = on_extents, .owner = lane
    };
    start(lane, &lane->status);
}

static void status_completed(struct lane *lane)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct mover *mover = lane->mover;

    if (lane->status.errnum && retry(lane, &lane->status))
        return;
    lane->asking = false;
    if (lane->status.errnum)
        return;
    if (plan_answered(mover->config->plan, &err) < 0) {
        error_prefix(&err, "%s", mover->config->src->name);
        fail(mover, &err);
    }
    wake_all(mover);
}

static bool is_last(struct mover *mover)
{
    LOCK_SCOPE(&mover->lock);

    return mover->active == 1;
}

static bool is_idle(const struct lane *lane)
{
    return lane->busy == 0 && !lane->asking && !lane->flushing && !lane->waiting.head &&
           !lane->completed.head;
}

static void flush_if_due(struct lane *lane)
{
    struct mover *mover = lane->mover;
    bool final =
        !lane->flushed && is_idle(lane) && (lane->plan_done || stopping(mover)) && is_last(mover);

    if (lane->flushing || !lane->links[DESTINATION].conn.handle || atomic_load(&mover->no_flush) ||
        !durable_flush_due(mover->config->durable, final, monotonic_ns()))
        return;
    lane->flushing = true;
    lane->flush = (struct request){ .op = OP_FLUSH, .owner = lane };
    if (mover->config->dst->can_flush)
        start(lane, &lane->flush);
    else
        request_list_add(&lane->completed, &lane->flush);
}

static void flush_completed(struct lane *lane)
{
    struct mover *mover = lane->mover;
    struct durable *durable = mover->config->durable;
    CLEANUP_ERROR struct error *err = NULL;

    lane->flushing = false;
    if (lane->flush.errnum == 0) {
        if (durable_flushed(durable, &err) < 0) {
            atomic_store(&mover->no_flush, true);
            fail(mover, &err);
        }
        lane->flushed = is_last(mover) && is_idle(lane) && !durable_is_pending(durable);
        return;
    }
    durable_not_flushed(durable);
    if (!conn_is_alive(&lane->links[DESTINATION].conn))
        return; /* lost: what was not flushed is written once more */
    atomic_store(&mover->no_flush, true);
    error_set_errno(&err, lane->flush.errnum,
                    "%s: flushing failed, so what was written last may not be there",
                    mover->config->dst->name);
    if (err)
        err->kind = ERROR_PAUSED;
    fail(mover, &err);
}

/* The lane */

static void complete(struct lane *lane)
{
    struct request *req;

    while ((req = request_list_take(&lane->completed))) {
        if (req->errnum == 0)
            lane->links[side_of(req)].failures = 0;
        if (req == &lane->status)
            status_completed(lane);
        else if (req == &lane->flush)
            flush_completed(lane);
        else
            slot_completed(lane, req);
    }
}

/* Whether the rate lets a piece start now; lane->pace_ns says when it will. What
 * starts is paid for afterwards, by take_pace(). */
static bool pace_allows(struct lane *lane, int64_t now)
{
    struct mover *mover = lane->mover;
    atomic_uint_fast64_t *rate = mover->config->rate;

    lane->pace_ns = 0;
    if (!rate || atomic_load(rate) == 0)
        return true;
    pthread_mutex_lock(&mover->lock);
    if (mover->pace_ns > now + INT64_C(1000000000))
        mover->pace_ns = now + INT64_C(1000000000); /* the rate was raised meanwhile */
    if (mover->pace_ns > now)
        lane->pace_ns = mover->pace_ns;
    pthread_mutex_unlock(&mover->lock);
    return lane->pace_ns == 0;
}

static void take_pace(struct mover *mover, uint64_t bytes, int64_t now)
{
    uint64_t rate = mover->config->rate ? atomic_load(mover->config->rate) : 0;

    if (rate == 0)
        return;
    pthread_mutex_lock(&mover->lock);
    if (mover->pace_ns < now)
        mover->pace_ns = now;
    mover->pace_ns += (int64_t)((double)bytes * 1e9 / (double)rate);
    pthread_mutex_unlock(&mover->lock);
}

static bool has_room(const struct lane *lane)
{
    const struct move_config *config = lane->mover->config;

    if (!lane->free)
        return false;
    return config->requests ? lane->busy < config->requests : lane->in_flight < lane->window.limit;
}

static void fill(struct lane *lane)
{
    struct mover *mover = lane->mover;
    struct piece piece;

    while (!stopping(mover) && has_room(lane) && lane->links[SOURCE].conn.handle &&
           lane->links[DESTINATION].conn.handle) {
        int64_t now = mover->config->rate ? monotonic_ns() : 0;
        enum plan_answer answer;

        ask(lane);
        complete(lane); /* a local end has answered already */
        if (!has_room(lane) || !pace_allows(lane, now))
            return;
        answer = plan_next(mover->config->plan, &piece);
        lane->plan_done = answer == PLAN_DONE;
        if (answer != PLAN_PIECE)
            return;
        if (!piece.zero)
            take_pace(mover, piece.length, now);
        start_piece(lane, &piece);
        complete(lane);
    }
}

static int timeout_ms(const struct lane *lane)
{
    int64_t now;

    if (lane->completed.head)
        return 0;
    if (!lane->pace_ns)
        return TICK_MS;
    now = monotonic_ns();
    if (lane->pace_ns <= now)
        return 0;
    return lane->pace_ns - now > TICK_MS * INT64_C(1000000)
               ? TICK_MS
               : (int)((lane->pace_ns - now) / 1000000) + 1;
}

static void wait_and_dispatch(struct lane *lane)
{
    struct pollfd pollfds[3] = { { .fd = lane->wake_fd, .events = POLLIN },
                                 { .fd = -1 },
                                 { .fd = -1 } };
    eventfd_t unused;

    for (int side = SOURCE; side <= DESTINATION; side++) {
        struct conn *conn = &lane->links[side].conn;

        if (conn->handle && !conn->end->is_local)
            conn->end->ops->prepare_poll(conn, &pollfds[1 + side]);
    }
    if (poll(pollfds, 3, timeout_ms(lane)) < 0)
        return;
    if (pollfds[0].revents)
        eventfd_read(lane->wake_fd, &unused);
    for (int side = SOURCE; side <= DESTINATION; side++) {
        struct conn *conn = &lane->links[side].conn;

        if (pollfds[1 + side].revents)
            conn->end->ops->dispatch(conn, &pollfds[1 + side]);
    }
}

/* When stopping, what is in flight gets some time to complete. */
static void limit_drain(struct lane *lane)
{
    int64_t now;

    if (!stopping(lane->mover))
        return;
    now = monotonic_ns();
    if (lane->stopped_ns == 0)
        lane->stopped_ns = now;
    if (now - lane->stopped_ns > lane->mover->config->timeout_s * INT64_C(1000000000)) {
        conn_disconnect(&lane->links[SOURCE].conn, false);
        conn_disconnect(&lane->links[DESTINATION].conn, false);
    }
}

/* Leave, unless this is the last lane and the last flush is still to be done. */
static bool leave(struct lane *lane)
{
    struct mover *mover = lane->mover;
    LOCK_SCOPE(&mover->lock);

    if (!is_idle(lane) || !(lane->plan_done || stopping(mover)))
        return false;
    if (mover->active == 1 && !lane->flushed) {
        bool can_flush = lane->links[DESTINATION].conn.handle && !atomic_load(&mover->no_flush);

        if (!stopping(mover) || can_flush)
            return false;
    }
    mover->active--;
    pthread_cond_broadcast(&mover->changed);
    return true;
}

/* Not when the next turn is the last: to leave, or to flush before that. */
static bool has_to_wait(const struct lane *lane)
{
    bool over = lane->plan_done || stopping(lane->mover);

    return !(is_idle(lane) && over && lane->links[DESTINATION].conn.handle);
}

static void *lane_main(void *opaque)
{
    struct lane *lane = opaque;

    while (!leave(lane)) {
        if (!stopping(lane->mover)) {
            link_up(lane, SOURCE);
            link_up(lane, DESTINATION);
        }
        restart_waiting(lane);
        fill(lane);
        flush_if_due(lane);
        complete(lane);
        if (has_to_wait(lane))
            wait_and_dispatch(lane);
        complete(lane);
        check_links(lane);
        limit_drain(lane);
    }
    wake_all(lane->mover); /* one of them is the last now, perhaps */
    return NULL;
}

/* All lanes */

static int init_lane(struct mover *mover, struct lane *lane, struct error **err)
{
    const struct move_config *config = mover->config;
    size_t page = 4096;
    size_t buffer = ((size_t)config->request_size + page - 1) / page * page;
    uint64_t share = MEMORY_MAX / config->lanes;
    size_t slots = (size_t)(share / buffer);
    size_t blocks = (size_t)(config->request_size / DIGEST_BLOCK + 2);

    lane->mover = mover;
    lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    request_list_init(&lane->completed);
    request_list_init(&lane->waiting);
    lane->links[SOURCE].conn = (struct conn){ .end = config->src, .completed = &lane->completed };
    lane->links[DESTINATION].conn =
        (struct conn){ .end = config->dst, .completed = &lane->completed };
    if (slots < 1)
        slots = 1;
    window_init(&lane->window, WINDOW_PIECES * config->request_size, share);
    lane->buffers_size = (slots + 1) * buffer;
    lane->buffers = mmap(NULL, lane->buffers_size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    lane->slots = calloc(slots, sizeof *lane->slots);
    lane->leaves = calloc(slots * blocks, sizeof *lane->leaves);
    if (lane->wake_fd < 0 || lane->buffers == MAP_FAILED || !lane->slots || !lane->leaves)
        return error_set_errno(err, errno, "preparing to copy");
    lane->zeroes = lane->buffers + slots * buffer;
    for (size_t i = slots; i-- > 0;) {
        lane->slots[i].lane = lane;
        lane->slots[i].buf = lane->buffers + i * buffer;
        lane->slots[i].leaves = lane->leaves + i * blocks;
        lane->slots[i].next_free = lane->free;
        lane->free = &lane->slots[i];
    }
    return 0;
}

static void free_lane(struct lane *lane)
{
    if (lane->buffers && lane->buffers != MAP_FAILED)
        munmap(lane->buffers, lane->buffers_size);
    if (lane->wake_fd > 0)
        close(lane->wake_fd);
    free(lane->slots);
    free(lane->leaves);
}

/* Let the first `count` lanes run. Not all do until there turns out to be much to
 * do: to some servers a connection costs more than a small delta. */
static void start_lanes(struct mover *mover, unsigned count)
{
    CLEANUP_ERROR struct error *err = NULL;

    while (mover->started < count && !stopping(mover)) {
        struct lane *lane = &mover->lanes[mover->started];
        bool over;
        int errnum;

        pthread_mutex_lock(&mover->lock);
        over = mover->started > 0 && mover->active == 0;
        mover->active += !over;
        pthread_mutex_unlock(&mover->lock);
        if (over)
            return;
        errnum = pthread_create(&lane->thread, NULL, lane_main, lane);
        if (errnum) {
            error_set_errno(&err, errnum, "starting a thread");
            fail(mover, &err);
            pthread_mutex_lock(&mover->lock);
            mover->active--;
            pthread_mutex_unlock(&mover->lock);
            return;
        }
        mover->started++;
    }
}

/* Pass on the caller's wish to stop, and tell it how far we are. */
static void watch(struct mover *mover, struct move_stats *stats)
{
    const struct move_config *config = mover->config;
    struct timespec until;
    unsigned wanted;

    pthread_mutex_lock(&mover->lock);
    while (mover->active) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 200000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&mover->changed, &mover->lock, &until);
        wanted = mover->wanted;
        pthread_mutex_unlock(&mover->lock);
        start_lanes(mover, wanted);
        if (config->cancel && atomic_load(config->cancel) && !stopping(mover)) {
            stats->cancelled = true;
            atomic_store(config->stop, true);
            wake_all(mover);
        }
        if (config->progress)
            config->progress(config->opaque, atomic_load(&mover->done));
        pthread_mutex_lock(&mover->lock);
    }
    pthread_mutex_unlock(&mover->lock);
}

static void run_lanes(struct mover *mover, struct move_stats *stats)
{
    start_lanes(mover, mover->config->lanes_first);
    watch(mover, stats);
    for (unsigned i = 0; i < mover->started; i++)
        pthread_join(mover->lanes[i].thread, NULL);
}

static void add_stats(struct move_stats *sum, const struct move_stats *lane)
{
    sum->read += lane->read;
    sum->written += lane->written;
    sum->zeroed += lane->zeroed;
    sum->same += lane->same;
    sum->reconnects += lane->reconnects;
}

int move_run(const struct move_config *config, struct move_stats *stats, struct error **err)
{
    struct mover mover = { .config = config, .lane_count = config->lanes };
    int r = 0;

    *stats = (struct move_stats){ 0 };
    pthread_mutex_init(&mover.lock, NULL);
    pthread_cond_init(&mover.changed, NULL);
    mover.lanes = calloc(config->lanes, sizeof *mover.lanes);
    if (!mover.lanes)
        r = error_set_errno(err, ENOMEM, "preparing to copy");
    for (unsigned i = 0; r == 0 && i < config->lanes; i++)
        r = init_lane(&mover, &mover.lanes[i], err);
    if (r == 0)
        run_lanes(&mover, stats);
    for (unsigned i = 0; mover.lanes && i < config->lanes; i++) {
        conn_disconnect(&mover.lanes[i].links[SOURCE].conn, true);
        conn_disconnect(&mover.lanes[i].links[DESTINATION].conn, true);
        add_stats(stats, &mover.lanes[i].stats);
        free_lane(&mover.lanes[i]);
    }
    free(mover.lanes);
    if (mover.err)
        r = error_move(err, &mover.err);
    else if (r == 0 && stats->cancelled)
        r = error_set_kind(err, ERROR_PAUSED, "stopped on request");
    pthread_cond_destroy(&mover.changed);
    pthread_mutex_destroy(&mover.lock);
    return r;
}
