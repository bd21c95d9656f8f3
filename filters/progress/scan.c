/* Finds out what has to move; see scan.h. */
#include "scan.h"

#include <inttypes.h>

#include "progress.h"

/* Of one block status request: a plugin's answer for it has to fit in memory. */
#define STEP_BYTES (UINT64_C(1) << 30)
/* In passing, look for at most 1/BUSY_SHARE of the time. */
#define BUSY_SHARE 10
/* A client's last connection stays this long at most to look at the rest. */
#define LINGER_NS 1000000000LL

/* Returns up to where the extents answer for [start, end). */
static uint64_t learn(struct tally *tally, struct nbdkit_extents *extents, uint64_t start,
                      uint64_t end)
{
    uint64_t at = start;

    for (size_t i = 0; i < nbdkit_extents_count(extents) && at < end; i++) {
        struct nbdkit_extent extent = nbdkit_get_extent(extents, i);
        uint64_t stop = extent.offset + extent.length;

        if (stop > end)
            stop = end;
        if (stop > at && (extent.type & (NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO)) == 0)
            tally_need(tally, at, stop);
        if (stop > at)
            at = stop;
    }
    tally_looked(tally, start, at);
    return at;
}

/* One request for [start, end), or the first STEP_BYTES of it. Returns up to where
 * it has been answered. What can't be found out has to move. */
static uint64_t look(nbdkit_next *next, struct tally *tally, uint64_t start, uint64_t end)
{
    struct nbdkit_extents *extents;
    uint64_t at = start;
    int err = 0;

    if (end - start > STEP_BYTES)
        end = start + STEP_BYTES;
    extents = nbdkit_extents_new(start, end);
    if (extents && next->extents(next, (uint32_t)(end - start), start, 0, extents, &err) == 0)
        at = learn(tally, extents, start, end);
    nbdkit_extents_free(extents);
    if (at > start)
        return at;
    nbdkit_debug("progress: no block status at offset %" PRIu64 ": it counts as data", start);
    tally_need(tally, start, end);
    tally_looked(tally, start, end);
    return end;
}

/* The next step of the scan; the caller has claimed it. False at the end of the disk. */
static bool step(nbdkit_next *next, struct tally *tally)
{
    uint64_t from, to;

    if (!tally_unknown(tally, 0, tally_size(tally), &from, &to))
        return false;
    look(next, tally, from, to);
    return true;
}

static void *scan_thread(void *opaque)
{
    struct scan *scan = opaque;

    while (!scan->stop && step(scan->next, scan->tally))
        ;
    return NULL;
}

void scan_init(struct scan *scan, nbdkit_next *next, struct tally *tally, bool parallel)
{
    scan->next = next;
    scan->tally = tally;
    scan->parallel = parallel;
}

static void begin(struct scan *scan)
{
    if (atomic_exchange(&scan->begun, true) || !scan->parallel || !tally_claim_scan(scan->tally))
        return;
    if (pthread_create(&scan->thread, NULL, scan_thread, scan) == 0)
        scan->threaded = true;
    else
        tally_release_scan(scan->tally);
}

static void look_in_passing(struct scan *scan)
{
    int64_t start = progress_now_ns(), end;

    if (start < scan->resume_ns || !tally_claim_scan(scan->tally))
        return;
    step(scan->next, scan->tally);
    tally_release_scan(scan->tally);
    end = progress_now_ns();
    scan->resume_ns = end + (end - start) * BUSY_SHARE;
}

void scan_ahead(struct scan *scan, uint64_t offset, uint32_t count)
{
    uint64_t end = offset + count, from, to;

    if (scan->tally == NULL)
        return;
    begin(scan);
    /* Also when the connection whose thread it was has gone. */
    if (!scan->threaded)
        look_in_passing(scan);
    while (offset < end && tally_unknown(scan->tally, offset, end, &from, &to))
        offset = look(scan->next, scan->tally, from, to);
}

void scan_learn(struct scan *scan, uint64_t offset, uint32_t count, struct nbdkit_extents *extents)
{
    if (scan->tally == NULL)
        return;
    begin(scan);
    learn(scan->tally, extents, offset, offset + count);
}

void scan_stop(struct scan *scan, bool linger)
{
    int64_t deadline = progress_now_ns() + LINGER_NS;

    if (scan->threaded) {
        scan->stop = true;
        pthread_join(scan->thread, NULL);
        scan->threaded = false;
        tally_release_scan(scan->tally);
    }
    if (!scan->begun || !linger || !tally_claim_scan(scan->tally))
        return;
    while (progress_now_ns() < deadline && step(scan->next, scan->tally))
        ;
    tally_release_scan(scan->tally);
}
