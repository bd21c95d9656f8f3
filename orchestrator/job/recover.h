/* What dead jobs left at their sources: `vmferry recover`. What comes in: the rows of jobs
 * that may have a snapshot. What goes out: no snapshot, and rows that say so; a point, finished
 * or not, is left alone. */
#ifndef VMFERRY_JOB_RECOVER_H
#define VMFERRY_JOB_RECOVER_H

#include <stdatomic.h>

#include "store/store.h"

struct recover_result {
    unsigned removed; /* snapshots */
    unsigned ended;   /* jobs that were called running, and whose process had died */
    unsigned retired; /* restore points whose deletion was finished */
    unsigned going;   /* VMs with points whose deletion could not be finished */
    unsigned running; /* jobs that live, and were left alone */
    unsigned failed;  /* snapshots that may still stand */
};

struct recover_options {
    atomic_int *cancel;
    void (*say)(void *opaque, const char *text); /* NULL: nobody listens */
    void (*task)(void *opaque, const char *what, unsigned percent);
    void *opaque;
};

/* vm NULL: of all VMs. `say` hears of each; what fails is said, and the others go on. */
int job_recover(struct store *store, const char *state_dir, const struct store_vm *vm,
                const struct recover_options *options, struct recover_result *result,
                struct error **err);

#endif
