/* What an operator does with a job from outside: `vmferry job cancel|pause`, and what is swept when
 * a worker has died. What comes in: a job of any process and host. What goes out: a worker that
 * was asked and has obeyed, or a job that was ended here as nobody runs it. Points that are
 * complete are never touched, and what was copied stays, unless --drop says otherwise. */
#ifndef VMFERRY_JOB_CONTROL_H
#define VMFERRY_JOB_CONTROL_H

#include <stdatomic.h>

#include "job/claim.h"

struct control_options {
    atomic_int *cancel; /* stop waiting; NULL: never */
    void (*say)(void *opaque, const char *text);
    void (*task)(void *opaque, const char *what, unsigned percent);
    void *opaque;
};

/* The job is cancelled on return: its worker has seen to that, or, as there is none, we have: its
 * snapshots are gone and nobody may write to its exports. errnum EALREADY: it was at its end. */
int job_cancel(struct store *store, const char *state_dir, int64_t job_id,
               const struct control_options *options, struct error **err);
/* It is paused on return. A job that was paused stays so. */
int job_pause(struct store *store, const char *state_dir, int64_t job_id,
              const struct control_options *options, struct error **err);
/* The VM's unfinished point and what was copied for it are gone, if it has one (*dropped). No job
 * of the VM may be open. */
int job_drop(struct store *store, const char *state_dir, const struct store_vm *vm, bool *dropped,
             struct error **err);

/* For who holds the claim of a job that is not worked on: nobody may write to its exports, its
 * snapshots at the source are removed (unless `keep_frozen`), and it gets `status`. What can't be
 * removed is said, and stays written down. */
int job_lay_down(struct store *store, const char *state_dir, struct claim *claim,
                 const char *status, const char *paused_by, const char *reason, bool keep_frozen,
                 const struct control_options *options, struct error **err);
/* The snapshots that this job's row names; *left counts those that may still stand. */
int job_remove_snapshots(struct store *store, const char *state_dir, const struct store_vm *vm,
                         const struct store_job *job, const struct control_options *options,
                         unsigned *removed, unsigned *left, struct error **err);

#endif
