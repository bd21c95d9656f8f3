/* Owning a job. What comes in: a job of the store that nobody owns, or whose owner is gone. What
 * goes out: a claim, kept alive by a heartbeat, until it is ended or somebody else took the job.
 *
 * The job's row is the mutual exclusion of its VM, for all hosts: a VM has one open job, and a
 * job one owner. An owner has a lease, which it renews while it lives, and a fence, a number that
 * grows with every owner. Each write of the job names the fence, in the transaction that it
 * belongs to; the lease of the exports that it writes to holds it, too. So an owner that was
 * stopped for an hour changes nothing when it wakes up, whatever it believes. */
#ifndef VMFERRY_JOB_CLAIM_H
#define VMFERRY_JOB_CLAIM_H

#include <stdatomic.h>

#include "job/admission.h"
#include "job/owner.h"
#include "replica/export.h"
#include "store/store.h"

#define JOB_REPLICATION "manual"
#define JOB_MERGE       "merge"

enum claim_wish {
    CLAIM_GO_ON,
    CLAIM_WINDOW, /* nothing may move for a while */
    CLAIM_PAUSE,  /* by a signal, or `vmferry job pause` */
    CLAIM_CANCEL, /* `vmferry job cancel` */
    CLAIM_LOST,   /* it is not ours any more */
};

struct claim_wants {
    unsigned lease_seconds; /* 0: VMFERRY_LEASE_SECONDS of the environment, or the default */
    atomic_int *cancel;     /* of the operator's signals; NULL: none */
    uint64_t rate;          /* bytes/s of a job that has none of its own; 0: unlimited */
    const struct admission *admission; /* NULL: it starts at once; lives as long as the claim */
    int64_t failover_id;               /* the live failover that it is for; 0: none */
    bool runs; /* it is taken to be run, not to be ended: refused for a VM that lives elsewhere */
};

struct claim_beat;

struct claim {
    struct store_job job; /* as it was taken */
    char lease[LEASE_TEXT];
    int64_t lease_ms;
    bool contested;            /* the owner before may still be there and write local files */
    atomic_int stop;           /* non-zero: the work has to end soon; claim_wish() says why */
    atomic_uint_fast64_t rate; /* bytes/s now; 0: unlimited */
    struct claim_beat *beat;
};

/* Take this job: it is queued or paused, or its lease has run out, or its owner was a process of
 * this host and boot that has ended. errnum EBUSY: somebody else has it, the message says who;
 * EALREADY: it is at its end. */
int claim_take(struct store *store, int64_t job_id, const struct claim_wants *wants,
               struct claim **claim, struct error **err);

/* The VM for oneself: go on with its open job of this type, or make one. `options` is JSON that
 * becomes part of the job's, `rate` its rate (-1: as it is). An open job of another type is in the
 * way (EBUSY), unless its worker has died: that one has failed then. */
int claim_vm(struct store *store, const struct store_vm *vm, const char *type, const char *options,
             int64_t rate, const struct claim_wants *wants, struct claim **claim,
             struct error **err);

/* For one that does something with a VM for which its replication has to wait: "merge". `cancel`:
 * of the operator's signals; NULL: none. */
int claim_hold(struct store *store, const struct store_vm *vm, const char *type, atomic_int *cancel,
               struct claim **claim, struct error **err);
/* The end of that: `r` of what was done, and returned; *err is why. What was stopped is
 * cancelled; a merge, which can be gone on with, is paused (ERROR_PAUSED) if that was wished, or
 * if *err is of that kind. */
int claim_let_go(struct claim *claim, struct store *store, int r, struct error **err);

/* `flag`, too, is set when the work has to end; until this is called with NULL. For threads that
 * go on while their maker waits for the database. */
void claim_stop_also(struct claim *claim, atomic_int *flag);

/* The database does not answer any more: as if the lease had run out. */
void claim_lapse(struct claim *claim);

/* As if the job had never been: of one that only kept others away for a moment. */
void claim_forget(struct claim *claim, struct store *store);
/* EBUSY, and who has the job. */
int claim_refuse_busy(struct store *store, const struct store_job *job, struct error **err);

/* Whether the owner of this open job has to be reckoned with; `now_ms` is store_clock_ms(). */
bool claim_is_alive(const struct store_job *job, int64_t now_ms);
/* Its owner has ended, or its lease has run out. */
bool claim_is_dead(const struct store_job *job, int64_t now_ms);

/* VMFERRY_LEASE_SECONDS, 0 when it is not set; ERROR_USAGE when it is wrong. */
int claim_lease_of_environment(unsigned *seconds, struct error **err);

enum claim_wish claim_wish(struct claim *claim);
/* Of a CLAIM_PAUSE: "operator", who has to resume it; or "signal", and then anything may. */
const char *claim_paused_by(const struct claim *claim);
/* 0 while it is ours; else ERROR_FAILED that says who has it. No database is asked. */
int claim_check(struct claim *claim, struct error **err);

/* `fn` as one transaction of `store`, in which the job is ours; else ERROR_FAILED, ESTALE. */
int claim_transaction(struct claim *claim, struct store *store,
                      int (*fn)(struct store *store, void *opaque, struct error **err),
                      void *opaque, struct error **err);
/* store_step() in such a transaction. */
int claim_step(struct claim *claim, struct store *store, int64_t disk_id, const char *step,
               const char *state, const char *detail, struct error **err);

/* "Completed", "Failed: why". */
const char *claim_ending(const char *status, const char *reason, char text[STORE_NAME]);
/* completed, failed, cancelled, paused (by whom). Nothing to do for one that is lost. */
int claim_end(struct claim *claim, struct store *store, const char *status, const char *paused_by,
              const char *reason, struct error **err);
/* As claim_end, and `fn` in the same transaction, before it. */
int claim_end_with(struct claim *claim, struct store *store, const char *status,
                   const char *paused_by, const char *reason,
                   int (*fn)(struct store *store, void *opaque, struct error **err), void *opaque,
                   struct error **err);
/* A job whose claim_end() was called with no success is left to the next worker. */
void claim_free(struct claim *claim);
static inline void cleanup_claim(struct claim **claim)
{
    claim_free(*claim);
}
#define CLEANUP_CLAIM CLEANUP(cleanup_claim)

#endif
