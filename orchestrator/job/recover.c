/* Sweeping behind dead jobs; see recover.h. */
#include "job/recover.h"

#include <inttypes.h>
#include <string.h>

#include "job/control.h"
#include "job/retire-steps.h"
#include "job/retire.h"
#include "job/sweep.h"
#include "say.h"

struct recovery {
    struct store *store;
    const char *state_dir;
    const struct recover_options *options;
    struct recover_result *result;
};

/* The operator paused a merge: it is not gone on with behind their back. */
static int is_held(const struct recovery *recovery, const struct store_vm *vm, bool *held,
                   struct error **err)
{
    struct store_job job;
    bool found;

    if (store_job_open(recovery->store, vm->id, &found, &job, err) < 0)
        return -1;
    *held = found && strcmp(job.type, JOB_MERGE) == 0 && strcmp(job.status, "paused") == 0 &&
            strcmp(job.paused_by, "operator") == 0;
    if (*held) {
        recovery->result->paused++;
        say_with(recovery->options,
                 "'%s': job %" PRId64 " (merge) was paused by the operator: `vmferry job resume "
                 "%" PRId64 "` goes on with it",
                 vm->name, job.id, job.id);
    }
    return 0;
}

/* Points whose deletion another process began. */
static void finish_points(struct recovery *recovery, const struct store_vm *vm)
{
    CLEANUP_ERROR struct error *problem = NULL;
    size_t count = 0;

    if (job_retire_finish(recovery->store, recovery->state_dir, vm, recovery->options->cancel,
                          &count, &problem) < 0) {
        /* A paused job of the VM comes first, and finishes it. */
        bool waits = problem->kind == ERROR_PAUSED || problem->errnum == EBUSY;

        *(waits ? &recovery->result->paused : &recovery->result->going) += 1;
        say_with(recovery->options, "'%s': %s", vm->name, error_message(problem));
        return;
    }
    recovery->result->retired += (unsigned)count;
    if (count)
        say_with(recovery->options, "'%s': %zu restore point%s deleted, as was begun", vm->name,
                 count, count == 1 ? "" : "s");
}

/* Go on with the VM's job, in this process. */
static void run_on(struct recovery *recovery, const struct store_vm *vm,
                   const struct store_job *job)
{
    CLEANUP_REPLICATE_RESULT struct replicate_result run = { 0 };
    CLEANUP_ERROR struct error *problem = NULL;

    say_with(recovery->options, "'%s': going on with job %" PRId64 ", whose worker has died",
             vm->name, job->id);
    if (job_resume(recovery->store, recovery->state_dir, job->id, recovery->options->run, &run,
                   &problem) == 0) {
        recovery->result->resumed++;
        say_with(recovery->options, "'%s': job %" PRId64 " has completed, restore point %u",
                 vm->name, job->id, run.point);
    } else if (problem->errnum == EBUSY) {
        recovery->result->running++;
        say_with(recovery->options, "%s", error_message(problem));
    } else if (problem->kind == ERROR_PAUSED) {
        recovery->result->paused++;
        say_with(recovery->options, "'%s': job %" PRId64 " is paused: %s", vm->name, job->id,
                 error_message(problem));
    } else {
        recovery->result->unfinished++;
        say_with(recovery->options, "'%s': job %" PRId64 ": %s", vm->name, job->id,
                 error_message(problem));
    }
}

/* A job of another kind is begun anew by who wants it; what it left half-done is finished below. */
static int lay_down(struct recovery *recovery, const struct store_vm *vm,
                    const struct store_job *job, struct error **err)
{
    const struct control_options options = { .cancel = recovery->options->cancel,
                                             .say = recovery->options->say,
                                             .task = recovery->options->task,
                                             .opaque = recovery->options->opaque };
    const struct claim_wants wants = { 0 };
    CLEANUP_CLAIM struct claim *claim = NULL;
    bool replication = strcmp(job->type, JOB_REPLICATION) == 0;

    if (claim_take(recovery->store, job->id, &wants, &claim, err) < 0)
        return -1;
    if (job_lay_down(recovery->store, recovery->state_dir, claim, replication ? "paused" : "failed",
                     replication ? "worker" : NULL, "its worker died", replication, &options,
                     err) < 0)
        return -1;
    if (replication)
        recovery->result->paused++;
    say_with(recovery->options, "'%s': job %" PRId64 " is %s: its worker died", vm->name, job->id,
             replication ? "paused" : "ended");
    return 0;
}

/* *busy: somebody works on the VM. */
static int recover_job(struct recovery *recovery, const struct store_vm *vm, bool *busy,
                       struct error **err)
{
    struct store_job job;
    int64_t now;
    bool found, orphaned;

    if (store_clock_ms(recovery->store, &now, err) < 0 ||
        store_job_open(recovery->store, vm->id, &found, &job, err) < 0)
        return -1;
    *busy = found && claim_is_alive(&job, now);
    if (*busy) {
        recovery->result->running++;
        say_with(recovery->options, "'%s' is being worked on by job %" PRId64, vm->name, job.id);
        return 0;
    }
    if (!found)
        return 0;
    orphaned = strcmp(job.status, "paused") == 0 && strcmp(job.paused_by, "worker") == 0;
    if (!claim_is_dead(&job, now) && !orphaned)
        return 0;
    if (strcmp(job.type, JOB_REPLICATION) == 0 && recovery->options->run) {
        run_on(recovery, vm, &job);
        return 0;
    }
    return orphaned && strcmp(job.type, JOB_REPLICATION) == 0 ? 0
                                                              : lay_down(recovery, vm, &job, err);
}

/* Of jobs that have ended; an open one's is what it goes on from. */
static int remove_snapshots(struct recovery *recovery, const struct store_vm *vm,
                            struct error **err)
{
    const struct control_options options = { .cancel = recovery->options->cancel,
                                             .say = recovery->options->say,
                                             .task = recovery->options->task,
                                             .opaque = recovery->options->opaque };
    CLEANUP_FREE struct store_job *jobs = NULL;
    size_t count;

    if (store_jobs_with_snapshot(recovery->store, vm->id, &jobs, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!store_job_is_open(&jobs[i]) &&
            job_remove_snapshots(recovery->store, recovery->state_dir, vm, &jobs[i], &options,
                                 &recovery->result->removed, &recovery->result->failed, err) < 0)
            return -1;
    }
    return 0;
}

static int recover_vm(struct recovery *recovery, const struct store_vm *vm, struct error **err)
{
    bool busy, going, held = false;

    if (recover_job(recovery, vm, &busy, err) < 0 ||
        retire_is_needed(recovery->store, recovery->state_dir, vm, &going, err) < 0)
        return -1;
    if (busy)
        return 0;
    if (remove_snapshots(recovery, vm, err) < 0 || (going && is_held(recovery, vm, &held, err) < 0))
        return -1;
    if (going && !held)
        finish_points(recovery, vm);
    return 0;
}

int job_recover(struct store *store, const char *state_dir, const struct store_vm *vm,
                const struct recover_options *options, struct recover_result *result,
                struct error **err)
{
    struct recovery recovery = {
        .store = store, .state_dir = state_dir, .options = options, .result = result
    };
    CLEANUP_FREE struct store_vm *vms = NULL;
    size_t count;
    unsigned paused;

    *result = (struct recover_result){ 0 };
    paused = sweep_at_start(store, state_dir);
    if (!options->run) /* else they are gone on with */
        result->paused = paused;
    result->servers = sweep_servers(state_dir);
    if (vm)
        return recover_vm(&recovery, vm, err);
    if (store_vms(store, &vms, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (recover_vm(&recovery, &vms[i], err) < 0)
            return error_prefix(err, "'%s'", vms[i].name);
    }
    return 0;
}
