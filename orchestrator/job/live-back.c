/* Undoing live failovers, and going on with those of dead processes; see live.h, live-parts.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "failover/job.h"
#include "job/live-commit.h"
#include "job/live-parts.h"
#include "say.h"

#define SETTLE_MOST_S 60

int live_wishes_write(struct store *store, int64_t id, const struct live_wishes *wishes,
                      struct error **err)
{
    json_object *json = json_object_new_object();
    int r;

    json_object_object_add(json, "expect", json_object_new_string(wishes->expect));
    json_object_object_add(json, "virt_type", json_object_new_string(wishes->virt_type));
    json_object_object_add(json, "timeout", json_object_new_int64(wishes->timeout_s));
    json_object_object_add(json, "shutdown_timeout",
                           json_object_new_int64(wishes->shutdown_timeout_s));
    json_object_object_add(json, "keep", json_object_new_boolean(wishes->keep));
    json_object_object_add(json, "power_on", json_object_new_boolean(wishes->power_on));
    r = store_failover_set_options(store, id, json_object_to_json_string(json), err);
    json_object_put(json);
    return r;
}

static const char *text_in(json_object *json, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(json, name, &value) && value ? json_object_get_string(value)
                                                                  : "";
}

static int64_t number_in(json_object *json, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(json, name, &value) ? json_object_get_int64(value) : 0;
}

int live_wishes_read(struct store *store, int64_t id, struct live_wishes *wishes,
                     struct error **err)
{
    CLEANUP_FREE char *text = NULL;
    json_object *json;

    *wishes = (struct live_wishes){ 0 };
    if (store_failover_options(store, id, &text, err) < 0)
        return -1;
    json = json_tokener_parse(text);
    snprintf(wishes->expect, sizeof wishes->expect, "%s", text_in(json, "expect"));
    snprintf(wishes->virt_type, sizeof wishes->virt_type, "%s", text_in(json, "virt_type"));
    wishes->timeout_s = (unsigned)number_in(json, "timeout");
    wishes->shutdown_timeout_s = (unsigned)number_in(json, "shutdown_timeout");
    wishes->keep = number_in(json, "keep") != 0;
    wishes->power_on = number_in(json, "power_on") != 0;
    json_object_put(json);
    return 0;
}

int live_check_off(const struct live_source *from, const char *source_was, struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;
    enum power power;

    if (live_source_power(from, &power, &why) == 0)
        return power == POWER_OFF ? 0
                                  : error_set(err,
                                              "the source says that '%s' is not off: somebody has "
                                              "powered it on",
                                              from->vm->name);
    if (why->errnum == ENOTSUP && strcmp(source_was, LIVE_WAS_VOUCHED) == 0)
        return 0;
    return error_move(err, &why);
}

static int check_gone(const struct store_failover *failover, struct error **err)
{
    bool exists, active;

    if (live_look(failover, &exists, &active, err) < 0)
        return -1;
    return exists ? error_set(err, "domain %s is still there: the source stays off",
                              failover->domain_name)
                  : 0;
}

/* With what a recovery has to know. */
static int begin_undo(struct store *store, struct store_failover *failover,
                      const struct live_undo *how, struct error **err)
{
    struct live_wishes wishes;

    if (live_wishes_read(store, failover->id, &wishes, err) < 0)
        return -1;
    wishes.keep = how->keep;
    wishes.power_on = how->power_on;
    if (live_wishes_write(store, failover->id, &wishes, err) < 0)
        return -1;
    strcpy(failover->state, FAILOVER_ROLLING_BACK);
    return store_failover_update(store, failover, err);
}

int live_undo(struct store *store, const char *state_dir, const struct store_vm *vm,
              struct store_failover *failover, const struct live_undo *how, struct error **err)
{
    const struct live_source from = {
        .store = store, .state_dir = state_dir, .vm = vm, .say = how->say
    };
    unsigned settle = how->settle_s < SETTLE_MOST_S ? how->settle_s : SETTLE_MOST_S;

    if (begin_undo(store, failover, how, err) < 0 ||
        (how->stop_s && live_stop(failover, how->stop_s, err) < 0) ||
        failover_remove(store, state_dir, failover, how->keep, err) < 0 ||
        check_gone(failover, err) < 0)
        return -1;
    if (how->power_on) {
        say_line(how->say, "powering the source on");
        if (live_source_power_on(&from, settle, err) < 0)
            return error_prefix(err, "the target is gone, but the source is not powered on");
    }
    return failover_close(store, state_dir, failover,
                          how->keep ? FAILOVER_KEPT : FAILOVER_ROLLED_BACK, err);
}

static int write_up(struct store *store, void *opaque, struct error **err)
{
    struct store_failover *failover = opaque;
    char subject[64];

    strcpy(failover->state, LIVE_UP);
    snprintf(subject, sizeof subject, "failover %" PRId64, failover->id);
    return store_failover_update(store, failover, err) < 0 ||
                   store_vm_set_state(store, failover->vm_id, "failed_over_live", err) < 0
               ? -1
               : store_audit_vm(store, failover->vm_id, "failover live", subject, NULL,
                                "it runs here", err);
}

int live_finish(struct boot *boot, double *downtime_s, struct error **err)
{
    struct store_failover *failover = &boot->result->failover;
    json_object *downtime;

    *downtime_s = failover->off_ms ? (double)(store_now_ms() - failover->off_ms) / 1000 : 0;
    if (json_object_object_get_ex(boot->more, "downtime", &downtime)) {
        char text[32];

        snprintf(text, sizeof text, "%.1f", *downtime_s);
        json_object_object_add(downtime, "seconds", json_object_new_double_s(*downtime_s, text));
    }
    return boot_keep_evidence(boot, err) < 0
               ? -1
               : store_transaction(boot->store, write_up, failover, err);
}

int job_live_find(struct store *store, int64_t vm_id, bool *found, struct store_failover *failover,
                  struct error **err)
{
    CLEANUP_FREE struct store_failover *open = NULL;
    size_t count;

    *found = false;
    if (store_failovers(store, vm_id, true, &open, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count && !*found; i++) {
        *found = strcmp(open[i].kind, "live") == 0;
        if (*found)
            *failover = open[i];
    }
    return 0;
}

/* ---- asked for ---- */

static int refuse_committed(const struct store_failover *failover, const struct store_vm *vm,
                            struct error **err)
{
    if (strcmp(failover->state, LIVE_COMMITTING) != 0)
        return 0;
    return error_set(err,
                     "failover %" PRId64 " of %s is being committed: its restore points are gone, "
                     "and what runs here is all there is. `vmferry failover commit %s` goes on",
                     failover->id, vm->name, vm->name);
}

/* A source that was lost, or that can't be asked, is powered on by whoever can. */
static int power_on_or_say(const struct live_source *from, const char *source_was, bool *power_on,
                           struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;
    enum power power;

    if (!*power_on || live_source_power(from, &power, &why) == 0)
        return 0;
    if (why->errnum != ENOTSUP && strcmp(source_was, LIVE_WAS_LOST) != 0)
        return error_prefix(&why, "the source can't be powered on, so the target stays "
                                  "(--leave-off goes back all the same)"),
               error_move(err, &why);
    say_line(from->say, "the source has to be powered on by you: %s", error_message(why));
    *power_on = false;
    return 0;
}

int job_live_rollback(struct store *store, const char *state_dir, const struct store_vm *vm,
                      int64_t id, const struct live_back *back, struct error **err)
{
    CLEANUP_CLOSE int vm_lock = failover_lock_vm(state_dir, vm, err);
    CLEANUP_CLOSE int lock = -1;
    const struct live_source from = {
        .store = store, .state_dir = state_dir, .vm = vm, .say = back->say
    };
    struct store_failover failover;
    struct live_undo how = { .keep = !back->discard,
                             .power_on = !back->leave_off,
                             .stop_s = back->discard ? 0 : back->shutdown_timeout_s,
                             .say = back->say };

    if (vm_lock < 0 || store_failover_get(store, id, &failover, err) < 0)
        return -1;
    if (!failover_is_here(&failover))
        return error_set(err, "it was made on host %s; run the rollback there", failover.host);
    lock = failover_lock(state_dir, id, err);
    if (lock < 0 || store_failover_get(store, id, &failover, err) < 0 ||
        refuse_committed(&failover, vm, err) < 0)
        return -1;
    if (failover.completed_ms) { /* by another one, which was waited for */
        failover_lock_remove(state_dir, id);
        return 0;
    }
    if (power_on_or_say(&from, failover.source_was, &how.power_on, err) < 0)
        return -1;
    /* One that never came up has nothing that is worth to be kept. */
    if (strcmp(failover.state, LIVE_UP) != 0 && strcmp(failover.state, FAILOVER_ROLLING_BACK) != 0)
        how.keep = false;
    return live_undo(store, state_dir, vm, &failover, &how, err);
}

static int write_discarded(struct store *store, void *opaque, struct error **err)
{
    struct store_failover *failover = opaque;
    char subject[64];

    snprintf(subject, sizeof subject, "failover %" PRId64, failover->id);
    return store_failover_update(store, failover, err) < 0
               ? -1
               : store_audit_vm(store, failover->vm_id, "failover discard", subject, FAILOVER_KEPT,
                                FAILOVER_ROLLED_BACK, err);
}

/* No test may stand on it. */
static int discard(struct store *store, const char *state_dir, const struct store_vm *vm,
                   struct store_failover *failover, struct error **err)
{
    CLEANUP_CLOSE int vm_lock = failover_lock_vm(state_dir, vm, err);
    CLEANUP_FREE struct store_failover *open = NULL;
    size_t count;

    if (vm_lock < 0 || store_failovers(store, vm->id, true, &open, &count, err) < 0)
        return -1;
    if (count)
        return error_set(err, "failover %" PRId64 " of %s may stand on it: roll that back first",
                         open[0].id, vm->name);
    strcpy(failover->state, FAILOVER_ROLLED_BACK);
    return failover_discard(state_dir, failover->id, err) < 0
               ? -1
               : store_transaction(store, write_discarded, failover, err);
}

int job_live_discard(struct store *store, const char *state_dir, const struct store_vm *vm,
                     int64_t id, size_t *count, struct error **err)
{
    CLEANUP_FREE struct store_failover *list = NULL;
    size_t all;

    *count = 0;
    if (store_failovers(store, vm->id, false, &list, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all; i++) {
        if (strcmp(list[i].state, FAILOVER_KEPT) != 0 || (id && list[i].id != id))
            continue;
        if (!failover_is_here(&list[i]))
            return error_set(err, "it was made on host %s; discard it there", list[i].host);
        if (discard(store, state_dir, vm, &list[i], err) < 0)
            return -1;
        ++*count;
    }
    return 0;
}

/* ---- after a crash ---- */

struct recovering {
    struct store *store;
    const char *state_dir;
    const struct store_vm *vm;
    void (*say)(const char *line);
    struct live_recovered *done;
};

static bool is_at(const struct store_failover *failover, const char *state)
{
    return strcmp(failover->state, state) == 0;
}

/* Of one that stands nothing is to be done, but its source must not run beside it. */
static void look_at_source(const struct recovering *r, const struct store_failover *failover)
{
    const struct live_source from = {
        .store = r->store, .state_dir = r->state_dir, .vm = r->vm, .say = r->say
    };
    CLEANUP_ERROR struct error *ignored = NULL;
    enum power power = POWER_OFF;
    char subject[64];

    if (live_source_power(&from, &power, &ignored) < 0 || power == POWER_OFF)
        return;
    r->done->alarms++;
    say_line(r->say,
             "ALARM: '%s' runs here as domain %s (failover %" PRId64 "), and its source is powered "
             "on, too: power one of them off at once",
             r->vm->name, failover->domain_name, failover->id);
    snprintf(subject, sizeof subject, "failover %" PRId64, failover->id);
    store_audit_vm(r->store, r->vm->id, "failover alarm", subject, NULL,
                   "the source is powered on beside the target", &ignored);
}

/* Its domain runs: the verdict is still to come. *up: it has booted. */
static int watch_on(const struct recovering *r, const struct store_failover *failover,
                    const struct live_wishes *wishes, bool *up, struct error **err)
{
    struct failover_options options = { .expect = wishes->expect[0] ? wishes->expect : NULL,
                                        .timeout_s = wishes->timeout_s,
                                        .say = r->say };
    struct failover_result result = { .failover = *failover };
    CLEANUP_BOOT struct boot boot = { .kind = &live_kind,
                                      .store = r->store,
                                      .state_dir = r->state_dir,
                                      .vm = r->vm,
                                      .options = &options,
                                      .result = &result,
                                      .more = json_object_new_object() };
    double downtime;

    if (live_attach(&boot, wishes->virt_type, err) < 0)
        return -1;
    json_object_object_add(boot.more, "source_was", json_object_new_string(failover->source_was));
    if (failover->off_ms)
        json_object_object_add(boot.more, "downtime", json_object_new_object());
    if (boot_watch(&boot, err) < 0)
        return -1;
    *up = result.passed;
    return *up ? live_finish(&boot, &downtime, err) : boot_keep_evidence(&boot, err);
}

static int recover_locked(const struct recovering *r, struct store_failover *failover,
                          struct error **err)
{
    struct live_wishes wishes;
    struct live_undo how = { .say = r->say };
    bool exists = false, active = false, up = false;

    if (live_wishes_read(r->store, failover->id, &wishes, err) < 0)
        return -1;
    if (is_at(failover, FAILOVER_ROLLING_BACK)) {
        how.keep = wishes.keep;
        how.power_on = wishes.power_on;
    } else if (failover->off_ms && strcmp(failover->source_was, LIVE_WAS_ON) == 0) {
        how.power_on = true;
    }
    if (is_at(failover, FAILOVER_DOMAIN) || is_at(failover, FAILOVER_BOOTING)) {
        if (live_look(failover, &exists, &active, err) < 0 ||
            (active && watch_on(r, failover, &wishes, &up, err) < 0))
            return -1;
    }
    if (up) {
        r->done->finished++;
        say_line(r->say, "'%s': live failover %" PRId64 " is finished: it runs as domain %s",
                 r->vm->name, failover->id, failover->domain_name);
        return 0;
    }
    if (is_at(failover, LIVE_SHUTTING))
        how.settle_s = wishes.shutdown_timeout_s;
    if (!failover->error[0])
        snprintf(failover->error, sizeof failover->error, "its process died at: %s",
                 failover->state);
    if (live_undo(r->store, r->state_dir, r->vm, failover, &how, err) < 0)
        return -1;
    r->done->undone++;
    say_line(r->say, "'%s': live failover %" PRId64 ", whose process died, is undone%s",
             r->vm->name, failover->id, how.power_on ? "; the source is powered on" : "");
    return 0;
}

static int recover_one(const struct recovering *r, const struct store_failover *seen,
                       struct error **err)
{
    CLEANUP_ERROR struct error *busy = NULL;
    CLEANUP_CLOSE int lock = -1;
    struct store_failover failover;

    if (!failover_is_here(seen))
        return 0;
    lock = failover_lock(r->state_dir, seen->id, &busy);
    if (lock < 0) /* somebody is at it */
        return 0;
    if (store_failover_get(r->store, seen->id, &failover, err) < 0)
        return -1;
    if (failover.completed_ms)
        return 0;
    if (is_at(&failover, LIVE_UP)) {
        look_at_source(r, &failover);
        return 0;
    }
    if (is_at(&failover, LIVE_COMMITTING)) {
        struct live_committing how = { .say = r->say };

        if (live_commit_locked(r->store, r->state_dir, r->vm, &failover, &how, err) < 0)
            return -1;
        r->done->finished++;
        return 0;
    }
    return recover_locked(r, &failover, err);
}

int job_live_recover(struct store *store, const char *state_dir, const struct store_vm *only,
                     void (*listener)(const char *line), struct live_recovered *done,
                     struct error **err)
{
    CLEANUP_FREE struct store_failover *open = NULL;
    CLEANUP_ERROR struct error *last = NULL;
    size_t count;

    *done = (struct live_recovered){ 0 };
    if (store_failovers(store, only ? only->id : 0, true, &open, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct store_vm vm;
        const struct recovering r = { store, state_dir, &vm, listener, done };
        CLEANUP_ERROR struct error *one = NULL;

        if (strcmp(open[i].kind, "live") != 0)
            continue;
        if (store_vm_get(store, open[i].vm_id, &vm, &one) < 0 ||
            recover_one(&r, &open[i], &one) < 0) {
            error_prefix(&one, "live failover %" PRId64, open[i].id);
            say_line(listener, "%s", error_message(one));
            error_clear(&last);
            last = steal_ptr(one);
        }
    }
    return last ? error_move(err, &last) : 0;
}
