/* The move: pieces of the plan from one end to the other. What comes in: two open
 * ends and a plan. What goes out: the destination written and flushed, durable_*
 * told about all of it, leaves of the digest. Work is shared by lanes, each a
 * thread with one connection to each end and a few buffers. It retries and
 * reconnects, a bounded number of times, and never returns with a request in
 * flight. */
#ifndef VMFERRY_COPY_MOVE_H
#define VMFERRY_COPY_MOVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "copy/durable.h"
#include "copy/end.h"
#include "copy/plan.h"
#include "error.h"

/* The longest request, in blocks of the digest; and one for a start inside a block. */
#define MOVE_REQUEST_MAX (UINT64_C(32) << 20)
#define MOVE_BLOCKS_MAX  (MOVE_REQUEST_MAX / DIGEST_BLOCK + 1)

struct move_config {
    struct end *src;
    struct end *dst;
    struct plan *plan;
    struct durable *durable;
    unsigned lanes;        /* on a long link */
    unsigned lanes_near;   /* where answers come at once; not more than lanes */
    unsigned lanes_first;  /* from the start */
    unsigned requests;     /* in flight a lane; 0: adapts */
    uint64_t request_size; /* bytes */
    unsigned retries;
    int timeout_s; /* without an answer a connection counts as lost */
    bool make_leaves;
    bool copy_directly;         /* the destination takes data from the source without our help */
    int expected_leaves_fd;     /* compare: a block whose leaf is here already is left alone; -1 */
    bool differences_fail;      /* verify: a block that differs is an error, and not written */
    atomic_uint_fast64_t *rate; /* bytes/s; NULL or 0: unlimited */
    atomic_bool *stop;          /* of the ends; set here when there is no going on */
    atomic_int *cancel;         /* non-zero: the caller wants to stop; may be NULL */
    unsigned patience_s;        /* so long an end in trouble is waited for; 0: retries decide */
    /* trouble: why nothing moves, NULL: all is well */
    void (*progress)(void *opaque, uint64_t done, const char *trouble);
    void *opaque;
};

struct move_stats {
    uint64_t read;
    uint64_t written;
    uint64_t zeroed;
    uint64_t same; /* compared and left alone */
    unsigned reconnects;
    bool cancelled;
};

/* Errors: ERROR_PAUSED when retries ran out or a cancel came: what durable_* was told
 * is on the destination; other kinds when trying again does not help. */
int move_run(const struct move_config *config, struct move_stats *stats, struct error **err);

#endif
