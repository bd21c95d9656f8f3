/* The heartbeat of a claim: renews the lease, hears what the operator wants, and notices when
 * the job is lost. Two threads: one talks to the database, by a handle of its own; the other
 * looks at the clock and the signals, and never waits for a database. */
#ifndef VMFERRY_JOB_BEAT_H
#define VMFERRY_JOB_BEAT_H

#include "job/claim.h"

/* `valid_until_ms`: of the lease, by beat_clock_ms(). */
int beat_start(struct claim *claim, struct store *store, const struct claim_wants *wants,
               int64_t lease_ms, int64_t valid_until_ms, struct error **err);
/* Ends the threads. Nothing to do on NULL. */
void beat_stop(struct claim *claim);

/* See claim_stop_also(). */
void beat_stop_also(struct claim_beat *beat, atomic_int *flag);

enum claim_wish beat_wish(struct claim_beat *beat);
/* The pause was a signal's to this process. */
bool beat_was_signalled(struct claim_beat *beat);
/* The job is about to be ended by its owner. */
void beat_hush(struct claim_beat *beat);
/* Found out elsewhere that it is not ours: `job` is what the row says now, or NULL. */
void beat_lost(struct claim *claim, const struct store_job *job);
/* What beat_lost() or the clock said. */
int beat_error(struct claim_beat *beat, struct error **err);

/* Goes on while the machine sleeps. */
int64_t beat_clock_ms(void);

#endif
