/* Deleting restore points: what is refused, and the order; see retire.h. */
#include "job/retire.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "failover/failover.h"
#include "job/claim.h"
#include "job/drop.h"
#include "job/retire-steps.h"
#include "json-writer.h"
#include "replica/images-lock.h"

/* A failover on the point, or on one that stands on it, has images open that a merge changes. */
static int refuse_failover(struct store *store, const struct store_vm *vm, unsigned number,
                           struct error **err)
{
    CLEANUP_FREE struct store_failover *open = NULL;
    size_t count;

    if (store_failovers(store, vm->id, false, &open, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct store_failover *failover = &open[i];
        bool kept = strcmp(failover->state, FAILOVER_KEPT) == 0;

        if ((failover->completed_ms && !(kept && failover->point_id)) ||
            (failover->point && failover->point < number))
            continue;
        error_set(err,
                  "%s failover %" PRId64 " (%s, domain %s) of '%s' stands on restore "
                  "point %u: end it first, `vmferry failover rollback %s%s`",
                  failover->kind, failover->id, failover->state,
                  failover->domain_name[0] ? failover->domain_name : "not made", vm->name,
                  failover->point, vm->name, kept ? " --discard" : "");
        (*err)->errnum = EBUSY;
        return -1;
    }
    return 0;
}

/* An unfinished sync has an overlay on the newest point. */
static int refuse_unfinished(struct store *store, const struct store_vm *vm, struct error **err)
{
    struct store_point left;
    bool found;

    if (store_point_unfinished(store, vm->id, &found, &left, err) < 0)
        return -1;
    return !found ? 0
                  : error_set(err,
                              "an unfinished sync of '%s' stands on its newest restore point: "
                              "finish it first, `vmferry replicate %s`",
                              vm->name, vm->name);
}

static int refuse_pinned(const struct store_vm *vm, const struct store_point *point,
                         struct error **err)
{
    return error_set(err, "restore point %u of '%s' is pinned: `vmferry point unpin %s %u` first",
                     point->number, vm->name, vm->name, point->number);
}

static int refuse(struct store *store, const struct store_vm *vm, const struct store_point *point,
                  bool may_be_newest, bool *is_newest, struct error **err)
{
    CLEANUP_FREE struct store_point *points = NULL;
    size_t count;

    if (point->pinned)
        return refuse_pinned(vm, point, err);
    if (store_points(store, vm->id, &points, &count, err) < 0)
        return -1;
    if (count < 2)
        return error_set(err,
                         "restore point %u is the last one of '%s', and the next sync would be a "
                         "full copy: it stays. To give the whole replica up: `vmferry point delete "
                         "%s --all`",
                         point->number, vm->name, vm->name);
    *is_newest = points[count - 1].id == point->id;
    if (*is_newest && !may_be_newest)
        return error_set(err,
                         "restore point %u is the newest one of '%s': without it the replica is at "
                         "point %u again, and the next sync starts from there. --newest deletes it",
                         point->number, vm->name, points[count - 2].number);
    if (*is_newest && refuse_unfinished(store, vm, err) < 0)
        return -1;
    return refuse_failover(store, vm, point->number, err);
}

/* The disks are at the point below again. */
static int set_back(struct store *store, const struct store_point *point, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *rows = NULL;
    size_t count;

    if (store_point_disks(store, point->id, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct store_point_disk below;

        if (rows[i].parent_id == 0)
            return error_set(err, "disk-%d has no older restore point: point %u stays", rows[i].key,
                             point->number);
        if (store_point_disk_get(store, rows[i].parent_id, &below, err) < 0 ||
            store_disk_set_back(store, &below, err) < 0)
            return -1;
    }
    return 0;
}

struct beginning {
    const struct store_vm *vm;
    unsigned number;
    bool may_be_newest;
    struct store_point point; /* out */
};

static int begin(struct store *store, void *opaque, struct error **err)
{
    struct beginning *b = opaque;
    char what[64], before[64], time[TIME_RFC3339];
    bool is_newest;

    if (store_vm_touch(store, b->vm->id, err) < 0 ||
        store_point_find(store, b->vm->id, b->number, &b->point, err) < 0 ||
        refuse(store, b->vm, &b->point, b->may_be_newest, &is_newest, err) < 0 ||
        (is_newest && set_back(store, &b->point, err) < 0) ||
        store_point_go(store, b->point.id, err) < 0)
        return -1;
    snprintf(what, sizeof what, "restore point %u", b->point.number);
    snprintf(before, sizeof before, "completed %s", time_rfc3339(time, b->point.completed_ms));
    return store_audit_vm(store, b->vm->id, "point delete", what, before, NULL, err);
}

/* Nothing of it can be done while somebody has the images open: seen before it begins. */
static int check(const struct merging *merging, const char *state_dir, const struct store_vm *vm,
                 unsigned number, const struct retire_options *options, struct error **err)
{
    struct store *store = merging->store;
    struct store_point point;
    bool is_newest;

    if (store_point_find(store, vm->id, number, &point, err) < 0 ||
        refuse(store, vm, &point, options->newest, &is_newest, err) < 0)
        return -1;
    return retire_check_images(merging, state_dir, &point, err);
}

/* One that another run began to delete. */
static int is_going(struct store *store, const struct store_vm *vm, unsigned number, bool *going,
                    struct error **err)
{
    CLEANUP_FREE struct store_point *points = NULL;
    size_t count;

    *going = false;
    if (store_points_going(store, vm->id, &points, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        *going |= points[i].number == number;
    return 0;
}

int retire_point(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                 unsigned number, const struct retire_options *options, struct error **err)
{
    struct beginning beginning = { .vm = vm, .number = number, .may_be_newest = options->newest };
    struct store *store = merging->store;
    CLEANUP_CLOSE int lock = -1;
    size_t ignored;
    bool going;

    if (images_lock(state_dir, vm, IMAGES_REWRITE, &lock, err) < 0 ||
        is_going(store, vm, number, &going, err) < 0 ||
        retire_unfinished(merging, state_dir, vm, &ignored, err) < 0)
        return -1;
    if (going)
        return 0;
    if (check(merging, state_dir, vm, number, options, err) < 0 ||
        merging_check(merging, err) < 0 ||
        claim_transaction(merging->claim, store, begin, &beginning, err) < 0)
        return -1;
    merging->begun = true;
    if (retire_steps(merging, state_dir, vm, &beginning.point, err) < 0)
        return error_prefix(err,
                            "restore point %u can't be used any more, but is not gone yet "
                            "(`vmferry recover %s` finishes it)",
                            beginning.point.number, vm->name);
    return 0;
}

int retire_finish(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                  size_t *count, struct error **err)
{
    struct store *store = merging->store;
    CLEANUP_CLOSE int lock = -1;
    bool needed;

    *count = 0;
    if (retire_is_needed(store, state_dir, vm, &needed, err) < 0)
        return -1;
    if (!needed)
        return 0;
    if (images_lock(state_dir, vm, IMAGES_REWRITE, &lock, err) < 0)
        return -1;
    return retire_unfinished(merging, state_dir, vm, count, err);
}

/* A merge from its claim to its end. One that is refused is no job. */
static int end(struct claim *claim, struct merging *merging, int r, struct error **err)
{
    if (r < 0 && !merging->begun && claim->job.fence == 1 && claim_wish(claim) == CLAIM_GO_ON) {
        claim_forget(claim, merging->store);
        return r;
    }
    if (r == 0)
        merging_finish(merging);
    else
        merging_explain_space(merging, err);
    return claim_let_go(claim, merging->store, r, err);
}

int job_retire(struct store *store, const char *state_dir, const struct store_vm *vm,
               unsigned number, const struct retire_options *options, struct error **err)
{
    CLEANUP_CLAIM struct claim *claim = NULL;
    CLEANUP_MERGING struct merging merging = { 0 };

    if (claim_hold(store, vm, JOB_MERGE, options->cancel, &claim, err) < 0)
        return -1;
    merging_start(&merging, claim, store, state_dir);
    return end(claim, &merging, retire_point(&merging, state_dir, vm, number, options, err), err);
}

int job_retire_finish(struct store *store, const char *state_dir, const struct store_vm *vm,
                      atomic_int *cancel, size_t *count, struct error **err)
{
    CLEANUP_CLAIM struct claim *claim = NULL;
    CLEANUP_MERGING struct merging merging = { 0 };

    if (claim_hold(store, vm, JOB_MERGE, cancel, &claim, err) < 0)
        return -1;
    merging_start(&merging, claim, store, state_dir);
    return end(claim, &merging, retire_finish(&merging, state_dir, vm, count, err), err);
}

int job_retire_resume(struct store *store, const char *state_dir, int64_t job_id,
                      atomic_int *cancel, struct error **err)
{
    const struct claim_wants wants = { .cancel = cancel };
    CLEANUP_CLAIM struct claim *claim = NULL;
    CLEANUP_MERGING struct merging merging = { 0 };
    struct store_vm vm;
    size_t count;

    if (claim_take(store, job_id, &wants, &claim, err) < 0)
        return -1;
    merging_start(&merging, claim, store, state_dir);
    return end(claim, &merging,
               store_vm_get(store, claim->job.vm_id, &vm, err) < 0
                   ? -1
                   : retire_finish(&merging, state_dir, &vm, &count, err),
               err);
}

static int refuse_all(struct store *store, const struct store_vm *vm, struct error **err)
{
    CLEANUP_FREE struct store_point *points = NULL;
    size_t count;

    if (store_points(store, vm->id, &points, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (points[i].pinned)
            return refuse_pinned(vm, &points[i], err);
    }
    return refuse_failover(store, vm, 0, err);
}

struct beginning_all {
    const struct store_vm *vm;
    bool lost_pool;
};

/* The VM is as if it had never been replicated; what its jobs said of it stays. */
static int begin_all(struct store *store, void *opaque, struct error **err)
{
    const struct beginning_all *b = opaque;
    const struct store_vm *vm = b->vm;
    CLEANUP_FREE struct store_point *points = NULL;
    CLEANUP_FREE struct store_disk *disks = NULL;
    size_t count, disk_count;

    if (store_vm_touch(store, vm->id, err) < 0 || refuse_all(store, vm, err) < 0 ||
        refuse_unfinished(store, vm, err) < 0 ||
        store_points(store, vm->id, &points, &count, err) < 0 ||
        store_disks(store, vm->id, &disks, &disk_count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (store_point_go(store, points[i].id, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < disk_count; i++) {
        if (store_disk_synced(store, disks[i].id, disks[i].capacity, "", "", "", err) < 0)
            return -1;
    }
    if (store_vm_change_state(store, vm->id, "ready_for_failover", "discovered", err) < 0)
        return -1;
    return store_audit_vm(store, vm->id, "point delete", "all restore points", NULL,
                          b->lost_pool ? "the pool is lost" : NULL, err);
}

/* What was begun can't be finished without the pool; it goes with the rest. */
static int leave_pool(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                      struct error **err)
{
    bool dropped;

    return refuse_all(merging->store, vm, err) < 0
               ? -1
               : drop_unfinished(merging->store, state_dir, vm, merging->claim, true, &dropped,
                                 err);
}

static int retire_all(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                      struct error **err)
{
    struct beginning_all beginning = { vm, merging->lost_pool };
    CLEANUP_CLOSE int images = -1;
    size_t count;

    if (images_lock(state_dir, vm, IMAGES_REWRITE, &images, err) < 0 ||
        retire_check_pool(merging, state_dir, vm, err) < 0 ||
        (merging->lost_pool ? leave_pool(merging, state_dir, vm, err)
                            : retire_unfinished(merging, state_dir, vm, &count, err)) < 0 ||
        claim_transaction(merging->claim, merging->store, begin_all, &beginning, err) < 0)
        return -1;
    merging->begun = true;
    return retire_unfinished(merging, state_dir, vm, &count, err);
}

int job_retire_all(struct store *store, const char *state_dir, const struct store_vm *vm,
                   bool lost_pool, atomic_int *cancel, struct error **err)
{
    CLEANUP_CLAIM struct claim *claim = NULL;
    CLEANUP_MERGING struct merging merging = { 0 };

    if (claim_hold(store, vm, JOB_MERGE, cancel, &claim, err) < 0)
        return -1;
    merging_start(&merging, claim, store, state_dir);
    merging.lost_pool = lost_pool;
    return end(claim, &merging, retire_all(&merging, state_dir, vm, err), err);
}
