/* How long a live failover keeps a VM down. What comes in: what past syncs moved, and how long
 * past boots took. What goes out: seconds, and what of them is a guess. Only reads. */
#ifndef VMFERRY_JOB_LIVE_ESTIMATE_H
#define VMFERRY_JOB_LIVE_ESTIMATE_H

#include "store/store.h"

struct live_estimate {
    unsigned syncs;      /* that it is made of */
    double churn;        /* bytes/s that the guest changes; < 0: not known */
    double throughput;   /* bytes/s of its syncs; < 0: not known */
    double overhead_s;   /* of a sync with nothing in it; < 0: not known */
    double first_sync_s; /* one now, while it runs; < 0: not known */
    double sync_s;       /* the final one, right after that; < 0: not known */
    double shutdown_s, boot_s;
    double convert_s; /* of the guest, as in its newest failover; 0: none was needed there */
    bool shutdown_guessed, boot_guessed;
};

int live_estimate(struct store *store, int64_t vm_id, struct live_estimate *estimate,
                  struct error **err);
/* Of its parts; `sync_s` of the final sync. */
double live_estimate_downtime(const struct live_estimate *estimate, double sync_s);

#endif
