/* What a guest shows while it boots, and what is kept of it; see boot.h. */
#include <json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "failover/boot.h"
#include "failover/guest.h"
#include "failover/overdue.h"
#include "progress.h"
#include "say.h"

#define LIBVIRT_LATE_S 5 /* more than one look takes */
#define RECONNECT_S    30

static void look(void *opaque, double seconds)
{
    pictures_look(opaque, seconds);
}

/* One that a dead process began is watched to its end, too. */
static double before_watch(const struct boot *boot)
{
    if (boot->began_ns)
        return (double)(progress_now_ns() - boot->began_ns) / 1e9;
    return (double)(store_now_ms() - boot->result->failover.created_ms) / 1000;
}

static int find_again(struct boot *boot, struct error **err)
{
    const struct store_failover *failover = &boot->result->failover;

    cleanup_domain(&boot->domain);
    boot->domain = NULL;
    cleanup_connection(&boot->connection);
    boot->connection = NULL;
    if (libvirt_connect(failover->uri, &boot->connection, err) < 0)
        return -1;
    boot->domain = virDomainLookupByUUIDString(boot->connection, failover->domain_uuid);
    boot->pictures.domain = boot->domain;
    return boot->domain ? 0 : libvirt_error(err, "looking for domain %s", failover->domain_name);
}

/* The guest runs on, whoever looks. */
static int reconnect(struct boot *boot, struct error **err)
{
    const struct timespec pause = { .tv_sec = 1 };
    int64_t until = progress_now_ns() + RECONNECT_S * INT64_C(1000000000);
    atomic_int *cancel = boot->options->cancel;

    say_line(boot->options->say, "the connection to libvirt was lost: connecting again");
    for (;;) {
        CLEANUP_ERROR struct error *why = NULL;

        if (find_again(boot, &why) == 0)
            return 0;
        if ((cancel && atomic_load(cancel)) || progress_now_ns() >= until) {
            error_prefix(&why, "the connection to libvirt was lost");
            return error_move(err, &why);
        }
        nanosleep(&pause, NULL);
    }
}

static int watch(struct boot *boot, struct error **err)
{
    const struct failover_options *options = boot->options;
    const struct evidence_options how = { .expect = boot->expects ? &boot->expect : NULL,
                                          .timeout_s = options->timeout_s,
                                          .start_ns = progress_now_ns(),
                                          .tick = options->tick,
                                          .look = look,
                                          .opaque = &boot->pictures,
                                          .cancel = options->cancel };
    struct evidence *evidence = &boot->result->evidence;
    double before_s = before_watch(boot);

    say_line(boot->options->say, "%s runs as domain %s (%s); waiting at most %u s for %s%s",
             boot->vm->name, boot->result->failover.domain_name, boot->result->virt_type,
             options->timeout_s, boot->expects ? "its console to say " : "its guest agent",
             boot->expects ? options->expect : "");
    for (;;) {
        struct overdue late;

        overdue_start(&late, options->timeout_s + LIBVIRT_LATE_S, options->say,
                      "the time for the boot is over, but libvirt does not answer: waiting for it");
        evidence_watch(boot->domain, boot->result->console, &how, evidence);
        overdue_stop(&late);
        if (strcmp(evidence->by, "lost") != 0)
            break;
        if (reconnect(boot, err) < 0)
            return -1;
    }
    boot->rto_s = before_s + evidence->seconds;
    return 0;
}

/* Why a guest does not run that was started. */
static const char *stopped(virDomainPtr domain)
{
    int state, reason;

    if (virDomainGetState(domain, &state, &reason, 0) < 0)
        return "the guest is gone";
    if (state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_IOERROR)
        return "the guest is paused, as a write failed: is the storage of its overlay full?";
    if (state == VIR_DOMAIN_PAUSED)
        return "the guest is paused";
    if (state == VIR_DOMAIN_SHUTOFF && reason == VIR_DOMAIN_SHUTOFF_DESTROYED)
        return "somebody destroyed its domain";
    return state == VIR_DOMAIN_CRASHED || reason == VIR_DOMAIN_SHUTOFF_CRASHED ||
                   reason == VIR_DOMAIN_SHUTOFF_FAILED
               ? "the guest crashed"
               : "the guest powered itself off";
}

static void explain(struct boot *boot)
{
    const struct evidence *evidence = &boot->result->evidence;
    struct failover_result *result = boot->result;

    result->passed = evidence->booted;
    if (evidence->booted)
        return;
    if (strcmp(evidence->by, "stuck") == 0)
        snprintf(result->why, sizeof result->why, "it is stuck at \"%s\"", evidence->line);
    else
        snprintf(result->why, sizeof result->why, "%s%s%.400s%s",
                 strcmp(evidence->by, "stopped") == 0 ? stopped(boot->domain)
                 : boot->expects                      ? "its console did not say what was expected"
                                                      : "its guest agent does not answer",
                 *evidence->line ? "; its console said last: \"" : "", evidence->line,
                 *evidence->line ? "\"" : "");
}

static int run_checks(struct boot *boot, struct error **err)
{
    const struct failover_options *options = boot->options;
    struct failover_result *result = boot->result;
    const struct check_place place = { .domain = boot->domain,
                                       .remote = boot->remote,
                                       .dhcp = options->dhcp,
                                       .isolated = result->failover.network,
                                       .nics = boot->plan.nics,
                                       .nic_count = boot->plan.nic_count };
    char why[CHECK_WHY];
    size_t failed;

    if (!result->evidence.booted || !options->checks || !options->checks->count)
        return 0;
    if (boot_set_state(boot, FAILOVER_CHECKING, err) < 0)
        return -1;
    say_line(boot->options->say, "%s booted in %.1f s; %zu check%s, at most %u s", boot->vm->name,
             result->evidence.seconds, options->checks->count,
             options->checks->count == 1 ? "" : "s", options->check_timeout_s);
    failed = checks_run(options->checks, &place, options->check_timeout_s, options->cancel,
                        &boot->checks, why);
    result->passed = failed == 0;
    if (failed)
        snprintf(result->why, sizeof result->why,
                 "it booted in %.1f s, but %zu of %zu checks failed: %s", result->evidence.seconds,
                 failed, options->checks->count, why);
    return 0;
}

/* The screen first: what it shows at the verdict is not what it shows a minute of checks later. */
int boot_watch(struct boot *boot, struct error **err)
{
    CLEANUP_ERROR struct error *none = NULL;
    struct failover_result *result = boot->result;
    atomic_int *cancel = boot->options->cancel;

    pictures_begin(&boot->pictures, boot->domain, boot->state_dir, result->failover.id);
    if (watch(boot, err) < 0)
        return -1;
    explain(boot);
    if (strcmp(result->evidence.by, "stopped") != 0 &&
        strcmp(result->evidence.by, "cancelled") != 0) {
        if (pictures_end(&boot->pictures, result->evidence.seconds, &none) == 0)
            failover_screen(boot->state_dir, result->failover.id, result->screen);
        else
            say_line(boot->options->say, "no picture of the screen: %s", error_message(none));
    }
    if (run_checks(boot, err) < 0)
        return -1;
    return cancel && atomic_load(cancel) ? error_set(err, "interrupted") : 0;
}

static void add_seconds(json_object *json, const char *name, double seconds)
{
    char text[32];

    snprintf(text, sizeof text, "%.1f", seconds);
    json_object_object_add(json, name, json_object_new_double_s(seconds, text));
}

static void add_text(json_object *json, const char *name, const char *text)
{
    json_object_object_add(json, name, *text ? json_object_new_string(text) : NULL);
}

static void add_verdict(const struct boot *boot, json_object *json)
{
    const struct failover_result *result = boot->result;
    const struct evidence *evidence = &result->evidence;

    add_text(json, "verdict", result->passed ? "passed" : "failed");
    add_text(json, "why", result->why);
    json_object_object_add(json, "booted", json_object_new_boolean(evidence->booted));
    add_text(json, "by", evidence->by);
    add_text(json, "line", evidence->line);
    add_seconds(json, "seconds", evidence->seconds);
    if (evidence->booted)
        add_seconds(json, "rto_seconds", boot->rto_s);
    else
        json_object_object_add(json, "rto_seconds", NULL);
    if (boot->plan.point.created_ms)
        add_seconds(json, "rpo_seconds",
                    (double)(result->failover.created_ms - boot->plan.point.created_ms) / 1000);
}

/* One that ran into its timeout may have an agent all the same, when its console was to speak. */
static void add_guest(const struct boot *boot, json_object *json)
{
    bool stopped = strcmp(boot->result->evidence.by, "stopped") == 0;
    json_object *guest = stopped ? NULL : guest_ask(boot->domain);

    json_object_object_add(json, "agent", json_object_new_boolean(guest != NULL));
    json_object_object_add(json, "guest", guest);
}

/* What the steps found worth keeping. */
static void add_more(json_object *json, json_object *more)
{
    if (!more)
        return;
    json_object_object_foreach(more, name, value)
    {
        json_object_object_add(json, name, json_object_get(value));
    }
}

int boot_keep_evidence(struct boot *boot, struct error **err)
{
    const struct failover_result *result = boot->result;
    json_object *json = json_object_new_object();
    int status;

    add_verdict(boot, json);
    add_text(json, "virt_type", result->virt_type);
    add_text(json, "console", result->console);
    add_text(json, "screen", result->screen);
    json_object_object_add(json, "screens", json_object_get(boot->pictures.list));
    add_guest(boot, json);
    json_object_object_add(json, "checks", json_object_get(boot->checks));
    add_more(json, boot->more);
    status = store_failover_evidence(boot->store, result->failover.id,
                                     json_object_to_json_string(json), err);
    json_object_put(json);
    return status;
}
