/* Live failovers; see failover-live.h. */
#include "commands/failover-live.h"

#include <json.h>
#include <string.h>
#include <unistd.h>

#include "commands/failover-list.h"
#include "commands/human.h"
#include "commands/run-job.h"
#include "commands/watch.h"
#include "job/live-commit.h"
#include "job/live.h"
#include "job/preflight.h"
#include "job/sweep.h"
#include "log/log.h"

#define SHUTDOWN_TIMEOUT_S 300

static void say(const char *line)
{
    log_notice("failover", "%s", line);
}

/* On a terminal: what it does is not undone by Ctrl-C alone. */
static int ask(const struct failover_arguments *arguments, const char *question, struct error **err)
{
    char answer[16] = "";

    if (arguments->yes || arguments->common.json || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return 0;
    fprintf(stderr, "%s [y/N] ", question);
    if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
        return 0;
    return error_set(err, "nothing was done");
}

static int shutdown_timeout(const struct failover_arguments *arguments, unsigned *seconds,
                            struct error **err)
{
    *seconds = SHUTDOWN_TIMEOUT_S;
    return arguments->shutdown_timeout
               ? failover_duration(arguments->shutdown_timeout, "--shutdown-timeout", seconds, err)
               : 0;
}

/* `usual`: the VM's own, for what is not given. */
static int take_options(struct context *context, const struct failover_arguments *arguments,
                        const struct store_vm_tests *usual, struct live_options *options,
                        struct error **err)
{
    *options = (struct live_options){ .sync = { .given_rate = -1 },
                                      .source_lost = arguments->source_lost,
                                      .source_is_off = arguments->source_is_off,
                                      .allow_power_off = arguments->allow_power_off };
    if (arguments->source_lost &&
        (arguments->source_is_off || arguments->max_downtime || arguments->allow_power_off))
        return error_set_kind(err, ERROR_USAGE,
                              "--source-lost boots what there is: --source-is-off, --max-downtime "
                              "and --allow-power-off are for a source that is there");
    if (arguments->point && !arguments->source_lost)
        return error_set_kind(err, ERROR_USAGE,
                              "a live failover boots what its source has last: --point is for "
                              "--source-lost");
    if (failover_options(arguments, &context->config, &options->boot, err) < 0 ||
        run_options(&context->config, &options->sync, err) < 0 ||
        shutdown_timeout(arguments, &options->shutdown_timeout_s, err) < 0 ||
        (arguments->max_downtime && failover_duration(arguments->max_downtime, "--max-downtime",
                                                      &options->max_downtime_s, err) < 0))
        return -1;
    if (!arguments->expect && *usual->expect)
        options->boot.expect = usual->expect;
    if (options->boot.expect && !*options->boot.expect)
        options->boot.expect = NULL;
    options->boot.checks = NULL;
    options->boot.say = say;
    return 0;
}

/* ---- --dry-run ---- */

static const char *power_word(const struct live_preview *preview)
{
    static const char *const words[] = { "off", "on", "suspended" };

    return preview->power_known ? words[preview->power] : "unknown";
}

static void put_seconds(json_object *object, const char *name, double seconds)
{
    char text[32];

    snprintf(text, sizeof text, "%.1f", seconds);
    json_object_object_add(object, name,
                           seconds < 0 ? NULL : json_object_new_double_s(seconds, text));
}

static double downtime_of(const struct live_preview *preview)
{
    const struct live_estimate *estimate = &preview->estimate;

    return estimate->sync_s < 0 ? -1 : live_estimate_downtime(estimate, estimate->sync_s);
}

static int preview_json(const struct store_vm *vm, const struct live_preview *preview,
                        struct error **err)
{
    const struct live_estimate *estimate = &preview->estimate;
    json_object *object = json_object_new_object(), *list = json_object_new_array();

    for (size_t i = 0; i < preview->findings.count; i++) {
        const struct finding *finding = &preview->findings.list[i];
        json_object *one = json_object_new_object();

        json_object_object_add(one, "level",
                               json_object_new_string(finding->level == FINDING_BLOCKER ? "blocker"
                                                      : finding->level == FINDING_WARNING
                                                          ? "warning"
                                                          : "ok"));
        json_object_object_add(one, "check", json_object_new_string(finding->check));
        json_object_object_add(one, "text", json_object_new_string(finding->text));
        json_object_object_add(one, "remedy", json_object_new_string(finding->remedy));
        json_object_array_add(list, one);
    }
    json_object_object_add(object, "vm", json_object_new_string(vm->name));
    json_object_object_add(object, "source_power", json_object_new_string(power_word(preview)));
    json_object_object_add(object, "domain", json_object_new_string(preview->domain));
    json_object_object_add(object, "point", json_object_new_int64(preview->point));
    put_seconds(object, "point_age_seconds",
                preview->point_ms ? (double)(store_now_ms() - preview->point_ms) / 1000 : -1);
    json_object_object_add(object, "syncs_seen", json_object_new_int64(estimate->syncs));
    put_seconds(object, "churn_bytes_per_second", estimate->churn);
    put_seconds(object, "throughput_bytes_per_second", estimate->throughput);
    put_seconds(object, "sync_ahead_seconds", estimate->first_sync_s);
    put_seconds(object, "shutdown_seconds", estimate->shutdown_s);
    put_seconds(object, "final_sync_seconds", estimate->sync_s);
    put_seconds(object, "conversion_seconds", estimate->convert_s);
    put_seconds(object, "boot_seconds", estimate->boot_s);
    put_seconds(object, "downtime_seconds", downtime_of(preview));
    json_object_object_add(object, "findings", list);
    return print_json(object, err);
}

static void print_estimate(const struct live_preview *preview)
{
    const struct live_estimate *estimate = &preview->estimate;
    char churn[HUMAN_MAX];

    if (estimate->sync_s < 0) {
        printf("downtime   not known: too few incremental syncs to tell by; shutdown %.0f s%s, "
               "boot %.0f s%s\n",
               estimate->shutdown_s, estimate->shutdown_guessed ? " (a guess)" : "",
               estimate->boot_s, estimate->boot_guessed ? " (a guess)" : "");
        return;
    }
    printf("changes    %s a second, by the last %u syncs\n",
           human_bytes(churn, (uint64_t)estimate->churn), estimate->syncs);
    printf("downtime   about %.0f s: shutdown %.0f s%s, final sync %.0f s, conversion %.0f s, "
           "boot %.0f s%s\n",
           downtime_of(preview), estimate->shutdown_s,
           estimate->shutdown_guessed ? " (a guess)" : "", estimate->sync_s, estimate->convert_s,
           estimate->boot_s, estimate->boot_guessed ? " (a guess)" : "");
}

static void print_plan(const struct store_vm *vm, const struct live_options *options,
                       const struct live_preview *preview)
{
    bool on = preview->power_known && preview->power == POWER_ON;
    const char *as = preview->domain[0] ? " as domain " : ""; /* not known behind some blockers */

    printf("vm         %s of %s, powered %s\n", vm->name, preview->source, power_word(preview));
    for (size_t i = 0; i < preview->findings.count; i++) {
        const struct finding *finding = &preview->findings.list[i];

        printf("%s    %s: %s%s%s\n", finding->level == FINDING_BLOCKER ? "BLOCKER" : "warning",
               finding->check, finding->text, finding->remedy[0] ? "; do: " : "", finding->remedy);
    }
    if (options->source_lost && !preview->point)
        return; /* a blocker, which was said */
    printf("plan\n");
    if (options->source_lost) {
        printf("  boot point %u%s%s; what the source did in the last %.0f s is lost\n",
               preview->point, as, preview->domain,
               (double)(store_now_ms() - preview->point_ms) / 1000);
        return;
    }
    if (on)
        printf("  sync ahead, while it runs\n  shut the guest down, %u s at most, then %s\n",
               options->shutdown_timeout_s,
               options->allow_power_off ? "power it off" : "give up (no --allow-power-off)");
    printf("  final sync of all disks, verified\n  boot%s%s, on the mapped networks\n", as,
           preview->domain);
    print_estimate(preview);
}

static int dry_run(struct context *context, const struct store_vm *vm,
                   const struct live_options *options, bool json, struct error **err)
{
    CLEANUP(live_preview_free) struct live_preview preview = { 0 };
    size_t blockers;
    double downtime;

    if (job_live_preview(context->store, context->state_dir, vm, options, &preview, err) < 0)
        return -1;
    if (!json)
        print_plan(vm, options, &preview);
    else if (preview_json(vm, &preview, err) < 0)
        return -1;
    blockers = findings_count(&preview.findings, FINDING_BLOCKER);
    if (blockers)
        return error_set(err, "%zu blocker%s: a live failover would be refused", blockers,
                         blockers == 1 ? "" : "s");
    downtime = downtime_of(&preview);
    if (options->max_downtime_s && downtime > options->max_downtime_s)
        return error_set(err, "the downtime would be about %.0f s, more than --max-downtime",
                         downtime);
    return 0;
}

/* ---- live ---- */

static int print_result(struct context *context, const struct store_vm *vm,
                        const struct live_result *result, bool json, struct error **err)
{
    const struct failover_result *boot = &result->boot;
    CLEANUP_FREE char *evidence = NULL;
    json_object *object;

    if (json) {
        if (store_failover_get_evidence(context->store, boot->failover.id, &evidence, err) < 0)
            return -1;
        object = failover_to_json(&boot->failover, vm->name, evidence);
        json_object_object_add(object, "point", json_object_new_int64(boot->point));
        put_seconds(object, "downtime_seconds", result->downtime_s);
        put_seconds(object, "rpo_seconds", (double)result->rpo_ms / 1000);
        return print_json(object, err);
    }
    printf("%s runs here now: domain %s, point %u, booted in %.1f s: %s\n", vm->name,
           boot->failover.domain_name, boot->point, boot->evidence.seconds,
           *boot->evidence.line ? boot->evidence.line : "the guest agent answers");
    if (result->rpo_ms)
        printf("lost:        what the source did after the point was made, %.0f s ago\n",
               (double)result->rpo_ms / 1000);
    else
        printf("downtime:    %.1f s\n", result->downtime_s);
    printf("console log: %s\n", boot->console);
    if (boot->screen[0])
        printf("screen:      %s\n", boot->screen);
    printf("go back:     vmferry failover rollback %s\nstay:        vmferry failover commit %s\n",
           vm->name, vm->name);
    return 0;
}

int failover_live_verb(struct context *context, const struct store_vm *vm,
                       const struct failover_arguments *arguments, struct error **err)
{
    struct store_vm_tests usual;
    struct live_options options;
    struct live_result result;
    char question[STORE_NAME + 64];
    int r;

    if (store_vm_tests(context->store, vm->id, &usual, err) < 0 ||
        take_options(context, arguments, &usual, &options, err) < 0)
        return -1;
    if (arguments->dry_run)
        return dry_run(context, vm, &options, arguments->common.json, err);
    snprintf(question, sizeof question, "Shut the source of %s down, and run it here?", vm->name);
    if (ask(arguments, question, err) < 0)
        return -1;
    sweep_at_start(context->store, context->state_dir);
    options.cancel = cancel_on_signals();
    options.sync.cancel = options.cancel;
    r = job_live(context->store, context->state_dir, vm, &options, &result, err);
    if (options.boot.tick)
        fprintf(stderr, "\r\033[K");
    return r < 0 ? -1 : print_result(context, vm, &result, arguments->common.json, err);
}

/* ---- commit ---- */

struct shown {
    char disk[64];
    int percent;
};

static void show_progress(void *opaque, const char *disk, double percent)
{
    struct shown *shown = opaque;

    if (strcmp(shown->disk, disk) == 0 && (int)percent / 10 <= shown->percent / 10)
        return;
    snprintf(shown->disk, sizeof shown->disk, "%s", disk);
    shown->percent = (int)percent;
    log_notice("failover", "%s: %d %% is in its base", disk, shown->percent);
}

static int find_live(struct context *context, const struct store_vm *vm, int64_t *id,
                     struct error **err)
{
    struct store_failover failover;
    bool found;

    if (job_live_find(context->store, vm->id, &found, &failover, err) < 0)
        return -1;
    if (!found)
        return error_set(err, "%s has no live failover that stands", vm->name);
    *id = failover.id;
    return 0;
}

int failover_commit_verb(struct context *context, const struct store_vm *vm,
                         const struct failover_arguments *arguments, struct error **err)
{
    struct shown shown = { .percent = 0 };
    struct live_committing how = { .say = say, .progress = show_progress, .opaque = &shown };
    char question[STORE_NAME + 128];
    json_object *object;
    int64_t id = 0;

    snprintf(question, sizeof question,
             "Use up all restore points of %s, and retire its source for good?", vm->name);
    if (find_live(context, vm, &id, err) < 0 || ask(arguments, question, err) < 0)
        return -1;
    how.cancel = cancel_on_signals();
    if (job_live_commit(context->store, context->state_dir, vm, id, &how, err) < 0)
        return -1;
    if (!arguments->common.json) {
        printf("%s is committed: it stands on its own disks, its restore points are used up, and "
               "its source stays off\n",
               vm->name);
        return 0;
    }
    object = json_object_new_object();
    json_object_object_add(object, "vm", json_object_new_string(vm->name));
    json_object_object_add(object, "id", json_object_new_int64(id));
    json_object_object_add(object, "state", json_object_new_string(LIVE_COMMITTED));
    return print_json(object, err);
}

/* ---- rollback ---- */

/* *kept: its overlays are still there, as a point "live-ID". */
static int roll_back_live(struct context *context, const struct store_vm *vm, int64_t id,
                          const struct failover_arguments *arguments, int64_t *done, bool *kept,
                          struct error **err)
{
    struct live_back back = { .discard = arguments->discard,
                              .leave_off = arguments->leave_off,
                              .say = say };
    struct store_failover failover;
    bool found;

    *done = 0;
    if (shutdown_timeout(arguments, &back.shutdown_timeout_s, err) < 0 ||
        job_live_find(context->store, vm->id, &found, &failover, err) < 0)
        return -1;
    if (!found || (id && failover.id != id))
        return 0;
    if (job_live_rollback(context->store, context->state_dir, vm, failover.id, &back, err) < 0 ||
        store_failover_get(context->store, failover.id, &failover, err) < 0)
        return error_prefix(err, "rolling back failover %lld of %s", (long long)failover.id,
                            vm->name);
    *done = failover.id;
    *kept = strcmp(failover.state, FAILOVER_KEPT) == 0;
    return 0;
}

static int print_rollback(const struct store_vm *vm, size_t tests, size_t discarded, int64_t live,
                          bool kept, bool json, struct error **err)
{
    char name[FAILOVER_KEPT_NAME];

    failover_kept_name(live, name);
    if (json) {
        json_object *object = json_object_new_object();

        json_object_object_add(object, "vm", json_object_new_string(vm->name));
        json_object_object_add(object, "rolled_back",
                               json_object_new_int64((int64_t)tests + (live != 0)));
        json_object_object_add(object, "live", live ? json_object_new_int64(live) : NULL);
        json_object_object_add(object, "kept", kept ? json_object_new_string(name) : NULL);
        json_object_object_add(object, "discarded", json_object_new_int64((int64_t)discarded));
        return print_json(object, err);
    }
    if (tests)
        printf("%zu test%s of %s %s rolled back: domain, network and overlays are gone, its "
               "restore points are as they were\n",
               tests, tests == 1 ? "" : "s", vm->name, tests == 1 ? "is" : "are");
    if (live)
        printf("live failover %lld of %s is rolled back: the domain is gone, the source is in "
               "service again\n",
               (long long)live, vm->name);
    if (kept)
        printf("what the guest wrote here is kept: vmferry failover test %s --point=%s boots it, "
               "vmferry failover rollback %s --discard removes it\n",
               vm->name, name, vm->name);
    if (discarded)
        printf("what %zu live failover%s of %s had left is removed\n", discarded,
               discarded == 1 ? "" : "s", vm->name);
    if (!tests && !live && !discarded)
        printf("%s has no failover to roll back\n", vm->name);
    return 0;
}

int failover_rollback_verb(struct context *context, const struct store_vm *vm, int64_t id,
                           const struct failover_arguments *arguments, struct error **err)
{
    size_t tests = 0, discarded = 0;
    bool kept = false;
    int64_t live;

    if (failover_rollback(context->store, context->state_dir, vm, id, &tests, err) < 0 ||
        roll_back_live(context, vm, id, arguments, &live, &kept, err) < 0 ||
        (arguments->discard &&
         job_live_discard(context->store, context->state_dir, vm, id, &discarded, err) < 0))
        return -1;
    return print_rollback(vm, tests, discarded, live, kept, arguments->common.json, err);
}
