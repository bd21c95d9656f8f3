/* Live failover from its first look to its verdict; see live.h. */
#include "job/live.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "failover/job.h"
#include "job/live-parts.h"
#include "job/preflight.h"
#include "say.h"

#define ROUNDS_MOST 5 /* of syncs ahead: a guest that writes all the time never gets done */

static struct store_failover *row_of(struct live *live)
{
    return &live->result->boot.failover;
}

static int refuse_blockers(const struct live *live, const struct findings *findings,
                           struct error **err)
{
    if (!findings_count(findings, FINDING_BLOCKER))
        return 0;
    error_set(err, "%s can't be failed over, nothing was touched", live->boot.vm->name);
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->list[i];

        if (finding->level == FINDING_BLOCKER)
            error_append(err, "%s: %s%s%s%s", finding->check, finding->text,
                         finding->remedy[0] ? " (" : "", finding->remedy,
                         finding->remedy[0] ? ")" : "");
    }
    return -1;
}

static int check(struct live *live, struct error **err)
{
    CLEANUP_FINDINGS struct findings findings = { 0 };

    if (live_check(live, &findings, err) < 0 || refuse_blockers(live, &findings, err) < 0)
        return -1;
    for (size_t i = 0; i < findings.count; i++)
        say_line(live->boot.options->say, "%s: %s", findings.list[i].check, findings.list[i].text);
    return live_estimate(live->boot.store, live->boot.vm->id, &live->estimate, err);
}

static int write_row(struct store *store, void *opaque, struct error **err)
{
    struct live *live = opaque;
    struct store_failover *failover = row_of(live);
    const struct failover_options *options = &live->boot_options;
    struct live_wishes wishes = { .timeout_s = options->timeout_s,
                                  .shutdown_timeout_s = live->options->shutdown_timeout_s };
    CLEANUP_FREE char *json = NULL;
    char subject[64], after[STORE_NAME + 64];

    snprintf(wishes.expect, sizeof wishes.expect, "%s", options->expect ? options->expect : "");
    snprintf(wishes.virt_type, sizeof wishes.virt_type, "%s", live->boot.plan.virt_type);
    if (store_vm_touch(store, live->boot.vm->id, err) < 0 ||
        live_refuse_others(store, live->boot.vm, err) < 0 ||
        (failover->point && boot_refuse_going(&live->boot, err) < 0) ||
        store_vm_spec(store, live->boot.vm->id, &json, err) < 0 ||
        store_failover_create(store, failover, json, err) < 0 ||
        live_wishes_write(store, failover->id, &wishes, err) < 0)
        return -1;
    snprintf(subject, sizeof subject, "failover %" PRId64, failover->id);
    snprintf(after, sizeof after, "as domain %s, source %s", failover->domain_name,
             live->source_was);
    return store_audit_vm(store, live->boot.vm->id, "failover live", subject, live->boot.vm->state,
                          after, err);
}

/* From here on nobody else replicates the VM, or merges its points. Returns the lock. */
static int write_down(struct live *live, struct error **err)
{
    CLEANUP_CLOSE int vm_lock = failover_lock_vm(live->boot.state_dir, live->boot.vm, err);
    struct store_failover *failover = row_of(live);

    if (vm_lock < 0)
        return -1;
    strcpy(failover->state, LIVE_PREPARING);
    strcpy(failover->source_was, live->source_was);
    if (!live->options->source_lost) { /* which one it will be is not known yet */
        failover->point_id = 0;
        failover->point = 0;
    }
    if (store_transaction(live->boot.store, write_row, live, err) < 0)
        return -1;
    boot_place(&live->boot);
    return failover_lock(live->boot.state_dir, failover->id, err);
}

static int sync_once(struct live *live, struct error **err)
{
    struct replicate_options options = live->options->sync;

    options.failover_id = row_of(live)->id;
    options.no_verify = false; /* the next to read it is the guest */
    replicate_result_free(&live->synced);
    if (job_replicate(live->boot.store, live->boot.state_dir, live->boot.vm, &options,
                      &live->synced, err) < 0) {
        (*err)->kind = ERROR_FAILED; /* what goes on is another failover, not this one */
        return -1;
    }
    return 0;
}

static int sync_ahead(struct live *live, struct error **err)
{
    double most = live->options->max_downtime_s;

    if (strcmp(live->source_was, LIVE_WAS_ON) != 0)
        return 0;
    for (unsigned round = 1;; round++) {
        double downtime;

        if (sync_once(live, err) < 0)
            return -1;
        downtime = live_estimate_downtime(&live->estimate, live->synced.seconds);
        say_line(live->boot.options->say,
                 "synced ahead in %.1f s: point %u; about %.0f s of downtime to come",
                 live->synced.seconds, live->synced.point, downtime);
        if (!most || downtime <= most)
            return 0;
        if (round == ROUNDS_MOST)
            return error_set(err,
                             "after %d syncs ahead the downtime would still be about %.0f s "
                             "(shutdown %.0f, sync %.0f, boot %.0f), more than --max-downtime: "
                             "nothing was shut down",
                             ROUNDS_MOST, downtime, live->estimate.shutdown_s, live->synced.seconds,
                             live->estimate.boot_s);
    }
}

/* It is off, and we know it from the source, or from the operator where the source can't tell. */
static int shut_down(struct live *live, struct error **err)
{
    struct store_failover *failover = row_of(live);

    failover->off_ms = store_now_ms();
    if (store_failover_update(live->boot.store, failover, err) < 0)
        return -1;
    if (strcmp(live->source_was, LIVE_WAS_ON) == 0 &&
        live_source_shut_down(&live->from, live->options->shutdown_timeout_s,
                              live->options->allow_power_off, err) < 0) {
        if ((*err)->errnum == ENOTSUP) /* nothing was done to it */
            failover->off_ms = 0;
        return -1;
    }
    if (live_check_off(&live->from, live->source_was, err) < 0)
        return -1;
    live->off_ms = store_now_ms();
    say_line(live->boot.options->say, "the source is off%s",
             strcmp(live->source_was, LIVE_WAS_VOUCHED) == 0 ? ", as you said" : ": confirmed");
    return 0;
}

static int final_sync(struct live *live, struct error **err)
{
    if (sync_once(live, err) < 0)
        return -1;
    live->synced_ms = store_now_ms();
    row_of(live)->replication_job_id = live->synced.job_id;
    say_line(live->boot.options->say, "last sync in %.1f s: point %u", live->synced.seconds,
             live->synced.point);
    return 0;
}

/* The sync has read back what it wrote. That point, and no other, is what boots. */
static int verify(struct live *live, struct error **err)
{
    const struct failover_plan *plan = &live->boot.plan;

    if (live_take_point(&live->boot, err) < 0)
        return -1;
    if (plan->point.number != live->synced.point || plan->point.count != live->synced.count)
        return error_set(
            err, "the last sync made point %u of %zu disks, but the newest is %u of %zu",
            live->synced.point, live->synced.count, plan->point.number, plan->point.count);
    for (size_t i = 0; i < plan->point.count; i++) {
        if (!plan->point.disks[i].digest[0] ||
            strcmp(plan->point.disks[i].digest, live->synced.disks[i].digest) != 0)
            return error_set(err, "disk-%d of point %u has digest %s, and the last sync said %s",
                             plan->point.disks[i].key, plan->point.number,
                             plan->point.disks[i].digest, live->synced.disks[i].digest);
    }
    return 0;
}

static const struct step {
    const char *state; /* written down before it is done */
    int (*run)(struct live *live, struct error **err);
} steps[] = {
    { LIVE_AHEAD, sync_ahead },
    { LIVE_SHUTTING, shut_down },
    { LIVE_FINAL_SYNC, final_sync },
    { LIVE_VERIFYING, verify },
};

static int run_source_side(struct live *live, struct error **err)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && !live->options->source_lost; i++) {
        if (live->options->cancel && atomic_load(live->options->cancel))
            return error_set(err, "it was interrupted");
        if (boot_set_state(&live->boot, steps[i].state, err) < 0)
            return -1;
        if (steps[i].run(live, err) < 0)
            return error_prefix(err, "%s", steps[i].state);
    }
    return 0;
}

static double seconds_between(int64_t from_ms, int64_t to_ms)
{
    return from_ms && to_ms > from_ms ? (double)(to_ms - from_ms) / 1000 : 0;
}

static void add_seconds(json_object *object, const char *name, double seconds)
{
    char text[32];

    snprintf(text, sizeof text, "%.1f", seconds);
    json_object_object_add(object, name, json_object_new_double_s(seconds, text));
}

/* For the evidence: what the downtime is made of, and what is lost. */
static void note_times(struct live *live)
{
    const struct store_failover *failover = row_of(live);
    json_object *more = live->boot.more ? live->boot.more : json_object_new_object();
    json_object *downtime;

    live->boot.more = more;
    json_object_object_add(more, "source_was", json_object_new_string(live->source_was));
    if (live->options->source_lost) {
        live->result->rpo_ms = store_now_ms() - live->boot.plan.point.created_ms;
        add_seconds(more, "rpo_seconds", (double)live->result->rpo_ms / 1000);
        return;
    }
    add_seconds(more, "rpo_seconds", 0);
    downtime = json_object_new_object();
    add_seconds(downtime, "shutdown_seconds", seconds_between(failover->off_ms, live->off_ms));
    add_seconds(downtime, "sync_seconds", seconds_between(live->off_ms, live->synced_ms));
    add_seconds(downtime, "start_seconds", seconds_between(live->synced_ms, store_now_ms()));
    json_object_object_add(more, "downtime", downtime);
}

/* The last moment: what runs at the source now would run twice. */
static int before_start(void *opaque, struct error **err)
{
    struct live *live = opaque;
    enum power power;

    if (live->options->cancel && atomic_load(live->options->cancel))
        return error_set(err, "it was interrupted");
    if (!live->options->source_lost)
        return live_check_off(&live->from, live->source_was, err);
    return live->power_known && live_source_power(&live->from, &power, err) == 0 &&
                   power != POWER_OFF
               ? error_set(err, "the source is back: it says that the VM is not off")
               : (error_clear(err), 0);
}

static int run_target_side(struct live *live, struct error **err)
{
    live->boot_options.before_start = before_start;
    live->boot_options.opaque = live;
    if (boot_run(&live->boot, err) < 0)
        return -1;
    note_times(live);
    if (boot_watch(&live->boot, err) < 0)
        return -1;
    if (!live->result->boot.passed) {
        CLEANUP_ERROR struct error *ignored = NULL;

        boot_keep_evidence(&live->boot, &ignored);
        return error_set(err, "it did not boot, %s after %.1f s; its console: %s",
                         live->result->boot.why, live->result->boot.evidence.seconds,
                         live->result->boot.console);
    }
    return live_finish(&live->boot, &live->result->downtime_s, err);
}

/* The error that says why stays the error, and says what has become of it. */
static void take_back(struct live *live, struct error **why)
{
    struct store_failover *failover = row_of(live);
    struct live_undo how = { .power_on = strcmp(live->source_was, LIVE_WAS_ON) == 0,
                             .settle_s = live->off_ms || !failover->off_ms
                                             ? 0
                                             : live->options->shutdown_timeout_s,
                             .say = live->boot_options.say };
    CLEANUP_ERROR struct error *err = NULL;
    bool touched = failover->off_ms && how.power_on;

    snprintf(failover->error, sizeof failover->error, "%s", error_message(*why));
    if (!touched)
        how.power_on = false;
    if (live_undo(live->boot.store, live->boot.state_dir, live->boot.vm, failover, &how, &err) < 0)
        error_append(why,
                     "\nIt could not be undone yet, `vmferry recover %s` goes on with that: %s",
                     live->boot.vm->name, error_message(err));
    else
        error_append(why, "\nIt is undone: nothing of it is left here%s",
                     touched ? ", the source is powered on again" : "; the source is as it was");
}

int job_live(struct store *store, const char *state_dir, const struct store_vm *vm,
             const struct live_options *options, struct live_result *result, struct error **err)
{
    CLEANUP(live_close) struct live live;
    CLEANUP_CLOSE int lock = -1;

    live_open(&live, store, state_dir, vm, options, result);
    if (check(&live, err) < 0)
        return -1;
    lock = write_down(&live, err);
    if (lock < 0)
        return -1;
    if (live.boot.plan.hardware.tpm)
        say_line(live.boot.options->say,
                 "%s has a TPM: it gets a new, empty one; the secrets in the source's do not move "
                 "(BitLocker asks for its recovery key)",
                 vm->name);
    if (run_source_side(&live, err) == 0 && run_target_side(&live, err) == 0)
        return 0;
    error_prefix(err, "live failover %" PRId64 " of %s", row_of(&live)->id, vm->name);
    take_back(&live, err);
    return -1;
}

void live_preview_free(struct live_preview *preview)
{
    findings_free(&preview->findings);
}

int job_live_preview(struct store *store, const char *state_dir, const struct store_vm *vm,
                     const struct live_options *options, struct live_preview *preview,
                     struct error **err)
{
    struct live_result result;
    CLEANUP(live_close) struct live live;

    *preview = (struct live_preview){ 0 };
    live_open(&live, store, state_dir, vm, options, &result);
    if (live_check(&live, &preview->findings, err) < 0 ||
        live_estimate(store, vm->id, &preview->estimate, err) < 0)
        return -1;
    preview->power_known = live.power_known;
    preview->power = live.power;
    preview->point = live.boot.plan.point.number;
    preview->point_ms = live.boot.plan.point.created_ms;
    snprintf(preview->domain, sizeof preview->domain, "%s", row_of(&live)->domain_name);
    snprintf(preview->source, sizeof preview->source, "%s", vm->source);
    return 0;
}
