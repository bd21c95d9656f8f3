/* What stands in the way of a live failover; see live-parts.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "job/claim.h"
#include "job/live-parts.h"
#include "job/moved.h"

#define LOST_S 15 /* for a source that is said to be lost to prove the opposite */

void live_open(struct live *live, struct store *store, const char *state_dir,
               const struct store_vm *vm, const struct live_options *options,
               struct live_result *result)
{
    *result = (struct live_result){ 0 };
    *live = (struct live){ .options = options, .result = result, .boot_options = options->boot };
    live->boot_options.networks = &live->map;
    live->boot_options.cancel = options->cancel;
    live->boot = (struct boot){ .kind = &live_kind,
                                .store = store,
                                .state_dir = state_dir,
                                .vm = vm,
                                .options = &live->boot_options,
                                .result = &result->boot };
    live->from = (struct live_source){ .store = store,
                                       .state_dir = state_dir,
                                       .vm = vm,
                                       .cancel = options->cancel,
                                       .say = options->boot.say };
}

void live_close(struct live *live)
{
    boot_free(&live->boot);
    netmap_free(&live->map);
    replicate_result_free(&live->synced);
}

static int add(struct findings *findings, enum finding_level level, const char *check,
               const char *remedy, const char *text, struct error **err)
{
    return findings_add(findings, level, check, remedy, "%s", text) < 0
               ? error_set_errno(err, ENOMEM, "looking at what stands in the way")
               : 0;
}

int live_refuse_others(struct store *store, const struct store_vm *vm, struct error **err)
{
    struct store_job job;
    int64_t now;
    bool found;

    if (moved_refuse(store, vm->id, 0, err) < 0 || store_clock_ms(store, &now, err) < 0 ||
        store_job_open(store, vm->id, &found, &job, err) < 0)
        return -1;
    return found && claim_is_alive(&job, now) ? claim_refuse_busy(store, &job, err) : 0;
}

static int check_others(struct live *live, struct findings *findings, struct error **err)
{
    CLEANUP_ERROR struct error *busy = NULL;

    return live_refuse_others(live->boot.store, live->boot.vm, &busy) < 0
               ? add(findings, FINDING_BLOCKER, "jobs", "", error_message(busy), err)
               : 0;
}

static int check_networks(struct live *live, struct findings *findings, struct error **err)
{
    const struct boot *boot = &live->boot;
    CLEANUP_FREE char *json = NULL;
    CLEANUP_SPEC struct vm_spec spec = { 0 };

    if (netmap_load(boot->store, boot->vm, &live->map, err) < 0 ||
        store_vm_spec(boot->store, boot->vm->id, &json, err) < 0 ||
        spec_parse_stored(json, "the stored description", &spec, err) < 0)
        return -1;
    return netmap_blockers(&live->map, boot->vm, &spec, findings, err);
}

static int check_target(struct live *live, struct findings *findings, struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;
    size_t before = findings->count;

    if (check_networks(live, findings, err) < 0)
        return -1;
    if (findings->count > before) /* the machine can't be planned without them */
        return 0;
    if (live_prepare(&live->boot, &why) == 0)
        return 0;
    if (why->kind == ERROR_USAGE)
        return error_move(err, &why);
    return add(findings, FINDING_BLOCKER, "target", "", error_message(why), err);
}

static int check_lost(struct live *live, struct findings *findings, struct error **err)
{
    live->power_known = live_source_answers(&live->from, LOST_S, &live->power);
    strcpy(live->source_was, LIVE_WAS_LOST);
    if (live->power_known && live->power != POWER_OFF)
        return add(findings, FINDING_BLOCKER, "source", "a live failover without --source-lost",
                   "the source is not lost: it answers, and says that the VM is not off", err);
    if (live->power_known)
        return add(findings, FINDING_WARNING, "source", "a live failover without --source-lost",
                   "the source answers: it could be synced, and nothing would be lost", err);
    return 0;
}

static int judge_power(struct live *live, struct findings *findings, struct error **err)
{
    strcpy(live->source_was, live->power == POWER_ON ? LIVE_WAS_ON : LIVE_WAS_OFF);
    if (live->power == POWER_SUSPENDED)
        return add(findings, FINDING_BLOCKER, "source", "resume it, or power it off, at the source",
                   "the VM is suspended: what its memory holds would be lost", err);
    if (live->power == POWER_ON && live->options->source_is_off)
        return add(findings, FINDING_BLOCKER, "source", "leave --source-is-off out",
                   "the source says that the VM is powered on", err);
    return 0;
}

static int check_source(struct live *live, struct findings *findings, struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;

    if (live->options->source_lost)
        return check_lost(live, findings, err);
    if (live_source_power(&live->from, &live->power, &why) == 0) {
        live->power_known = true;
        return judge_power(live, findings, err);
    }
    if (why->errnum == ENOTSUP && live->options->source_is_off) {
        strcpy(live->source_was, LIVE_WAS_VOUCHED);
        return 0;
    }
    return add(findings, FINDING_BLOCKER, "source",
               why->errnum == ENOTSUP
                   ? "--source-is-off when it is off, or --hook of `vmferry source add nbd`"
                   : "--source-lost when it is gone for good",
               error_message(why), err);
}

int live_check(struct live *live, struct findings *findings, struct error **err)
{
    return check_others(live, findings, err) < 0 || check_target(live, findings, err) < 0 ||
                   check_source(live, findings, err) < 0
               ? -1
               : 0;
}
