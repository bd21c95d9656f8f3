/* A lane's connections and the requests on them; see lane.h. What comes in: requests
 * and what became of them. What goes out: the same requests, completed for good.
 * Lost connections are made again, failed requests are started again, each a bounded
 * number of times with growing pauses. It never looks into a piece. */
#include <inttypes.h>
#include <string.h>

#include "copy/lane.h"
#include "copy/retry.h"

#define SLOW_FACTOR 10 /* flushing and zeroing may take so much longer than a read */
#define SILENT_NS   (INT64_C(10) * 1000000000)

static const char *op_name(enum op op)
{
    static const char *const names[] = {
        "reading", "writing", "zeroing", "flushing", "asking for block status of", "copying"
    };

    return names[op];
}

static const char *reason(const struct request *req)
{
    if (req->errnum == EPROTO)
        return "the answer is not as long as what was asked for";
    if (req->errnum == ENODATA)
        return "the source became shorter";
    return req->conn && req->conn->why[0] && req->errnum == ENOTCONN ? req->conn->why
                                                                     : strerror(req->errnum);
}

static void fail_request(struct mover *mover, const struct request *req)
{
    CLEANUP_ERROR struct error *err = NULL;
    const struct end *end = side_of(req) == SOURCE ? mover->config->src : mover->config->dst;
    bool worth_retrying = retry_is_worthwhile(req->errnum);

    error_set(&err, "%s: %s %" PRIu64 " bytes at offset %" PRIu64 "%s: %s", end->name,
              op_name(req->op), req->length, req->offset,
              worth_retrying ? " (tried again and again)" : "", reason(req));
    err->errnum = req->errnum;
    if (worth_retrying || retry_later_helps(req->errnum))
        err->kind = ERROR_PAUSED;
    mover_fail(mover, &err);
}

/* Connections */

void link_down(struct lane *lane, enum side side, struct error **why)
{
    struct link *link = &lane->links[side];
    const struct move_config *config = lane->mover->config;
    int64_t asked_ns = link->conn.in_flight ? link->conn.heard_ns : monotonic_ns();
    CLEANUP_ERROR struct error *err = NULL;
    uint64_t bytes = 0;

    conn_disconnect(&link->conn, false); /* what was in flight completes with an error */
    if (side == DESTINATION) {
        if (durable_lost(config->durable, link->epoch, config->plan, &bytes) < 0) {
            error_set_errno(&err, ENOMEM, "copying");
            mover_fail(lane->mover, &err);
        }
        atomic_fetch_sub(&lane->mover->done, bytes);
        lane->plan_done = false;
    }
    window_forget(&lane->window);
    link->failures++;
    if (!mover_is_stopping(lane->mover))
        trouble_failed(&lane->mover->trouble, part_of(side), link->failures,
                       why && *why         ? error_message(*why)
                       : link->conn.why[0] ? link->conn.why
                                           : "the connection was lost",
                       asked_ns);
    if (link->failures > config->retries) {
        if (why && *why)
            error_move(&err, why);
        else
            error_set(&err, "%s: the connection was lost%s%s", link->conn.end->name,
                      link->conn.why[0] ? ": " : "", link->conn.why);
        error_prefix(&err, "gave up after %u tries in a row", link->failures);
        if (err->kind != ERROR_USAGE)
            err->kind = ERROR_PAUSED;
        mover_fail(lane->mover, &err);
    }
    link->not_before_ns = monotonic_ns() + retry_delay_ns(link->failures);
}

void link_up(struct lane *lane, enum side side)
{
    struct link *link = &lane->links[side];
    CLEANUP_ERROR struct error *err = NULL;

    if (link->conn.handle || monotonic_ns() < link->not_before_ns)
        return;
    link->epoch = durable_epoch(lane->mover->config->durable);
    if (conn_connect(&link->conn, &err) == 0) {
        lane->stats.reconnects += link->was_up;
        link->was_up = true;
        trouble_over(&lane->mover->trouble, part_of(side));
        if (side == DESTINATION)
            durable_connected(lane->mover->config->durable, link->epoch, lane);
    } else if (err->kind == ERROR_USAGE) {
        mover_fail(lane->mover, &err); /* another disk: no use to try again */
    } else {
        link_down(lane, side, &err);
    }
}

static bool link_is_stalled(const struct lane *lane, const struct link *link, int64_t now)
{
    const struct move_config *config = lane->mover->config;
    int64_t limit = (int64_t)config->timeout_s * 1000000000;

    if (link->conn.slow_in_flight)
        limit *= SLOW_FACTOR;
    return link->conn.in_flight && now - link->conn.heard_ns > limit;
}

void link_check_all(struct lane *lane)
{
    int64_t now = monotonic_ns();

    for (int side = SOURCE; side <= DESTINATION; side++) {
        struct link *link = &lane->links[side];
        CLEANUP_ERROR struct error *err = NULL;

        if (!link->conn.handle || link->conn.end->is_local)
            continue;
        if (!conn_is_alive(&link->conn)) {
            link_down(lane, (enum side)side, &err);
        } else if (link_is_stalled(lane, link, now)) {
            error_set_errno(&err, ETIMEDOUT, "%s: no answer", link->conn.end->name);
            link_down(lane, (enum side)side, &err);
        } else if (link->conn.in_flight && !link->conn.slow_in_flight &&
                   now - link->conn.heard_ns > SILENT_NS) {
            trouble_silent(&lane->mover->trouble, part_of((enum side)side), link->conn.heard_ns);
        }
    }
}

/* Requests */

static void wait_until(struct lane *lane, struct request *req, int64_t not_before_ns)
{
    req->not_before_ns = not_before_ns;
    request_list_add(&lane->waiting, req);
}

void link_start(struct lane *lane, struct request *req)
{
    struct link *link = &lane->links[side_of(req)];

    if (!link->conn.handle) {
        wait_until(lane, req, 0);
        return;
    }
    if (req->op == OP_WRITE || req->op == OP_ZERO) {
        struct slot *slot = req->owner;

        if (slot->outstanding == slot->count)
            slot->epoch = link->epoch; /* nothing of it went anywhere else */
    }
    conn_start(&link->conn, req);
}

/* Whether a failed request will be started again; else its failure is final. */
bool link_retry(struct lane *lane, struct request *req)
{
    struct mover *mover = lane->mover;
    struct link *link = &lane->links[side_of(req)];

    if (req->op == OP_ZERO && req->errnum == ENOTSUP && !req->slow_zero) {
        atomic_store(&mover->slow_zero, true);
        req->slow_zero = true;
        link_start(lane, req);
        return true;
    }
    if (mover_is_stopping(mover))
        return false;
    req->attempts++;
    if (conn_is_alive(&link->conn) && !retry_is_worthwhile(req->errnum)) {
        fail_request(mover, req);
        return false;
    }
    if (req->attempts > mover->config->retries) {
        fail_request(mover, req);
        return false;
    }
    if (conn_is_alive(&link->conn))
        trouble_failed(&mover->trouble,
                       req->op == OP_READ ? TROUBLE_READING : part_of(side_of(req)), req->attempts,
                       reason(req), monotonic_ns());
    wait_until(lane, req,
               conn_is_alive(&link->conn) ? monotonic_ns() + retry_delay_ns(req->attempts) : 0);
    return true;
}

/* Start again what has waited long enough; when stopping, nothing waits. */
void link_restart_waiting(struct lane *lane)
{
    struct request_list waiting = lane->waiting;
    struct request *req;
    int64_t now;

    if (!waiting.head)
        return;
    if (waiting.tail == &lane->waiting.head)
        waiting.tail = &waiting.head;
    request_list_init(&lane->waiting);
    now = monotonic_ns();
    while ((req = request_list_take(&waiting))) {
        if (mover_is_stopping(lane->mover)) {
            req->errnum = ECANCELED;
            request_list_add(&lane->completed, req);
        } else if (now < req->not_before_ns || !lane->links[side_of(req)].conn.handle) {
            request_list_add(&lane->waiting, req);
        } else {
            link_start(lane, req);
        }
    }
}
