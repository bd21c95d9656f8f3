/* What the parts of the move share: a lane, its slots and connections. move.c runs
 * lanes, link.c keeps their connections and requests alive, piece.c does what is to
 * be done to a piece. Everything of a lane belongs to its thread; what lanes share is
 * in the mover. */
#ifndef VMFERRY_COPY_LANE_H
#define VMFERRY_COPY_LANE_H

#include <pthread.h>
#include <stdatomic.h>

#include "copy/move.h"
#include "copy/trouble.h"
#include "copy/window.h"

#define SMALL_PIECES 16 /* so many small ones count as a whole request */
#define WRITES_MAX   32 /* of a piece; more than PIECE_SEGMENTS */

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
    struct trouble trouble;
    pthread_mutex_t lock; /* protects err, active, debt, paid_ns; changed is signalled with it */
    pthread_cond_t changed;
    struct error *err; /* the first */
    unsigned active;   /* lanes that run */
    unsigned wanted;   /* lanes that are worth their connections */
    double debt;       /* bytes, see pay_off() */
    int64_t paid_ns;   /* up to when it was paid off */
    unsigned lane_count;
    unsigned started; /* lanes whose thread was started; the main thread's */
    struct lane *lanes;
    atomic_uint_fast64_t done;
    atomic_bool slow_zero; /* the destination refused to zero fast */
    atomic_bool no_flush;  /* a flush failed: never believe a later one */
    atomic_bool cancelled; /* the caller wished to stop */
};

/* Nothing new is started any more. */
bool mover_is_stopping(const struct mover *mover);
/* Lanes that wait for nothing but a change of the plan look again. */
void mover_wake_all(struct mover *mover);
/* Stop everything for this reason, which becomes ours; the first one counts. */
void mover_fail(struct mover *mover, struct error **err);

static inline enum trouble_part part_of(enum side side)
{
    return side == SOURCE ? TROUBLE_SOURCE : TROUBLE_DESTINATION;
}

static inline enum side side_of(const struct request *req)
{
    return req->op == OP_READ || req->op == OP_STATUS ? SOURCE : DESTINATION;
}

/* Connect, when the time has come. */
void link_up(struct lane *lane, enum side side);
/* The connection is lost, `why` if known. What was in flight completes with an error,
 * and what the destination may not have kept goes back to the plan. */
void link_down(struct lane *lane, enum side side, struct error **why);
/* Find out which connections are lost. */
void link_check_all(struct lane *lane);
/* Start a request, or let it wait for its connection. */
void link_start(struct lane *lane, struct request *req);
/* Whether a failed request will be started again; else its failure is final. */
bool link_retry(struct lane *lane, struct request *req);
/* Start again what has waited long enough; when stopping, nothing waits. */
void link_restart_waiting(struct lane *lane);

/* Begin with a piece of the plan; there is a free slot. */
void piece_start(struct lane *lane, const struct piece *piece);
/* A request of a slot has completed. */
void piece_completed(struct lane *lane, struct request *req);

#endif
