/* Live failover: a VM leaves its source and runs here. What comes in: a VM with a restore point.
 * What goes out: a domain that runs and has all that the source had when it was shut down, or an
 * error and everything as it was.
 *
 *     preflight        the target's host, name and networks; the source's power     nothing made
 *     preparing        the row is written: no other sync of the VM from now on
 *     syncing ahead    replication while it runs, until the rest is small enough
 *     shutting source down      its guest, in time, or its plug; confirmed by asking
 *     final sync       the ordinary one, of all disks
 *     verifying        the new point is whole, and of that moment
 *     making overlays … starting domain    failover/live.h; right before the start the source is
 *                      asked once more: it must be off
 *     booting          until it has booted, or not
 *     failed over
 *
 * Each is written to failover_jobs.state before it is done. What fails before it has booted is
 * undone: the target is removed, which is confirmed by asking, and only then the source is powered
 * on again, if it was on. So at any instant exactly one of the two is able to run. */
#ifndef VMFERRY_JOB_LIVE_H
#define VMFERRY_JOB_LIVE_H

#include "failover/live.h"
#include "job/live-estimate.h"
#include "job/replicate.h"

struct live_options {
    struct failover_options boot; /* network, networks, keep_s, before_start are not asked for */
    struct replicate_options sync;
    bool source_lost;        /* it is gone: the point as it is, nothing is synced */
    bool source_is_off;      /* says the operator, of a source that can't tell */
    bool allow_power_off;    /* when the guest does not shut down */
    unsigned max_downtime_s; /* 0: any */
    unsigned shutdown_timeout_s;
    atomic_int *cancel;
};

struct live_result {
    struct failover_result boot;
    double downtime_s; /* from the request to shut down until it had booted; of a lost source 0 */
    int64_t rpo_ms;    /* age of the point, of a lost source */
};

int job_live(struct store *store, const char *state_dir, const struct store_vm *vm,
             const struct live_options *options, struct live_result *result, struct error **err);

/* What it would do, as far as that can be known without doing anything. Blockers are findings. */
struct live_preview {
    struct findings findings;
    bool power_known;
    enum power power;
    unsigned point;
    int64_t point_ms;
    char domain[STORE_NAME];
    char source[STORE_NAME];
    struct live_estimate estimate;
};
int job_live_preview(struct store *store, const char *state_dir, const struct store_vm *vm,
                     const struct live_options *options, struct live_preview *preview,
                     struct error **err);
void live_preview_free(struct live_preview *preview);

/* The VM's live failover that is open; false: none. */
int job_live_find(struct store *store, int64_t vm_id, bool *found, struct store_failover *failover,
                  struct error **err);

struct live_back {
    bool discard;   /* what the guest wrote here */
    bool leave_off; /* the source is not powered on */
    unsigned shutdown_timeout_s;
    void (*say)(const char *line);
};
/* Back to the source. */
int job_live_rollback(struct store *store, const char *state_dir, const struct store_vm *vm,
                      int64_t id, const struct live_back *back, struct error **err);

/* Remove what rolled-back ones had kept; of this id, or of all (0). */
int job_live_discard(struct store *store, const char *state_dir, const struct store_vm *vm,
                     int64_t id, size_t *count, struct error **err);

struct live_recovered {
    size_t undone, finished, alarms;
};
/* What dead processes left: one whose domain runs is watched to its end, others are undone. A
 * source that runs beside its target is an alarm, which is said. vm NULL: of all. */
int job_live_recover(struct store *store, const char *state_dir, const struct store_vm *vm,
                     void (*say)(const char *line), struct live_recovered *done,
                     struct error **err);

#endif
