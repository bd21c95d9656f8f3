/* A set of bytes; see ranges.h. */
#include "ranges.h"

#include <stdlib.h>
#include <string.h>

struct piece {
    uint64_t start, end;
};

#define WORD_BITS 64

static uint64_t minimum(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int ranges_init(struct ranges *set, uint64_t size, enum ranges_overflow overflow)
{
    uint64_t grains;

    *set = (struct ranges){ .size = size, .overflow = overflow };
    while (size > 0 && (size - 1) >> set->shift >= RANGES_GRAINS_MAX)
        set->shift++;
    grains = size > 0 ? ((size - 1) >> set->shift) + 1 : 0;
    /* Large enough for calloc to map zero pages, which take memory when touched. */
    set->bits = calloc(grains / WORD_BITS + 1, sizeof *set->bits);
    set->pieces = calloc(RANGES_PIECES, sizeof *set->pieces);
    if (set->bits == NULL || set->pieces == NULL) {
        ranges_destroy(set);
        return -1;
    }
    return 0;
}

void ranges_destroy(struct ranges *set)
{
    free(set->bits);
    free(set->pieces);
    *set = (struct ranges){ 0 };
}

static uint64_t grain_start(const struct ranges *set, uint64_t grain)
{
    return grain << set->shift;
}

/* The last grain ends where the disk ends. */
static uint64_t grain_end(const struct ranges *set, uint64_t grain)
{
    return minimum(((grain << set->shift) | ((UINT64_C(1) << set->shift) - 1)), set->size - 1) + 1;
}

static bool is_whole(const struct ranges *set, uint64_t grain)
{
    return set->bits[grain / WORD_BITS] >> (grain % WORD_BITS) & 1;
}

/* Set the bits first..last, word by word. */
static void set_whole(struct ranges *set, uint64_t first, uint64_t last)
{
    uint64_t head = UINT64_MAX << (first % WORD_BITS);
    uint64_t tail = UINT64_MAX >> (WORD_BITS - 1 - last % WORD_BITS);

    first /= WORD_BITS;
    last /= WORD_BITS;
    if (first == last) {
        set->bits[first] |= head & tail;
        return;
    }
    set->bits[first] |= head;
    memset(&set->bits[first + 1], 0xff, (size_t)(last - first - 1) * sizeof *set->bits);
    set->bits[last] |= tail;
}

/* The first grain in (grain, last] whose bit is not `whole`, or last + 1. */
static uint64_t next_other(const struct ranges *set, uint64_t grain, uint64_t last, bool whole)
{
    uint64_t flip = whole ? UINT64_MAX : 0;
    uint64_t word = grain / WORD_BITS;
    uint64_t others = (set->bits[word] ^ flip) & (UINT64_MAX << (grain % WORD_BITS));

    while (others == 0) {
        if (++word > last / WORD_BITS)
            return last + 1;
        others = set->bits[word] ^ flip;
    }
    return minimum(word * WORD_BITS + (uint64_t)__builtin_ctzll(others), last + 1);
}

/* The index of the first piece that ends after `offset`. */
static size_t find_piece(const struct ranges *set, uint64_t offset)
{
    size_t low = 0, high = set->nr_pieces;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (set->pieces[middle].end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Put one piece, or none, in the place of pieces first..last-1. */
static void replace_pieces(struct ranges *set, size_t first, size_t last, const struct piece *piece)
{
    size_t added = piece ? 1 : 0;

    if (last - first != added) {
        memmove(&set->pieces[first + added], &set->pieces[last],
                (set->nr_pieces - last) * sizeof *set->pieces);
        set->nr_pieces -= last - first;
        set->nr_pieces += added;
    }
    if (piece)
        set->pieces[first] = *piece;
}

static void add_whole(struct ranges *set, uint64_t first, uint64_t last)
{
    size_t from, to;

    set_whole(set, first, last);
    if (set->nr_pieces == 0)
        return;
    from = find_piece(set, grain_start(set, first));
    for (to = from; to < set->nr_pieces; to++) {
        if (set->pieces[to].start >= grain_end(set, last))
            break;
    }
    replace_pieces(set, from, to, NULL);
}

/* [start, end) is inside one grain, and not all of it. */
static void add_part(struct ranges *set, uint64_t grain, uint64_t start, uint64_t end)
{
    struct piece joined = { start, end };
    uint64_t first = grain_start(set, grain);
    size_t from, to;

    if (is_whole(set, grain))
        return;
    /* Join with the pieces that touch it, which may end where it starts. */
    from = find_piece(set, start > first ? start - 1 : start);
    for (to = from; to < set->nr_pieces && set->pieces[to].start <= end; to++) {
        if (set->pieces[to].start >= grain_end(set, grain))
            break;
        joined.start = minimum(joined.start, set->pieces[to].start);
        if (set->pieces[to].end > joined.end)
            joined.end = set->pieces[to].end;
    }
    if (joined.start == first && joined.end == grain_end(set, grain))
        add_whole(set, grain, grain);
    else if (to > from || set->nr_pieces < RANGES_PIECES)
        replace_pieces(set, from, to, &joined);
    else if (set->overflow == RANGES_WHOLE_GRAIN)
        add_whole(set, grain, grain);
}

void ranges_add(struct ranges *set, uint64_t start, uint64_t end)
{
    uint64_t first, last;

    end = minimum(end, set->size);
    if (start >= end)
        return;
    first = start >> set->shift;
    last = (end - 1) >> set->shift;

    if (start != grain_start(set, first)) {
        add_part(set, first, start, minimum(end, grain_end(set, first)));
        if (first++ == last)
            return;
    }
    if (end != grain_end(set, last)) {
        add_part(set, last, grain_start(set, last), end);
        if (first == last--)
            return;
    }
    add_whole(set, first, last);
}

uint64_t ranges_run(const struct ranges *set, uint64_t start, uint64_t end, bool *inside)
{
    uint64_t grain = start >> set->shift, next;

    *inside = is_whole(set, grain);
    if (!*inside) {
        /* First the pieces: they limit how far the bitmap has to be searched. */
        size_t i = find_piece(set, start);

        if (i < set->nr_pieces && set->pieces[i].start <= start) {
            *inside = true;
            return minimum(end, set->pieces[i].end);
        }
        if (i < set->nr_pieces)
            end = minimum(end, set->pieces[i].start);
    }
    next = next_other(set, grain, (end - 1) >> set->shift, *inside);
    return minimum(end, grain_start(set, next));
}

uint64_t ranges_overlap(const struct ranges *set, uint64_t start, uint64_t end)
{
    uint64_t total = 0;

    for (uint64_t next; start < end; start = next) {
        bool inside;

        next = ranges_run(set, start, end, &inside);
        if (inside)
            total += next - start;
    }
    return total;
}
