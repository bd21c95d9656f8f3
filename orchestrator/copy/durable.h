/* What has been written, and what of it is safe. What comes in: pieces whose
 * writes completed, with the leaves of their blocks. What goes out, after each
 * flush of the destination: leaves in the leaves file, then records in the
 * journal. A range is never called durable before a flush that began after its
 * write completed, and what a lost connection may have taken along is given back
 * to the plan. Memory is bounded by how often the destination is flushed.
 * Thread-safe. */
#ifndef VMFERRY_COPY_DURABLE_H
#define VMFERRY_COPY_DURABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "copy/journal.h"
#include "copy/plan.h"
#include "digest.h"
#include "error.h"

struct durable_config {
    int leaves_fd;           /* -1: none. The caller's */
    const char *leaves_name; /* for messages */
    bool sync_leaves;        /* they have to be as durable as the journal */
    struct journal *journal; /* NULL: none. The caller's */
    uint64_t flush_bytes;    /* a flush is due after so many bytes… */
    int64_t flush_ns;        /* …or so long after the last one */
};

struct durable;

struct durable *durable_new(const struct durable_config *config, struct error **err);
void durable_free(struct durable *durable);

/* The epoch of the destination: it changes when a connection to it was lost. A
 * write counts only if its connection was made in the epoch that still lasts. */
unsigned durable_epoch(struct durable *durable);

/* `lane`, any pointer that tells one connection's owner from another's, has connected;
 * it knew `epoch` before that. The first to say so in an epoch is its flusher: whoever
 * connects later may be talking to a server that was started again, which would answer
 * for writes that its predecessor lost. The flusher stays to the end. */
void durable_connected(struct durable *durable, unsigned epoch, const void *lane);
bool durable_is_flusher(struct durable *durable, const void *lane);

/* All of this piece's writes completed on a connection of `epoch`; `same`: there
 * was none to do. `leaves` has one digest for each block the piece touches (a read
 * piece), or is NULL. 0: that epoch is over, the piece has to be written again;
 * 1: noted; -1: out of memory. */
int durable_written(struct durable *durable, unsigned epoch, const struct piece *piece, bool same,
                    const struct digest *leaves);

/* Whether `lane`, which has to be the flusher, should flush the destination now.
 * When true, it has to do so and then call durable_flushed() or durable_not_flushed().
 * `final`: whatever is pending, nothing else will come. */
bool durable_flush_due(struct durable *durable, const void *lane, bool final, int64_t now_ns);
/* The flush succeeded: make leaves and journal say so, durably. */
int durable_flushed(struct durable *durable, struct error **err);
/* The flush failed: what it covered is never called durable, but by durable_lost()
 * given back to the plan. */
void durable_not_flushed(struct durable *durable);
/* Anything is written and not known to be flushed. */
bool durable_is_pending(struct durable *durable);

/* A connection to the destination was lost in `epoch`: what is written but not
 * flushed goes back to the plan. Says in *bytes how much that was. Only the first
 * call of an epoch does something. */
int durable_lost(struct durable *durable, unsigned epoch, struct plan *plan, uint64_t *bytes);

#endif
