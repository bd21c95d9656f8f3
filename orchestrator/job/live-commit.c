/* Committing live failovers; see live-commit.h. */
#include "job/live-commit.h"

#include <inttypes.h>
#include <json.h>
#include <stdio.h>
#include <string.h>

#include "failover/flatten.h"
#include "failover/job.h"
#include "job/claim.h"
#include "job/live-kept.h"
#include "job/live-parts.h"
#include "job/retire-steps.h"
#include "json-writer.h"
#include "replica/images-lock.h"
#include "replica/volume.h"
#include "say.h"

struct committing {
    struct store *store;
    const char *state_dir;
    const struct store_vm *vm;
    struct store_failover *failover;
    const struct live_committing *how;
    json_object *files; /* relative to the state directory: they go at the end */
    json_object *bases; /* they are what remains */
};

static void free_committing(struct committing *c)
{
    json_object_put(c->files);
    json_object_put(c->bases);
}

/* ---- 1 ---- */

static int refuse_others(struct store *store, const struct committing *c, struct error **err)
{
    CLEANUP_FREE struct store_failover *list = NULL;
    size_t count;

    if (store_failovers(store, c->vm->id, false, &list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        bool parted = strcmp(list[i].state, FAILOVER_KEPT) == 0 && !list[i].point_id;
        bool over = list[i].completed_ms && strcmp(list[i].state, FAILOVER_KEPT) != 0;

        if (list[i].id != c->failover->id && !parted && !over)
            return error_set(err,
                             "failover %" PRId64 " of %s (%s) stands on its restore points, which "
                             "a commit uses up: `vmferry failover rollback %s --id=%" PRId64
                             "` first",
                             list[i].id, c->vm->name, list[i].state, c->vm->name, list[i].id);
    }
    return 0;
}

static int drop_point(struct store *store, struct committing *c, const struct store_point *point,
                      struct error **err)
{
    CLEANUP_FREE struct store_point_disk *rows = NULL;
    size_t count;

    if (point->pinned)
        return error_set(err,
                         "restore point %u of '%s' is pinned, and a commit uses all of them up: "
                         "`vmferry point unpin %s %u` first",
                         point->number, c->vm->name, c->vm->name, point->number);
    if (store_point_disks(store, point->id, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        json_object_array_add(rows[i].parent_id ? c->files : c->bases,
                              json_object_new_string(rows[i].image));
        json_object_array_add(c->files, json_object_new_string(rows[i].leaves));
    }
    return store_point_go(store, point->id, err) < 0 ? -1 : store_point_drop(store, point->id, err);
}

static int drop_points(struct store *store, struct committing *c, struct error **err)
{
    CLEANUP_FREE struct store_point *points = NULL;
    CLEANUP_FREE struct store_point *going = NULL;
    CLEANUP_FREE struct store_disk *disks = NULL;
    size_t count, going_count, disk_count;

    if (store_points(store, c->vm->id, &points, &count, err) < 0 ||
        store_points_going(store, c->vm->id, &going, &going_count, err) < 0 ||
        store_disks(store, c->vm->id, &disks, &disk_count, err) < 0)
        return -1;
    if (going_count)
        return error_set(err,
                         "a restore point of '%s' is just being deleted: `vmferry recover %s` "
                         "first",
                         c->vm->name, c->vm->name);
    for (size_t i = count; i > 0; i--) { /* those above first */
        if (drop_point(store, c, &points[i - 1], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < disk_count; i++) {
        if (store_disk_synced(store, disks[i].id, disks[i].capacity, "", "", "", err) < 0)
            return -1;
    }
    return 0;
}

static int write_list(struct store *store, const struct committing *c, struct error **err)
{
    json_object *json = json_object_new_object();
    int r;

    json_object_object_add(json, "files", json_object_get(c->files));
    json_object_object_add(json, "bases", json_object_get(c->bases));
    r = store_failover_set_options(store, c->failover->id, json_object_to_json_string(json), err);
    json_object_put(json);
    return r;
}

static int begin(struct store *store, void *opaque, struct error **err)
{
    struct committing *c = opaque;
    struct store_failover next = *c->failover;
    struct store_point left;
    char subject[64];
    bool found;

    json_object_put(c->files);
    json_object_put(c->bases);
    c->files = json_object_new_array();
    c->bases = json_object_new_array();
    if (store_vm_touch(store, c->vm->id, err) < 0 || refuse_others(store, c, err) < 0 ||
        store_point_unfinished(store, c->vm->id, &found, &left, err) < 0)
        return -1;
    if (found)
        return error_set(err,
                         "an unfinished sync of '%s' is in the way: cancel it (`vmferry job "
                         "list`)",
                         c->vm->name);
    strcpy(next.state, LIVE_COMMITTING);
    next.point_id = 0;
    snprintf(subject, sizeof subject, "failover %" PRId64, next.id);
    return store_failover_update(store, &next, err) < 0 || drop_points(store, c, err) < 0 ||
                   write_list(store, c, err) < 0
               ? -1
               : store_audit_vm(store, c->vm->id, "failover commit", subject, c->failover->state,
                                LIVE_COMMITTING, err);
}

/* Nobody reads or rewrites images while they are still restore points. */
static int take_points(struct committing *c, struct error **err)
{
    CLEANUP_CLAIM struct claim *claim = NULL;
    CLEANUP_CLOSE int images = -1;
    int r;

    if (claim_hold(c->store, c->vm, "commit", c->how->cancel, &claim, err) < 0)
        return -1;
    r = images_lock(c->state_dir, c->vm, IMAGES_REWRITE, &images, err) < 0
            ? -1
            : claim_transaction(claim, c->store, begin, c, err);
    if (claim_let_go(claim, c->store, r, err) < 0)
        return -1;
    strcpy(c->failover->state, LIVE_COMMITTING);
    c->failover->point_id = 0;
    return 0;
}

static int read_list(struct committing *c, struct error **err)
{
    CLEANUP_FREE char *text = NULL;
    json_object *json, *files, *bases;

    if (store_failover_options(c->store, c->failover->id, &text, err) < 0)
        return -1;
    json = json_tokener_parse(text);
    if (json_object_object_get_ex(json, "files", &files) &&
        json_object_object_get_ex(json, "bases", &bases)) {
        c->files = json_object_get(files);
        c->bases = json_object_get(bases);
    }
    json_object_put(json);
    return c->files && c->bases
               ? 0
               : error_set(err, "failover %" PRId64 " has no list of its files", c->failover->id);
}

/* ---- 2 to 5 ---- */

static int for_files(const struct committing *c, json_object *list,
                     int (*act)(const char *path, struct error **err), struct error **err)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(list, i));
        char path[PATH_MAX];

        if (volume_path(c->state_dir, name, path, err) < 0 || act(path, err) < 0)
            return -1;
    }
    return 0;
}

static int let_write(const char *path, struct error **err)
{
    return volume_is_sealed(path) ? volume_unseal(path, err) : 0;
}

static int flatten(const struct committing *c, struct error **err)
{
    char folder[PATH_MAX];
    const struct flatten what = { .folder = folder,
                                  .cancel = c->how->cancel,
                                  .progress = c->how->progress,
                                  .opaque = c->how->opaque };

    failover_directory(c->state_dir, c->failover->id, folder);
    return for_files(c, c->bases, let_write, err) < 0 ? -1
                                                      : flatten_domain(c->failover, &what, err);
}

/* That it could not be renamed is no reason to keep the VM in between. */
static void retire_source(const struct committing *c)
{
    const struct live_source from = { .store = c->store,
                                      .state_dir = c->state_dir,
                                      .vm = c->vm,
                                      .cancel = c->how->cancel,
                                      .say = c->how->say };
    CLEANUP_ERROR struct error *err = NULL;
    char name[STORE_NAME + 32], note[STORE_NAME * 2 + 128], time[TIME_RFC3339];

    snprintf(name, sizeof name, "%s-moved-by-vmferry", c->vm->name);
    snprintf(note, sizeof note,
             "Moved by vmferry, failover %" PRId64
             " at %s: it runs as domain %s on host %s. Do not "
             "power on.",
             c->failover->id, time_rfc3339(time, c->failover->created_ms), c->failover->domain_name,
             c->failover->host);
    if (strcmp(c->failover->source_was, LIVE_WAS_LOST) == 0)
        say_line(c->how->say, "the source was lost: when it comes back, do not power it on");
    else if (live_source_retire(&from, name, note, &err) < 0)
        say_line(c->how->say,
                 "the source could not be renamed, do that by hand, and leave it off: %s",
                 error_message(err));
}

static int end(struct store *store, void *opaque, struct error **err)
{
    struct committing *c = opaque;
    char subject[64];

    strcpy(c->failover->state, LIVE_COMMITTED);
    c->failover->completed_ms = store_now_ms();
    snprintf(subject, sizeof subject, "failover %" PRId64, c->failover->id);
    return store_failover_update(store, c->failover, err) < 0 ||
                   store_vm_set_state(store, c->vm->id, "committed", err) < 0
               ? -1
               : store_audit_vm(store, c->vm->id, "failover commit", subject, LIVE_COMMITTING,
                                LIVE_COMMITTED, err);
}

/* Before the end is written, so that a crash leaves none behind. */
static int remove_files(const struct committing *c, struct error **err)
{
    char path[PATH_MAX];
    CLEANUP_FREE struct store_disk *disks = NULL;
    size_t count;

    if (for_files(c, c->files, volume_remove, err) < 0 ||
        store_disks(c->store, c->vm->id, &disks, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        failover_overlay(c->state_dir, c->failover->id, disks[i].key, path);
        if (volume_remove(path, err) < 0)
            return -1;
    }
    return 0;
}

static int check_source_off(const struct committing *c, struct error **err)
{
    const struct live_source from = {
        .store = c->store, .state_dir = c->state_dir, .vm = c->vm, .cancel = c->how->cancel
    };
    CLEANUP_ERROR struct error *why = NULL;
    enum power power;

    if (live_source_power(&from, &power, &why) == 0)
        return power == POWER_OFF
                   ? 0
                   : error_set(err,
                               "ALARM: the source of %s is powered on beside domain %s: power "
                               "one of them off",
                               c->vm->name, c->failover->domain_name);
    if (why->errnum == ENOTSUP || strcmp(c->failover->source_was, LIVE_WAS_LOST) == 0)
        return 0;
    return error_move(err, &why);
}

static int check_runs(const struct committing *c, struct error **err)
{
    bool exists, active;

    if (live_look(c->failover, &exists, &active, err) < 0)
        return -1;
    return active ? 0
                  : error_set(err, "domain %s does not run: virsh start '%s', then commit again",
                              c->failover->domain_name, c->failover->domain_name);
}

int live_commit_locked(struct store *store, const char *state_dir, const struct store_vm *vm,
                       struct store_failover *failover, const struct live_committing *how,
                       struct error **err)
{
    CLEANUP(free_committing)
    struct committing c = {
        .store = store, .state_dir = state_dir, .vm = vm, .failover = failover, .how = how
    };

    if (check_runs(&c, err) < 0 || check_source_off(&c, err) < 0)
        return -1;
    if (strcmp(failover->state, LIVE_COMMITTING) != 0) {
        if (live_kept_part(store, state_dir, vm, how->cancel, how->say, err) < 0 ||
            take_points(&c, err) < 0)
            return -1;
    } else if (read_list(&c, err) < 0) {
        return -1;
    }
    if (retire_map_anew(store, state_dir, vm, err) < 0 || flatten(&c, err) < 0)
        return error_prefix(err, "`vmferry failover commit %s` goes on with it", vm->name);
    retire_source(&c);
    if (remove_files(&c, err) < 0 || store_transaction(store, end, &c, err) < 0)
        return -1;
    failover_lock_remove(state_dir, failover->id);
    return 0;
}

int job_live_commit(struct store *store, const char *state_dir, const struct store_vm *vm,
                    int64_t id, const struct live_committing *how, struct error **err)
{
    struct store_failover failover;
    CLEANUP_CLOSE int lock = failover_take(store, state_dir, vm, id, "commit it", &failover, err);

    if (lock < 0)
        return -1;
    if (strcmp(failover.state, LIVE_UP) != 0 && strcmp(failover.state, LIVE_COMMITTING) != 0)
        return error_set(err, "failover %" PRId64 " of %s is at: %s; `vmferry recover %s` first",
                         id, vm->name, failover.state, vm->name);
    return live_commit_locked(store, state_dir, vm, &failover, how, err);
}
