/* When a replication may start, and how fast it may go: the limits of all workers together, the
 * time windows, the rates. What comes in: the configuration, the job's row, what all workers say
 * in the database. What goes out: yes, or what it waits for; a rate. */
#ifndef VMFERRY_JOB_ADMISSION_H
#define VMFERRY_JOB_ADMISSION_H

#include <stdatomic.h>

#include "job/throttle.h"
#include "store/limits.h"
#include "store/store.h"

struct admission {
    struct store_limits limits;
    struct throttle windows; /* of all jobs together */
};

/* Part of the transaction that starts it. `why` is "" when it may; `admission` may be NULL. */
int admission_ask(struct store *store, const struct admission *admission,
                  const struct store_job *job, int64_t now_ms, char why[STORE_NAME],
                  struct error **err);
/* A moment's wait for it: the job is queued, says what it waits for, and ERROR_PAUSED when
 * somebody wants to stop: then it is paused. `said`: what was said last. */
int admission_wait(struct store *store, const struct store_job *job, const char *why,
                   const atomic_int *cancel, char said[STORE_NAME], struct error **err);

/* bytes/s of a job that runs, 0: unlimited. *closed: nothing may move now. `own_rate`: its own,
 * or the configuration's. What can't be asked counts as not said. */
uint64_t admission_rate(struct store *store, const struct admission *admission,
                        const struct store_job *job, uint64_t own_rate, bool *closed);

#endif
