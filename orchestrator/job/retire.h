/* Deleting restore points. What comes in: a point that nobody needs any more. What goes out:
 * its rows and files are gone, and every other point shows what it showed before.
 *
 * A point's data is what later points stand on, so that a point k goes by merging the image of
 * k + 1 into the image of k (replica/merge.h), which then is that of k + 1. The newest point has
 * nothing above: its images are removed, and its disks are at the point below again.
 *
 *   1. transaction: k is `going`, for good; of the newest point also the disks' change ids
 *   2. for each disk: k + 1 into k, and what stands on k + 1 onto k
 *   3. transaction: the rows of k + 1 take over k's images, those of k get the old ones
 *   4. the export of the newest point is mapped anew
 *   5. the files that k's rows now name are removed
 *   6. transaction: k's rows are removed
 *
 * It may be paused or cancelled in step 2: the point stays `going`, which `vmferry job resume`,
 * `vmferry recover` or the next merge finishes. What stands on it shows what it showed.
 *
 * After a crash the rows tell what is left: a disk of k on which a later point stands waits for
 * 2 and 3, one on which none does for 5. Every step may be repeated. */
#ifndef VMFERRY_RETIRE_H
#define VMFERRY_RETIRE_H

#include "job/merging.h"

struct retire_options {
    bool newest;        /* also the newest point may be deleted */
    atomic_int *cancel; /* of the operator's signals; NULL: none */
};

/* `vmferry point delete`: takes the VM's locks. What is refused changes nothing; errnum EBUSY:
 * because of an open failover. */
int job_retire(struct store *store, const char *state_dir, const struct store_vm *vm,
               unsigned number, const struct retire_options *options, struct error **err);

/* Every point of the VM, which has none afterwards: `vmferry point delete VM --all`. With
 * `lost_pool` its pool need not be there, nor what lies in it: it is not looked at again. */
int job_retire_all(struct store *store, const char *state_dir, const struct store_vm *vm,
                   bool lost_pool, atomic_int *cancel, struct error **err);

/* What another one began is finished; *count points are gone. */
int job_retire_finish(struct store *store, const char *state_dir, const struct store_vm *vm,
                      atomic_int *cancel, size_t *count, struct error **err);

/* `vmferry job resume` of a merge: what was begun is finished. */
int job_retire_resume(struct store *store, const char *state_dir, int64_t job_id,
                      atomic_int *cancel, struct error **err);

/* The rest is for those who have the VM to themselves, by a claim. Who lost it, changes no row
 * any more: images are only removed when no row names them. */

/* As job_retire. */
int retire_point(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                 unsigned number, const struct retire_options *options, struct error **err);
/* Finish what another one began. *count points are gone. */
int retire_finish(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                  size_t *count, struct error **err);

#endif
