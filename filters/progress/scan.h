/* Finds out what has to move, by block status: what is neither a hole nor zero.
 *
 * With a plugin that takes requests in parallel, a thread of the connection looks
 * at the whole disk while the client works. Else requests do it in passing, one look
 * each, for at most a tenth of the time. What the client itself asks is learned too. */
#ifndef VMFERRY_SCAN_H
#define VMFERRY_SCAN_H

#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "tally.h"

struct scan {
    nbdkit_next *next;   /* of this connection */
    struct tally *tally; /* NULL: nothing has to be found out */
    bool parallel;
    atomic_bool begun;    /* by the first request */
    atomic_bool threaded; /* the thread is there */
    pthread_t thread;
    atomic_bool stop;
    _Atomic int64_t resume_ns; /* no look in passing before this */
};

/* The disk has block status (next->can_extents said so). Nothing happens before the
 * first request: a client that only asks the size costs nothing, and nbdkit is sure to
 * finalize a connection that has made one. */
void scan_init(struct scan *scan, nbdkit_next *next, struct tally *tally, bool parallel);
/* Before a request for this range: it is looked at before it changes, and counted
 * even where the scan has not been yet. */
void scan_ahead(struct scan *scan, uint64_t offset, uint32_t count);
/* What the client was told about [offset, offset + count). */
void scan_learn(struct scan *scan, uint64_t offset, uint32_t count, struct nbdkit_extents *extents);
/* The client has gone. `linger`: look at what is left, as far as a second goes. */
void scan_stop(struct scan *scan, bool linger);

#endif
