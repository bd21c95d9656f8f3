/* The target's side of a live failover: the newest restore point becomes a domain that stays, on
 * real networks, under the VM's own name. What comes in: a boot with its options. What goes out:
 * a domain that its host starts again without vmferry, as its images are opened by their paths.
 * It never asks or changes the source: that is job/live.h, which calls this. */
#ifndef VMFERRY_FAILOVER_LIVE_H
#define VMFERRY_FAILOVER_LIVE_H

#include "failover/boot.h"

/* failover_jobs.state of a live one, besides those in failover.h. */
#define LIVE_PREPARING  "preparing"
#define LIVE_AHEAD      "syncing ahead"
#define LIVE_SHUTTING   "shutting source down"
#define LIVE_FINAL_SYNC "final sync"
#define LIVE_VERIFYING  "verifying"
#define LIVE_UP         "failed over"
#define LIVE_COMMITTING "committing"
#define LIVE_COMMITTED  "committed"

extern const struct boot_kind live_kind;

/* What can be refused is refused here, before the source is touched: as boot_prepare(), and that
 * the networks and the name are there for it. boot->options->networks is set. */
int live_prepare(struct boot *boot, struct error **err);

/* After the final sync: the row names the newest point, which stays as it is from now on. */
int live_take_point(struct boot *boot, struct error **err);

/* One whose process died after its domain was started: boot_watch() and boot_keep_evidence() can
 * go on. `virt_type` is what the dead one had chosen. */
int live_attach(struct boot *boot, const char *virt_type, struct error **err);

/* A domain of it is there, and runs. */
int live_look(const struct store_failover *failover, bool *exists, bool *active,
              struct error **err);
/* Stop its domain, asking the guest first. */
int live_stop(const struct store_failover *failover, unsigned timeout_s, struct error **err);

#endif
