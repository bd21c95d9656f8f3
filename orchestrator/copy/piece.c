/* What is done to a piece; see lane.h. What comes in: a piece of the plan. What goes
 * out: its bytes on the destination, its leaves, and durable_* told about it. Read
 * into a slot's buffer, it is looked at (digest, zeroes, comparison), written from
 * the same buffer, and only then called written.
 *
 * In flight are the slots that are not free; their bytes are counted where a slot
 * is taken (piece_start) and given back (finish_slot), nowhere else. */
#include <inttypes.h>
#include <string.h>

#include "copy/lane.h"

#define JOIN_BYTES  (UINT64_C(128) << 20) /* what the first lane reads before others connect */
#define JOIN_WINDOW (UINT64_C(4) << 20)   /* a link that takes so much is a long one */

/* What a piece takes of the window. Small ones cost more than their bytes. */
static uint64_t cost(const struct lane *lane, const struct piece *piece)
{
    uint64_t least = lane->mover->config->request_size / SMALL_PIECES;

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
        link_start(lane, &slot->requests[i]);
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
        mover_fail(lane->mover, &err);
    } else if (r == 0 && !mover_is_stopping(lane->mover)) {
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
            mover_fail(lane->mover, &err);
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
            mover_fail(lane->mover, &err);
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
    mover_fail(lane->mover, &err);
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

/* A small area of a change map that is zeroes now is written as such, whole, though
 * it has no block of its own. */
static bool is_small_and_zero(const struct lane *lane, const struct slot *slot,
                              const struct segment *segment)
{
    const struct move_config *config = lane->mover->config;

    return segment->length < DIGEST_BLOCK && config->dst->can_zero && !config->dst->is_null &&
           !config->dst->reads_zero && config->expected_leaves_fd < 0 &&
           is_zero(slot->buf + segment->offset, segment->length);
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

    if (is_small_and_zero(lane, slot, segment)) {
        add_write(lane, slot, pos, end - pos, true);
        return;
    }
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
    if (mover_is_stopping(lane->mover)) {
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
    if (mover_is_stopping(lane->mover)) {
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

void piece_start(struct lane *lane, const struct piece *piece)
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
    link_start(lane, &slot->requests[0]);
}

void piece_completed(struct lane *lane, struct request *req)
{
    struct slot *slot = req->owner;

    if (req->errnum && link_retry(lane, req))
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
