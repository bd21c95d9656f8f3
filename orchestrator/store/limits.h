/* How many jobs may run, and what is said by all workers together: counted and kept in the
 * database, so that it holds for every process on every host. */
#ifndef VMFERRY_STORE_LIMITS_H
#define VMFERRY_STORE_LIMITS_H

#include "store/store.h"

#define SETTING_RATE "rate" /* bytes/s of all jobs together; "0", or none: unlimited */

/* value is "" when nobody has set it. */
int store_setting_get(struct store *store, const char *name, char value[STORE_NAME],
                      struct error **err);
int store_setting_put(struct store *store, const char *name, const char *value, struct error **err);

/* 0: as many as there are. */
struct store_limits {
    unsigned total;
    unsigned per_source;
    unsigned per_host;   /* that holds the VM: an ESXi host, an NBD server */
    unsigned per_target; /* pool; the state directory is one, too */
};

/* Where the VM is; "" when it is nowhere in particular. */
int store_vm_set_host(struct store *store, int64_t vm_id, const char *host, struct error **err);

/* Whether this replication may run now, as part of the transaction that would start it: nobody
 * else starts one before that ends. `why` is "" when it may, else what it waits for, in words.
 * Of those that wait for the same source the oldest is first. */
int store_limits_room(struct store *store, int64_t job_id, const struct store_limits *limits,
                      int64_t now_ms, char why[STORE_NAME], struct error **err);
/* This queued or paused job's worker lives, and waits for that: it is queued. Nothing is done to
 * one that has changed since. */
int store_job_waits(struct store *store, const struct store_job *job, const char *why,
                    struct error **err);
/* It does not any more: a queued job is paused, by its operator. */
int store_job_waits_no_more(struct store *store, int64_t job_id, const char *why,
                            struct error **err);

/* Replications that move data now, of all workers. */
int store_jobs_moving(struct store *store, int64_t now_ms, unsigned *count, struct error **err);

#endif
