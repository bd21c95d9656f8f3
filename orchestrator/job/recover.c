/* Sweeping behind dead jobs; see recover.h. */
#include "job/recover.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "job/claim.h"
#include "job/connect.h"
#include "job/retire-steps.h"
#include "job/retire.h"

struct recovery {
    struct store *store;
    const char *state_dir;
    const struct recover_options *options;
    struct recover_result *result;
};

static void say(const struct recovery *recovery, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void say(const struct recovery *recovery, const char *fmt, ...)
{
    char text[2048];
    va_list args;

    if (!recovery->options->say)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    recovery->options->say(recovery->options->opaque, text);
}

static int remove_one(struct recovery *recovery, struct source *source, const struct store_vm *vm,
                      const struct store_job *job, struct error **err)
{
    if (source->kind->thaw && source->kind->thaw(source, vm->uuid, job->snapshot, err) < 0)
        return -1;
    if (store_job_set_snapshot(recovery->store, job->id, "", err) < 0 ||
        store_audit(recovery->store, "recover: snapshot removed", vm->uuid, job->snapshot, NULL,
                    err) < 0)
        return -1;
    recovery->result->removed++;
    say(recovery, "'%s': snapshot %s of job %" PRId64 " is gone", vm->name, job->snapshot, job->id);
    return 0;
}

static void remove_all(struct recovery *recovery, const struct store_vm *vm,
                       const struct store_job *jobs, size_t count)
{
    CLEANUP_CONNECTION struct connection from = { 0 };
    CLEANUP_ERROR struct error *unreachable = NULL;

    from.settings.cancel = recovery->options->cancel;
    from.settings.say = recovery->options->say;
    from.settings.task = recovery->options->task;
    from.settings.opaque = recovery->options->opaque;
    if (connection_open(recovery->store, vm->source_id, recovery->state_dir, &from, &unreachable) <
        0) {
        recovery->result->failed += (unsigned)count;
        say(recovery, "'%s': %s", vm->name, error_message(unreachable));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        CLEANUP_ERROR struct error *problem = NULL;

        if (remove_one(recovery, from.source, vm, &jobs[i], &problem) == 0)
            continue;
        recovery->result->failed++;
        say(recovery, "'%s': snapshot %s of job %" PRId64 ": %s", vm->name, jobs[i].snapshot,
            jobs[i].id, error_message(problem));
    }
}

/* Points whose deletion a dead process began. */
static void finish_points(struct recovery *recovery, const struct store_vm *vm)
{
    CLEANUP_CLAIM struct claim *claim = NULL;
    CLEANUP_ERROR struct error *problem = NULL;
    size_t count = 0;

    if (claim_hold(recovery->store, vm, "merge", &claim, &problem) < 0 ||
        claim_let_go(
            claim, recovery->store,
            retire_finish(claim, recovery->store, recovery->state_dir, vm, &count, &problem),
            &problem) < 0) {
        recovery->result->going++;
        say(recovery, "'%s': %s", vm->name, error_message(problem));
        return;
    }
    recovery->result->retired += (unsigned)count;
    if (count)
        say(recovery, "'%s': %zu restore point%s deleted, as was begun", vm->name, count,
            count == 1 ? "" : "s");
}

/* Ends the VM's job when its worker has died; *busy: it lives. */
static int end_dead_job(struct recovery *recovery, const struct store_vm *vm, bool *busy,
                        struct error **err)
{
    const struct claim_wants wants = { 0 };
    CLEANUP_CLAIM struct claim *claim = NULL;
    struct store_job job;
    int64_t now;
    bool found;

    if (store_clock_ms(recovery->store, &now, err) < 0 ||
        store_job_open(recovery->store, vm->id, &found, &job, err) < 0)
        return -1;
    *busy = found && claim_is_alive(&job, now);
    if (*busy)
        say(recovery, "'%s' is being replicated by job %" PRId64, vm->name, job.id);
    if (!found || !claim_is_dead(&job, now))
        return 0;
    if (claim_take(recovery->store, job.id, &wants, &claim, err) < 0 ||
        claim_end(claim, recovery->store, "failed", NULL, "its process died", err) < 0)
        return -1;
    recovery->result->ended++;
    say(recovery, "'%s': job %" PRId64 " had died", vm->name, job.id);
    return 0;
}

static int recover_vm(struct recovery *recovery, const struct store_vm *vm, struct error **err)
{
    CLEANUP_FREE struct store_job *jobs = NULL;
    size_t count;
    bool busy, going;

    if (end_dead_job(recovery, vm, &busy, err) < 0 ||
        retire_is_needed(recovery->store, recovery->state_dir, vm, &going, err) < 0)
        return -1;
    if (busy) {
        recovery->result->running++;
        return 0;
    }
    if (store_jobs_with_snapshot(recovery->store, vm->id, &jobs, &count, err) < 0)
        return -1;
    if (count > 0)
        remove_all(recovery, vm, jobs, count);
    if (going)
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

    *result = (struct recover_result){ 0 };
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
