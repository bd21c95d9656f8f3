/* What has to move and what has moved; see tally.h.
 *
 * Block status and requests may come in any order. done is always the number of bytes in
 * both sets, kept up to date by whichever of the two grows. */
#include "tally.h"

#include <string.h>

#include "cleanup.h"
#include "ranges.h"

/* Nobody looks at more than this at a time, so an unknown part need not be found whole. */
#define SEARCH_BYTES (UINT64_C(1) << 30)

struct tally {
    pthread_mutex_t lock;
    char *name;
    struct ranges need, moved, looked;
    uint64_t done, total;
    uint64_t frontier; /* all before it has been looked at */
    uint64_t nr_looked;
    bool grown, scanning;
};

struct tally *tally_new(const char *name, uint64_t size)
{
    struct tally *tally = calloc(1, sizeof *tally);

    if (tally == NULL)
        return NULL;
    pthread_mutex_init(&tally->lock, NULL);
    tally->name = strdup(name);
    /* Where memory is short: need too much rather than never reach 100, and
     * forget what has moved rather than claim what has not. */
    if (tally->name == NULL || ranges_init(&tally->need, size, RANGES_WHOLE_GRAIN) < 0 ||
        ranges_init(&tally->moved, size, RANGES_FORGET) < 0 ||
        ranges_init(&tally->looked, size, RANGES_FORGET) < 0) {
        tally_free(tally);
        return NULL;
    }
    return tally;
}

void tally_free(struct tally *tally)
{
    if (tally == NULL)
        return;
    ranges_destroy(&tally->need);
    ranges_destroy(&tally->moved);
    ranges_destroy(&tally->looked);
    pthread_mutex_destroy(&tally->lock);
    free(tally->name);
    free(tally);
}

const char *tally_name(const struct tally *tally)
{
    return tally->name;
}

uint64_t tally_size(const struct tally *tally)
{
    return tally->need.size;
}

/* Put [start, end) into `set`; counts what is new of it, and how much of that is
 * in `other` too. */
static void add(struct ranges *set, const struct ranges *other, uint64_t start, uint64_t end,
                uint64_t *added, uint64_t *common)
{
    *added = *common = 0;
    if (end > set->size)
        end = set->size;
    for (uint64_t at = start, next; at < end; at = next) {
        bool inside;

        next = ranges_run(set, at, end, &inside);
        if (inside)
            continue;
        *added += next - at;
        *common += ranges_overlap(other, at, next);
    }
    if (*added > 0)
        ranges_add(set, start, end);
}

static uint64_t need(struct tally *tally, uint64_t start, uint64_t end)
{
    uint64_t added, common;

    add(&tally->need, &tally->moved, start, end, &added, &common);
    tally->total += added;
    tally->done += common;
    return added;
}

static void moved(struct tally *tally, uint64_t start, uint64_t end)
{
    uint64_t added, common;

    add(&tally->moved, &tally->need, start, end, &added, &common);
    tally->done += common;
}

void tally_need(struct tally *tally, uint64_t start, uint64_t end)
{
    LOCK_SCOPE(&tally->lock);
    need(tally, start, end);
}

void tally_moved(struct tally *tally, uint64_t start, uint64_t end)
{
    LOCK_SCOPE(&tally->lock);
    moved(tally, start, end);
}

void tally_written(struct tally *tally, uint64_t start, uint64_t end)
{
    LOCK_SCOPE(&tally->lock);
    if (need(tally, start, end) > 0)
        tally->grown = true;
    moved(tally, start, end);
}

void tally_looked(struct tally *tally, uint64_t start, uint64_t end)
{
    uint64_t before;

    if (end > tally->looked.size)
        end = tally->looked.size;
    LOCK_SCOPE(&tally->lock);
    /* Only what the set has kept: a part that is forgotten will be looked at again. */
    before = ranges_overlap(&tally->looked, start, end);
    ranges_add(&tally->looked, start, end);
    tally->nr_looked += ranges_overlap(&tally->looked, start, end) - before;
    if (start <= tally->frontier && end > tally->frontier)
        tally->frontier = end;
}

static bool all_known(const struct tally *tally)
{
    return tally->nr_looked >= tally->need.size;
}

bool tally_unknown(struct tally *tally, uint64_t start, uint64_t end, uint64_t *from, uint64_t *to)
{
    LOCK_SCOPE(&tally->lock);
    if (start < tally->frontier)
        start = tally->frontier;
    if (end > tally->need.size)
        end = tally->need.size;
    while (start < end && !all_known(tally)) {
        uint64_t near = end - start > SEARCH_BYTES ? start + SEARCH_BYTES : end;
        bool known;

        *from = start;
        *to = start = ranges_run(&tally->looked, start, near, &known);
        if (!known)
            return true;
    }
    return false;
}

bool tally_claim_scan(struct tally *tally)
{
    LOCK_SCOPE(&tally->lock);
    if (tally->scanning || all_known(tally))
        return false;
    tally->scanning = true;
    return true;
}

void tally_release_scan(struct tally *tally)
{
    LOCK_SCOPE(&tally->lock);
    tally->scanning = false;
}

void tally_sum(struct tally *tally, struct figures *sum)
{
    LOCK_SCOPE(&tally->lock);
    /* When a part was forgotten and moved again, it has been counted twice. */
    sum->done += tally->done < tally->total ? tally->done : tally->total;
    sum->total += tally->total;
    sum->known &= all_known(tally);
    sum->grown |= tally->grown;
}
