/* The plan; see plan.h.
 *
 * Answers to block status are classified into ranges of data and of zeroes, cut
 * down to what changed and is not durable yet, and put into a ring. plan_next()
 * cuts pieces off the ring's head. A question is due as soon as half of the ring
 * is free, so that the answer is there before the ring runs dry. */
#include "plan.h"

#include <inttypes.h>
#include <string.h>

#define RING_RANGES     32768
#define ANSWER_PAIRS    65536
#define QUESTION_FIRST  (UINT64_C(128) << 20)
#define QUESTION_LONG   (UINT64_C(2) << 30)
#define QUESTION_SHORT  (UINT64_C(1) << 20)
#define MERGE_GAP       UINT64_C(16384) /* reading it costs less than one more request */
#define ZERO_WORTHWHILE UINT64_C(32768) /* shorter zeroes beside data move as data */

#define ALLOCATION_HOLE 1U
#define ALLOCATION_ZERO 2U
#define CHANGES_DIRTY   1U

struct planned {
    uint64_t offset;
    uint64_t length;
    bool zero;
};

/* One kind's part of an answer. */
struct answer {
    uint32_t *entries; /* pairs of length and flags */
    size_t pairs;
    uint64_t offset;
    bool given;
};

struct plan {
    pthread_mutex_t lock; /* protects all below */
    struct plan_config config;

    struct planned ring[RING_RANGES];
    size_t first; /* index of the head */
    size_t count;
    struct planned *again; /* a stack */
    size_t again_count;
    size_t again_capacity;

    uint64_t position; /* all before it is in the ring, or was, or does not move */
    uint64_t total;    /* bytes ever put into the ring */
    bool asking;
    uint64_t question_offset;
    uint64_t question_length;
    uint64_t question_reach; /* how much to ask for at a time */
    struct answer answers[EXTENTS_KINDS];
};

static uint64_t down(uint64_t n, uint64_t align)
{
    return n & ~(align - 1);
}

static uint64_t up(uint64_t n, uint64_t align)
{
    return down(n + align - 1, align);
}

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool asks(const struct plan *plan)
{
    return plan->config.has_allocation || plan->config.has_changes;
}

struct plan *plan_new(const struct plan_config *config, struct error **err)
{
    struct plan *plan = calloc(1, sizeof *plan);

    if (!plan) {
        error_set_errno(err, ENOMEM, "planning");
        return NULL;
    }
    plan->config = *config;
    plan->question_reach = QUESTION_FIRST;
    pthread_mutex_init(&plan->lock, NULL);
    for (int kind = 0; asks(plan) && kind < EXTENTS_KINDS; kind++) {
        plan->answers[kind].entries = malloc(ANSWER_PAIRS * 2 * sizeof(uint32_t));
        if (!plan->answers[kind].entries) {
            plan_free(plan);
            error_set_errno(err, ENOMEM, "planning");
            return NULL;
        }
    }
    return plan;
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    pthread_mutex_destroy(&plan->lock);
    for (int kind = 0; kind < EXTENTS_KINDS; kind++)
        free(plan->answers[kind].entries);
    free(plan->again);
    free(plan);
}

/* Put a range at the ring's tail. False: it is full. */
static bool put(struct plan *plan, uint64_t offset, uint64_t length, bool zero)
{
    struct planned *tail =
        plan->count ? &plan->ring[(plan->first + plan->count - 1) % RING_RANGES] : NULL;
    bool touches = tail && tail->offset + tail->length == offset;

    if (zero && touches && !tail->zero && length < ZERO_WORTHWHILE)
        zero = false;
    else if (zero && plan->config.skip_zeroes)
        return true;
    if (touches && tail->zero == zero) {
        tail->length += length;
    } else {
        if (plan->count == RING_RANGES)
            return false;
        plan->ring[(plan->first + plan->count) % RING_RANGES] =
            (struct planned){ offset, length, zero };
        plan->count++;
    }
    plan->total += length;
    return true;
}

/* The first byte at or after `offset` that is in the map; UINT64_MAX when there
 * is none. *end is where that run ends. */
static uint64_t next_in(const struct changemap *map, uint64_t offset, uint64_t *end)
{
    size_t i = changemap_find(map, offset);

    if (i == map->count) {
        *end = UINT64_MAX;
        return UINT64_MAX;
    }
    *end = range_end(map->ranges[i]);
    return max(offset, map->ranges[i].offset);
}

/* The first run at or after `offset` that changed and is not durable. */
static uint64_t next_wanted(const struct plan *plan, uint64_t offset, uint64_t *end)
{
    uint64_t durable_end, durable;

    for (;;) {
        *end = plan->config.size;
        if (plan->config.changes)
            offset = next_in(plan->config.changes, offset, end);
        if (offset >= plan->config.size)
            return UINT64_MAX;
        if (!plan->config.durable)
            return offset;
        durable = next_in(plan->config.durable, offset, &durable_end);
        if (durable > offset) {
            *end = min(*end, durable);
            return offset;
        }
        offset = durable_end;
    }
}

/* Put what is wanted of [position, end), all of one kind. False: the ring is full,
 * and the position is where it stopped. */
static bool put_wanted(struct plan *plan, uint64_t end, bool zero)
{
    while (plan->position < end) {
        uint64_t run_end;
        uint64_t run = next_wanted(plan, plan->position, &run_end);

        if (run >= end)
            break;
        run_end = min(run_end, end);
        if (!put(plan, run, run_end - run, zero))
            return false;
        plan->position = run_end;
    }
    plan->position = max(plan->position, end);
    return true;
}

/* Bring the position to the next wanted byte; the disk's size when there is none. */
static uint64_t seek_wanted(struct plan *plan)
{
    uint64_t end;

    plan->position = min(next_wanted(plan, plan->position, &end), plan->config.size);
    return plan->position;
}

/* Fill the ring when there is nobody to ask: all that is wanted is data. */
static void fill_unasked(struct plan *plan)
{
    if (!asks(plan) && plan->count < RING_RANGES / 2)
        put_wanted(plan, plan->config.size, false);
}

bool plan_question(struct plan *plan, uint64_t *offset, uint64_t *length)
{
    LOCK_SCOPE(&plan->lock);
    uint64_t reach_end, unused;

    if (plan->asking || !asks(plan) || plan->count > RING_RANGES / 2 ||
        seek_wanted(plan) >= plan->config.size)
        return false;
    *offset = down(plan->position, plan->config.status_align);
    reach_end = min(plan->position + plan->question_reach, plan->config.size);
    if (plan->config.changes) {
        /* Not beyond the last change that starts within reach. */
        const struct changemap *map = plan->config.changes;
        size_t i = changemap_find(map, reach_end - 1);

        if (i == map->count || map->ranges[i].offset >= reach_end)
            reach_end = range_end(map->ranges[i - 1]);
    }
    unused = up(reach_end, plan->config.status_align);
    *length = min(unused, plan->config.size) - *offset;
    plan->asking = true;
    plan->question_offset = *offset;
    plan->question_length = *length;
    for (int kind = 0; kind < EXTENTS_KINDS; kind++)
        plan->answers[kind].given = false;
    return true;
}

void plan_extents(struct plan *plan, enum extents_kind kind, uint64_t offset,
                  const uint32_t *entries, size_t pairs)
{
    LOCK_SCOPE(&plan->lock);
    struct answer *answer = &plan->answers[kind];

    if (!asks(plan))
        return;
    answer->given = true;
    answer->offset = offset;
    answer->pairs = min(pairs, ANSWER_PAIRS);
    memcpy(answer->entries, entries, answer->pairs * 2 * sizeof *entries);
}

/* Check one kind's part and find where it ends. */
static int check_answer(const struct plan *plan, enum extents_kind kind, uint64_t *end,
                        struct error **err)
{
    const struct answer *answer = &plan->answers[kind];
    const char *what = kind == EXTENTS_ALLOCATION ? "base:allocation" : "the change context";
    uint64_t pos = plan->question_offset;

    if (!answer->given || answer->pairs == 0)
        return error_set(err, "block status at byte %" PRIu64 ": no extents of %s in the answer",
                         pos, what);
    if (answer->offset != pos)
        return error_set(err, "block status at byte %" PRIu64 ": the answer is about byte %" PRIu64,
                         pos, answer->offset);
    for (size_t i = 0; i < answer->pairs; i++) {
        uint32_t length = answer->entries[2 * i];

        if (length == 0)
            return error_set(err,
                             "block status at byte %" PRIu64
                             ": an extent of length 0 in the answer, which makes no progress",
                             pos);
        pos += length;
        if (pos > plan->config.size)
            return error_set(err,
                             "block status at byte %" PRIu64 ": an extent ends at byte %" PRIu64
                             ", outside the disk of %" PRIu64 " bytes",
                             plan->question_offset, pos, plan->config.size);
    }
    *end = pos;
    return 0;
}

/* Walks over one kind's pairs. */
struct walk {
    const struct answer *answer;
    size_t i;
    uint64_t end; /* of pair i */
};

static uint32_t walk_to(struct walk *walk, uint64_t pos)
{
    while (walk->end <= pos)
        walk->end += walk->answer->entries[2 * ++walk->i];
    return walk->answer->entries[2 * walk->i + 1];
}

static struct walk walk_start(const struct answer *answer)
{
    return (struct walk){ answer, 0, answer->offset + answer->entries[0] };
}

/* Put all that [position, end) of a checked answer holds; false: the ring is full. */
static bool put_answer(struct plan *plan, uint64_t end)
{
    const struct plan_config *config = &plan->config;
    struct walk allocation = { 0 };
    struct walk changes = { 0 };

    if (config->has_allocation)
        allocation = walk_start(&plan->answers[EXTENTS_ALLOCATION]);
    if (config->has_changes)
        changes = walk_start(&plan->answers[EXTENTS_CHANGES]);
    while (plan->position < end) {
        uint64_t until = end;
        uint32_t flags = 0;
        bool changed = true;

        if (config->has_allocation) {
            flags = walk_to(&allocation, plan->position);
            until = min(until, allocation.end);
            changed = !(config->holes_unchanged && flags & ALLOCATION_HOLE);
        }
        if (config->has_changes) {
            changed = walk_to(&changes, plan->position) & CHANGES_DIRTY && changed;
            until = min(until, changes.end);
        }
        if (!changed)
            plan->position = until;
        else if (!put_wanted(plan, until, flags & ALLOCATION_ZERO))
            return false;
    }
    return true;
}

int plan_answered(struct plan *plan, struct error **err)
{
    LOCK_SCOPE(&plan->lock);
    uint64_t end = UINT64_MAX;
    uint64_t kind_end = 0;
    size_t pairs = 0;

    plan->asking = false;
    for (int kind = 0; kind < EXTENTS_KINDS; kind++) {
        if (!(kind == EXTENTS_ALLOCATION ? plan->config.has_allocation : plan->config.has_changes))
            continue;
        if (check_answer(plan, (enum extents_kind)kind, &kind_end, err) < 0)
            return -1;
        end = min(end, kind_end);
        pairs = max(pairs, plan->answers[kind].pairs);
    }
    if (!put_answer(plan, end) || pairs > RING_RANGES / 2)
        plan->question_reach = max(plan->question_reach / 4, QUESTION_SHORT);
    else if (pairs < RING_RANGES / 32)
        plan->question_reach = min(plan->question_reach * 4, QUESTION_LONG);
    return 0;
}

/* The range that moves next; NULL: none is known. */
static struct planned *head(struct plan *plan)
{
    if (plan->again_count)
        return &plan->again[plan->again_count - 1];
    fill_unasked(plan);
    return plan->count ? &plan->ring[plan->first] : NULL;
}

/* The first `length` bytes of the head have gone into a piece. */
static void take(struct plan *plan, struct planned *range, uint64_t length)
{
    range->offset += length;
    range->length -= length;
    if (range->length)
        return;
    if (plan->again_count) {
        plan->again_count--;
    } else {
        plan->first = (plan->first + 1) % RING_RANGES;
        plan->count--;
    }
}

/* How much of a range of zeroes is written as zeroes now. 0: it starts or ends
 * inside a block, so that this block has to be read as a whole. */
static uint64_t zero_length(const struct plan_config *config, const struct planned *range)
{
    uint64_t end = range->offset + range->length;

    if (range->offset % config->read_align)
        return 0;
    if (end != config->size)
        end = down(end, config->read_align);
    return end > range->offset ? min(end - range->offset, config->zero_size) : 0;
}

/* Add [offset, end) to the segments; false when there is no room. */
static bool add_segment(struct piece *piece, uint64_t offset, uint64_t end)
{
    struct segment *last = piece->count ? &piece->segments[piece->count - 1] : NULL;

    if (last && offset <= piece->offset + last->offset + last->length) {
        last->length = (uint32_t)(max(end, piece->offset + last->offset + last->length) -
                                  piece->offset - last->offset);
        return true;
    }
    if (piece->count == PIECE_SEGMENTS)
        return false;
    piece->segments[piece->count++] =
        (struct segment){ (uint32_t)(offset - piece->offset), (uint32_t)(end - offset) };
    return true;
}

/* How far a piece that now ends at `end` may take from this range: all of a
 * neighbour's data, of zeroes only what lies in the last block. */
static uint64_t reach(const struct plan_config *config, const struct piece *piece,
                      const struct planned *range, uint64_t end)
{
    uint64_t limit = piece->offset + config->request_size;
    uint64_t block_end = up(end, config->read_align);

    if (piece->count == 0)
        limit = piece->offset + (range->zero ? config->read_align : config->request_size);
    else if (range->zero || range->offset > max(block_end, end + MERGE_GAP))
        limit = block_end;
    return min(limit, range->offset + range->length);
}

static void cut_data(struct plan *plan, struct planned *range, struct piece *piece)
{
    const struct plan_config *config = &plan->config;
    uint64_t end;

    piece->offset = down(range->offset, config->read_align);
    piece->zero = false;
    piece->count = 0;
    end = piece->offset;
    /* `again` is no ring to look ahead in: one range of it makes one piece. */
    do {
        uint64_t to = reach(config, piece, range, end);
        uint64_t from = range->offset;
        bool from_again = plan->again_count > 0;

        if (from >= to || (piece->count && from < piece->offset))
            break;
        if (!add_segment(piece, max(down(from, config->write_align), piece->offset),
                         min(up(to, config->write_align), config->size)))
            break;
        end = min(up(to, config->write_align), config->size);
        take(plan, range, to - from);
        if (from_again)
            break;
        range = plan->count ? &plan->ring[plan->first] : NULL;
    } while (range);
    piece->length = min(up(end, config->read_align), config->size) - piece->offset;
}

enum plan_answer plan_next(struct plan *plan, struct piece *piece)
{
    LOCK_SCOPE(&plan->lock);
    struct planned *range = head(plan);
    uint64_t length;

    if (!range) {
        if (plan->asking || (asks(plan) && seek_wanted(plan) < plan->config.size))
            return PLAN_WAIT;
        return PLAN_DONE;
    }
    length = range->zero ? zero_length(&plan->config, range) : 0;
    if (length) {
        *piece = (struct piece){ .offset = range->offset, .length = length, .zero = true };
        take(plan, range, length);
    } else {
        cut_data(plan, range, piece);
    }
    return PLAN_PIECE;
}

int plan_again(struct plan *plan, uint64_t offset, uint64_t length, bool zero)
{
    LOCK_SCOPE(&plan->lock);

    if (plan->again_count == plan->again_capacity) {
        size_t capacity = plan->again_capacity ? 2 * plan->again_capacity : 64;
        struct planned *grown = realloc(plan->again, capacity * sizeof *grown);

        if (!grown)
            return -1;
        plan->again = grown;
        plan->again_capacity = capacity;
    }
    plan->again[plan->again_count++] = (struct planned){ offset, length, zero };
    return 0;
}

uint64_t plan_total(struct plan *plan, bool *known)
{
    LOCK_SCOPE(&plan->lock);

    fill_unasked(plan);
    *known = !plan->asking && seek_wanted(plan) >= plan->config.size;
    return plan->total;
}
