/* A worker whose lease ran out because the database did not answer. What comes in: the job and the
 * fence under which it was worked on, with nothing of it running any more. What goes out: that it
 * may be taken again, by this process, when the database is back within the patience and nobody
 * else has the job; else the reason to end. Writes nothing. */
#ifndef VMFERRY_JOB_AGAIN_H
#define VMFERRY_JOB_AGAIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

struct again {
    int64_t job_id, fence;
    unsigned patience_s; /* 0: as long as a source that does not answer is waited for */
    atomic_int *cancel;  /* of the operator's signals; NULL: none */
};

/* *err is what ended the work: cleared when it can be gone on with (0). */
int again_wait(struct store *store, const struct again *again, struct error **err);

#endif
