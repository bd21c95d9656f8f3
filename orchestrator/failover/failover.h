/* Test failover: boot a restore point on overlays, in a network of its own, see it
 * come up, and leave no trace but the evidence. The source and the point are never
 * written; replication may go on meanwhile.
 *
 * Everything that is made is named in failover_jobs before it is made:
 *   STATE/failovers/ID/disk-KEY.qcow2   one overlay a disk
 *   STATE/failovers/ID/console.log      the guest's serial console; stays as evidence
 *   libvirt network and domain          network, domain_name and domain_uuid of the row
 * So a rollback finds it all again, whatever died when; it may be repeated. */
#ifndef VMFERRY_FAILOVER_H
#define VMFERRY_FAILOVER_H

#include <limits.h>

#include "failover/evidence.h"
#include "store/store.h"

/* failover_jobs.state: what was about to be done when it was written. */
#define FAILOVER_OVERLAYS     "making overlays"
#define FAILOVER_NETWORK      "making network"
#define FAILOVER_DOMAIN       "starting domain"
#define FAILOVER_BOOTING      "booting"
#define FAILOVER_BOOTED       "booted"
#define FAILOVER_NOT_BOOTED   "not booted"
#define FAILOVER_ROLLING_BACK "rolling back"
#define FAILOVER_ROLLED_BACK  "rolled back"

struct failover_options {
    unsigned point;                /* its number, 0: the newest */
    const char *expect;            /* extended regular expression for a console line, or NULL */
    unsigned timeout_s;            /* for the boot */
    const char *virt_type;         /* auto, kvm, qemu */
    void (*say)(const char *line); /* what happens, for people; or NULL */
    evidence_tick *tick;           /* while it boots; or NULL */
};

struct failover_result {
    struct store_failover failover;
    unsigned point;
    const char *virt_type; /* what it ran under */
    char console[PATH_MAX];
    struct evidence evidence;
};

/* Boot `vm` and wait for its verdict. That it did not boot is no error: the domain is
 * left for a look at it. On an error all that was made is removed again.
 * One test failover a VM at a time. */
int failover_test(struct store *store, const char *state_dir, const struct store_vm *vm,
                  const struct failover_options *options, struct failover_result *result,
                  struct error **err);

/* Remove what the open failovers of `vm` made. Their number is in *count; 0 is no error. */
int failover_rollback(struct store *store, const char *state_dir, const struct store_vm *vm,
                      size_t *count, struct error **err);

/* The console log of failover `id`. */
void failover_console(const char *state_dir, int64_t id, char path[PATH_MAX]);

#endif
