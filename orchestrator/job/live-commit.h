/* A live failover for good. What comes in: one that stands. What goes out: a VM that stands on its
 * bases alone, without restore points, whose source is out of service. It can't be taken back.
 *
 *   0. what earlier, rolled-back ones kept gets disks that stand alone
 *   1. transaction: state `committing`; the restore points go, as their images will be garbage;
 *      what files they had is written down
 *   2. what the guest wrote goes into the bases, while it runs
 *   3. the source is renamed, with a note, and stays off; a failure of that is said
 *   4. transaction: VM and failover are committed
 *   5. the files are removed
 *
 * After a crash it is gone on with where it stood; 2 to 5 may be repeated. */
#ifndef VMFERRY_JOB_LIVE_COMMIT_H
#define VMFERRY_JOB_LIVE_COMMIT_H

#include <stdatomic.h>

#include "store/store.h"

struct live_committing {
    atomic_int *cancel; /* libvirt goes on; the next commit finishes it */
    void (*say)(const char *line);
    void (*progress)(void *opaque, const char *disk, double percent);
    void *opaque;
};

int job_live_commit(struct store *store, const char *state_dir, const struct store_vm *vm,
                    int64_t id, const struct live_committing *how, struct error **err);
/* The caller holds the failover's lock. */
int live_commit_locked(struct store *store, const char *state_dir, const struct store_vm *vm,
                       struct store_failover *failover, const struct live_committing *how,
                       struct error **err);

#endif
