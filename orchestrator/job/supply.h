/* Where a repair gets its data: the source's disks. What comes in: a VM and the repair's job.
 * What goes out: places that the copy engine can read. Of a source that has to be frozen, a
 * snapshot is made when the first disk is asked for, and is gone when the supply is closed; the
 * job's row names it meanwhile, as a replication's does, so that `vmferry recover` finds it. */
#ifndef VMFERRY_JOB_SUPPLY_H
#define VMFERRY_JOB_SUPPLY_H

#include "job/claim.h"
#include "job/connect.h"

struct supply {
    struct store *store;
    const struct store_vm *vm;
    struct connection from;
    struct vm_spec spec;
    int64_t job_id;
    char snapshot[SOURCE_SNAPSHOT]; /* that may stand; "": none */
    char none[1024];                /* why there is nothing to be had; "" */
    char trouble[1024];             /* what could not be tidied up; "" */
};

/* A source that can't be asked is no error: `none` says so, for repairs that need none. */
void supply_open(struct supply *supply, struct store *store, const char *state_dir,
                 const struct store_vm *vm, const struct claim *claim, atomic_int *cancel);
/* NULL: it can't be had, and *why says why. */
const struct spec_disk *supply_disk(struct supply *supply, int key, const char **why);
void supply_close(struct supply *supply);

#endif
