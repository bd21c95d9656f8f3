/* Jobs from outside; see control.h. */
#include "job/control.h"

#include <inttypes.h>
#include <string.h>

#include "job/connect.h"
#include "job/takeover.h"
#include "say.h"

#define LOOK_US 200000

static int refuse_over(const struct store_job *job, struct error **err)
{
    error_set(err, "job %" PRId64 " is at its end: %s", job->id, job->status);
    (*err)->errnum = EALREADY;
    return -1;
}

/* One name of a list with blanks between, removed from it. */
static void strike(char *names, const char *name)
{
    char rest[STORE_NAME] = "", copy[STORE_NAME], *save = NULL;

    snprintf(copy, sizeof copy, "%s", names);
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        if (strcmp(word, name) != 0)
            snprintf(rest + strlen(rest), sizeof rest - strlen(rest), "%s%s", rest[0] ? " " : "",
                     word);
    }
    strcpy(names, rest);
}

int job_remove_snapshots(struct store *store, const char *state_dir, const struct store_vm *vm,
                         const struct store_job *job, const struct control_options *options,
                         unsigned *removed, unsigned *left, struct error **err)
{
    CLEANUP_CONNECTION struct connection from = { 0 };
    CLEANUP_ERROR struct error *unreachable = NULL;
    char names[STORE_NAME], standing[STORE_NAME], *save = NULL;

    memcpy(names, job->snapshot, sizeof names);
    memcpy(standing, job->snapshot, sizeof standing);
    if (!names[0])
        return 0;
    from.settings.cancel = options->cancel;
    from.settings.say = options->say;
    from.settings.task = options->task;
    from.settings.opaque = options->opaque;
    if (connection_open(store, vm->source_id, state_dir, &from, &unreachable) < 0) {
        *left += 1;
        say_with(options, "'%s': %s", vm->name, error_message(unreachable));
        return 0;
    }
    for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
        CLEANUP_ERROR struct error *problem = NULL;

        if (from.source->kind->thaw &&
            from.source->kind->thaw(from.source, vm->uuid, name, &problem) < 0) {
            *left += 1;
            say_with(options, "'%s': snapshot %s of job %" PRId64 ": %s", vm->name, name, job->id,
                     error_message(problem));
            continue;
        }
        strike(standing, name);
        if (store_job_set_snapshot(store, job->id, standing, err) < 0 ||
            store_audit(store, "snapshot removed", vm->uuid, name, NULL, err) < 0)
            return -1;
        *removed += 1;
        say_with(options, "'%s': snapshot %s of job %" PRId64 " is gone", vm->name, name, job->id);
    }
    return 0;
}

struct revocation {
    const char *state_dir;
    const struct export_target *target;
};

static int revoke_export(struct store *store, void *opaque, struct error **err)
{
    const struct revocation *revocation = opaque;

    return export_revoke(store, revocation->state_dir, revocation->target, err);
}

/* Nobody may write to what the VM's unfinished point consists of. An image that was not made
 * yet has no export. */
static int withdraw(struct store *store, const char *state_dir, const struct store_vm *vm,
                    struct claim *claim, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *disks = NULL;
    struct store_point point;
    size_t count;
    bool found;

    if (store_point_unfinished(store, vm->id, &found, &point, err) < 0)
        return -1;
    if (!found)
        return 0;
    if (store_point_disks(store, point.id, &disks, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct export_target target = { .vm = vm,
                                        .key = disks[i].key,
                                        .unit = disks[i].unit,
                                        .image = disks[i].image,
                                        .format = disks[i].format };
        struct revocation body = { state_dir, &target };
        CLEANUP_ERROR struct error *missing = NULL;

        claim_transaction(claim, store, revoke_export, &body, &missing);
    }
    return 0;
}

static int audit(struct store *store, const struct store_job *job, const char *verb,
                 const char *after, struct error **err)
{
    char what[32], subject[32];

    snprintf(what, sizeof what, "job %s", verb);
    snprintf(subject, sizeof subject, "job %" PRId64, job->id);
    return store_audit_vm(store, job->vm_id, what, subject, job->status, after, err);
}

struct laying_down {
    const struct store_vm *vm;
    const struct store_job *job;
    const char *verb; /* of the operator; NULL: nobody said so */
    const char *status;
};

static int lay_down(struct store *store, void *opaque, struct error **err)
{
    const struct laying_down *l = opaque;
    const struct store_vm *vm = l->vm;
    CLEANUP_FREE struct store_point *points = NULL;
    size_t count;

    if (store_points(store, vm->id, &points, &count, err) < 0 ||
        (l->verb && audit(store, l->job, l->verb, l->status, err) < 0))
        return -1;
    return store_vm_change_state(store, vm->id, "replicating",
                                 count ? "ready_for_failover" : "discovered", err);
}

int job_lay_down(struct store *store, const char *state_dir, struct claim *claim,
                 const char *status, const char *paused_by, const char *reason, bool keep_frozen,
                 const struct control_options *options, struct error **err)
{
    bool cancels = strcmp(status, "cancelled") == 0;
    bool wanted = cancels || (paused_by && strcmp(paused_by, "operator") == 0);
    struct laying_down end = { .job = &claim->job,
                               .verb = !wanted   ? NULL
                                       : cancels ? "cancel"
                                                 : "pause",
                               .status = status };
    unsigned removed = 0, left = 0;
    struct store_vm vm;

    end.vm = &vm;
    if (store_vm_get(store, claim->job.vm_id, &vm, err) < 0 ||
        takeover_point(store, state_dir, &vm, claim, err) < 0 ||
        withdraw(store, state_dir, &vm, claim, err) < 0)
        return -1;
    if (!keep_frozen &&
        job_remove_snapshots(store, state_dir, &vm, &claim->job, options, &removed, &left, err) < 0)
        return -1;
    if (left)
        say_with(options, "%u snapshot%s of '%s' may still stand: `vmferry recover` tries again",
                 left, left == 1 ? "" : "s", vm.name);
    return claim_end_with(claim, store, status, paused_by, reason, lay_down, &end, err);
}

static bool is_cancelled(const struct control_options *options)
{
    return options->cancel && atomic_load(options->cancel);
}

struct asking {
    const struct store_job *job;
    const char *wanted;
    bool asked;
};

static int ask(struct store *store, void *opaque, struct error **err)
{
    struct asking *a = opaque;
    char owner[OWNER_TEXT], after[OWNER_TEXT + 16];

    if (store_job_ask(store, a->job->id, a->wanted, &a->asked, err) < 0)
        return -1;
    snprintf(after, sizeof after, "asked of %s", owner_text(a->job, owner));
    return a->asked ? audit(store, a->job, a->wanted, after, err) : 0;
}

/* Ask whoever runs it until it does so; *claim is set when nobody does, and then it is ours. */
static int ask_worker(struct store *store, int64_t job_id, const char *wanted,
                      const struct control_options *options, struct store_job *job,
                      struct claim **claim, struct error **err)
{
    const struct claim_wants wants = { 0 };
    struct asking asking = { .job = job, .wanted = wanted };
    bool said = false;
    int64_t now;

    for (;;) {
        if (store_job_get(store, job_id, job, err) < 0 || store_clock_ms(store, &now, err) < 0)
            return -1;
        if (!store_job_is_open(job))
            return 0;
        if (!claim_is_alive(job, now)) {
            if (strcmp(wanted, "pause") == 0 && strcmp(job->status, "paused") == 0)
                return 0;
            if (claim_take(store, job_id, &wants, claim, err) == 0)
                return 0;
            if ((*err)->errnum != EBUSY && (*err)->errnum != EALREADY)
                return -1;
            error_clear(err); /* it has changed again */
            continue;
        }
        if (!asking.asked && store_transaction(store, ask, &asking, err) < 0)
            return -1;
        if (asking.asked && !said) {
            char owner[OWNER_TEXT];

            say_with(options, "job %" PRId64 ": waiting for %s", job_id, owner_text(job, owner));
            said = true;
        }
        if (is_cancelled(options))
            return error_set(err, "job %" PRId64 " was asked to %s, and has not done so yet",
                             job_id, wanted);
        usleep(LOOK_US);
    }
}

int job_cancel(struct store *store, const char *state_dir, int64_t job_id,
               const struct control_options *options, struct error **err)
{
    CLEANUP_CLAIM struct claim *claim = NULL;
    struct store_job job;

    if (store_job_get(store, job_id, &job, err) < 0)
        return -1;
    if (!store_job_is_open(&job))
        return refuse_over(&job, err);
    if (ask_worker(store, job_id, "cancel", options, &job, &claim, err) < 0)
        return -1;
    if (claim)
        return job_lay_down(store, state_dir, claim, "cancelled", NULL, "cancelled by the operator",
                            false, options, err);
    return strcmp(job.status, "cancelled") == 0 ? 0 : refuse_over(&job, err);
}

int job_pause(struct store *store, const char *state_dir, int64_t job_id,
              const struct control_options *options, struct error **err)
{
    CLEANUP_CLAIM struct claim *claim = NULL;
    struct store_job job;

    if (ask_worker(store, job_id, "pause", options, &job, &claim, err) < 0)
        return -1;
    if (claim)
        return job_lay_down(store, state_dir, claim, "paused", "operator", "paused by the operator",
                            true, options, err);
    return store_job_is_open(&job) ? 0 : refuse_over(&job, err);
}
