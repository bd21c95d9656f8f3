/* What has to move and what has moved; see tally.h.
 *
 * Block status and requests may come in any order. done is always the number of bytes in
 * both sets, kept up to date by whichever of the two grows. */
#include "tally.h"

#include <string.h>

#include "cleanup.h"
#include "ranges.h"

struct tally {
    pthread_mutex_t lock;
    char *name;
    struct ranges need, moved;
    uint64_t done, total;
    uint64_t scanned;
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
        ranges_init(&tally->moved, size, RANGES_FORGET) < 0) {
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

uint64_t tally_scanned(struct tally *tally)
{
    LOCK_SCOPE(&tally->lock);
    return tally->scanned;
}

void tally_looked(struct tally *tally, uint64_t start, uint64_t end)
{
    LOCK_SCOPE(&tally->lock);
    if (start <= tally->scanned && end > tally->scanned)
        tally->scanned = end;
}

bool tally_claim_scan(struct tally *tally)
{
    LOCK_SCOPE(&tally->lock);
    if (tally->scanning || tally->scanned >= tally->need.size)
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
    sum->known &= tally->scanned >= tally->need.size;
    sum->grown |= tally->grown;
}
