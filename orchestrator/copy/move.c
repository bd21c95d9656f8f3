/* The move; see move.h.
 *
 * A lane's turn: bring lost connections back, start again what waits, start new
 * pieces while the window has room, flush when it is due, wait for something to
 * complete, and act on what completed. */
#include "copy/move.h"

#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "copy/lane.h"

#define MEMORY_MAX (UINT64_C(32) << 20) /* all buffers of all lanes */
#define TICK_MS    100
#define DRAIN_NS   (INT64_C(5) * 1000000000) /* from an end that did not answer before either */

bool mover_is_stopping(const struct mover *mover)
{
    return atomic_load_explicit(mover->config->stop, memory_order_relaxed);
}

void mover_wake_all(struct mover *mover)
{
    for (unsigned i = 0; i < mover->lane_count; i++)
        eventfd_write(mover->lanes[i].wake_fd, 1);
}

/* Pass on the caller's wish to stop. Every lane looks for itself: the caller may be held up in its
 * progress callback. */
static void hear_cancel(struct mover *mover)
{
    const struct move_config *config = mover->config;

    if (!config->cancel || !atomic_load(config->cancel) || mover_is_stopping(mover))
        return;
    atomic_store(&mover->cancelled, true);
    atomic_store(config->stop, true);
    mover_wake_all(mover);
}

/* Stop everything for this reason, which becomes ours; the first one counts. */
void mover_fail(struct mover *mover, struct error **err)
{
    pthread_mutex_lock(&mover->lock);
    if (!mover->err)
        mover->err = steal_ptr(*err);
    pthread_mutex_unlock(&mover->lock);
    error_clear(err);
    atomic_store(mover->config->stop, true);
    mover_wake_all(mover);
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
    link_start(lane, &lane->status);
}

static void status_completed(struct lane *lane)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct mover *mover = lane->mover;

    if (lane->status.errnum && link_retry(lane, &lane->status))
        return;
    lane->asking = false;
    if (lane->status.errnum)
        return;
    if (plan_answered(mover->config->plan, &err) < 0) {
        error_prefix(&err, "%s", mover->config->src->name);
        mover_fail(mover, &err);
    }
    mover_wake_all(mover);
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

/* It has nothing to do and will get nothing, unless another lane loses its connection. */
static bool is_through(const struct lane *lane)
{
    return is_idle(lane) && (lane->plan_done || mover_is_stopping(lane->mover));
}

static bool can_flush(const struct lane *lane)
{
    return lane->links[DESTINATION].conn.handle && !atomic_load(&lane->mover->no_flush);
}

static void flush_if_due(struct lane *lane)
{
    struct mover *mover = lane->mover;
    bool final = is_through(lane) && is_last(mover);

    if (lane->flushing || !can_flush(lane) ||
        !durable_flush_due(mover->config->durable, lane, final, monotonic_ns()))
        return;
    lane->flushing = true;
    lane->flush = (struct request){ .op = OP_FLUSH, .owner = lane };
    if (mover->config->dst->can_flush)
        link_start(lane, &lane->flush);
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
            if (err && (err->errnum == ENOSPC || err->errnum == EDQUOT))
                err->kind = ERROR_PAUSED; /* as with the destination */
            atomic_store(&mover->no_flush, true);
            mover_fail(mover, &err);
        }
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
    mover_fail(mover, &err);
}

/* The lane */

static void note_success(struct lane *lane, const struct request *req)
{
    struct trouble *trouble = &lane->mover->trouble;

    lane->links[side_of(req)].failures = 0;
    trouble_over(trouble, part_of(side_of(req)));
    if (req->op == OP_READ)
        trouble_over(trouble, TROUBLE_READING);
}

static void complete(struct lane *lane)
{
    struct request *req;

    while ((req = request_list_take(&lane->completed))) {
        if (req->errnum == 0)
            note_success(lane, req);
        if (req == &lane->status)
            status_completed(lane);
        else if (req == &lane->flush)
            flush_completed(lane);
        else
            piece_completed(lane, req);
    }
}

/* What was started and is not paid for yet, in bytes; the lock is held. It is paid off at the rate
 * of each moment, so that a rate that changes counts from then on. */
static void pay_off(struct mover *mover, uint64_t rate, int64_t now)
{
    double paid = (double)(now - mover->paid_ns) * 1e-9 * (double)rate;

    mover->debt = mover->debt > paid ? mover->debt - paid : 0;
    mover->paid_ns = now;
}

/* Whether the rate lets a piece start now; lane->pace_ns says when it will. What
 * starts is paid for afterwards, by take_pace(). */
static bool pace_allows(struct lane *lane, int64_t now)
{
    struct mover *mover = lane->mover;
    uint64_t rate = mover->config->rate ? atomic_load(mover->config->rate) : 0;

    lane->pace_ns = 0;
    if (rate == 0)
        return true;
    pthread_mutex_lock(&mover->lock);
    pay_off(mover, rate, now);
    if (mover->debt > 0)
        lane->pace_ns = now + (int64_t)(mover->debt * 1e9 / (double)rate) + 1;
    pthread_mutex_unlock(&mover->lock);
    return lane->pace_ns == 0;
}

static void take_pace(struct mover *mover, uint64_t bytes, int64_t now)
{
    uint64_t rate = mover->config->rate ? atomic_load(mover->config->rate) : 0;

    if (rate == 0)
        return;
    pthread_mutex_lock(&mover->lock);
    pay_off(mover, rate, now);
    mover->debt += (double)bytes;
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

    while (!mover_is_stopping(mover) && has_room(lane) && lane->links[SOURCE].conn.handle &&
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
        piece_start(lane, &piece);
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
    int64_t limit = lane->mover->config->timeout_s * INT64_C(1000000000);
    int64_t now;

    if (!mover_is_stopping(lane->mover))
        return;
    now = monotonic_ns();
    if (trouble_since(&lane->mover->trouble, now) < now && limit > DRAIN_NS)
        limit = DRAIN_NS;
    if (lane->stopped_ns == 0)
        lane->stopped_ns = now;
    if (now - lane->stopped_ns > limit) {
        conn_disconnect(&lane->links[SOURCE].conn, false);
        conn_disconnect(&lane->links[DESTINATION].conn, false);
    }
}

/* Leave, unless the last flush is still to be done; that is the flusher's, when all
 * others have left. */
static bool leave(struct lane *lane)
{
    struct mover *mover = lane->mover;
    struct durable *durable = mover->config->durable;
    LOCK_SCOPE(&mover->lock);

    if (!is_through(lane))
        return false;
    if (mover->active > 1 && durable_is_flusher(durable, lane))
        return false;
    if (mover->active == 1 && durable_is_pending(durable) &&
        (!mover_is_stopping(mover) || can_flush(lane)))
        return false;
    mover->active--;
    pthread_cond_broadcast(&mover->changed);
    return true;
}

/* Not when the next turn is the last: to leave, or to flush before that. */
static bool has_to_wait(struct lane *lane)
{
    bool flusher = durable_is_flusher(lane->mover->config->durable, lane);

    return !(is_through(lane) && lane->links[DESTINATION].conn.handle &&
             flusher == is_last(lane->mover));
}

static void *lane_main(void *opaque)
{
    struct lane *lane = opaque;

    while (!leave(lane)) {
        hear_cancel(lane->mover);
        if (!mover_is_stopping(lane->mover)) {
            link_up(lane, SOURCE);
            link_up(lane, DESTINATION);
        }
        link_restart_waiting(lane);
        fill(lane);
        flush_if_due(lane);
        complete(lane);
        if (has_to_wait(lane))
            wait_and_dispatch(lane);
        complete(lane);
        link_check_all(lane);
        limit_drain(lane);
    }
    mover_wake_all(lane->mover); /* one of them is the last now, perhaps */
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
    window_init(&lane->window, config->request_size, share);
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

    while (mover->started < count && !mover_is_stopping(mover)) {
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
            mover_fail(mover, &err);
            pthread_mutex_lock(&mover->lock);
            mover->active--;
            pthread_mutex_unlock(&mover->lock);
            return;
        }
        mover->started++;
    }
}

/* An end that is in trouble for too long is given up, however often it may still be tried. */
static void lose_patience(struct mover *mover)
{
    const struct move_config *config = mover->config;
    int64_t now = monotonic_ns();
    int64_t seconds = (now - trouble_since(&mover->trouble, now)) / 1000000000;
    CLEANUP_ERROR struct error *err = NULL;
    char text[TROUBLE_TEXT];

    if (!config->patience_s || seconds <= config->patience_s || mover_is_stopping(mover) ||
        !trouble_text(&mover->trouble, now, true, text))
        return;
    error_set_kind(&err, ERROR_PAUSED, "gave up after %lld s: %s", (long long)seconds, text);
    mover_fail(mover, &err);
}

static void tell(struct mover *mover)
{
    const struct move_config *config = mover->config;
    char text[TROUBLE_TEXT];
    bool trouble = trouble_text(&mover->trouble, monotonic_ns(), false, text);

    if (config->progress)
        config->progress(config->opaque, atomic_load(&mover->done), trouble ? text : NULL);
}

/* Pass on the caller's wish to stop, and tell it how far we are. */
static void watch(struct mover *mover)
{
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
        hear_cancel(mover);
        lose_patience(mover);
        tell(mover);
        pthread_mutex_lock(&mover->lock);
    }
    pthread_mutex_unlock(&mover->lock);
}

static void run_lanes(struct mover *mover)
{
    start_lanes(mover, mover->config->lanes_first);
    watch(mover);
    for (unsigned i = 0; i < mover->started; i++)
        pthread_join(mover->lanes[i].thread, NULL);
    /* They may have ended before they were watched for the first time. */
    tell(mover);
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
    trouble_init(&mover.trouble, config->retries,
                 config->src->role == END_SOURCE ? "source" : "destination");
    pthread_cond_init(&mover.changed, NULL);
    mover.lanes = calloc(config->lanes, sizeof *mover.lanes);
    if (!mover.lanes)
        r = error_set_errno(err, ENOMEM, "preparing to copy");
    for (unsigned i = 0; r == 0 && i < config->lanes; i++)
        r = init_lane(&mover, &mover.lanes[i], err);
    if (r == 0)
        run_lanes(&mover);
    stats->cancelled = atomic_load(&mover.cancelled);
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
    trouble_destroy(&mover.trouble);
    pthread_mutex_destroy(&mover.lock);
    return r;
}
