/* What dead workers left: `vmferry recover`. What comes in: the rows of jobs whose worker is gone,
 * or that ended and may still have a snapshot. What goes out: jobs that were gone on with to their
 * end, or paused; no snapshot that nobody goes on from, and no server or file without a worker. A
 * point, finished or not, is left alone, and nothing that was copied is removed. */
#ifndef VMFERRY_JOB_RECOVER_H
#define VMFERRY_JOB_RECOVER_H

#include <stdatomic.h>

#include "job/replicate.h"

struct recover_result {
    unsigned resumed;    /* jobs of dead workers that have completed now */
    unsigned paused;     /* …that are paused */
    unsigned unfinished; /* …that have failed */
    unsigned removed;    /* snapshots */
    unsigned failed;     /* snapshots that may still stand */
    unsigned retired;    /* restore points whose deletion was finished */
    unsigned going;      /* VMs with points whose deletion could not be finished */
    unsigned running;    /* jobs that live, and were left alone */
    unsigned servers;    /* that were ended */
};

struct recover_options {
    const struct replicate_options *run; /* how jobs are gone on with; NULL: they are paused */
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
