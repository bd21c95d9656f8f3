/* Watching a boot; see evidence.h. */
#include "failover/evidence.h"

#include <string.h>
#include <time.h>

#include "escape.h"
#include "failover/console.h"
#include "failover/guest.h"
#include "progress.h"

#define POLL_MS         200
#define AGENT_EVERY     5 /* polls */
#define AGENT_TIMEOUT_S 2

static double seconds_since(int64_t start_ns)
{
    return (double)(progress_now_ns() - start_ns) / 1e9;
}

/* NULL: it runs. */
static const char *ended(virDomainPtr domain)
{
    int state;

    if (virDomainGetState(domain, &state, NULL, 0) < 0)
        return libvirt_is_lost(virDomainGetConnect(domain)) ? "lost" : "stopped";
    return state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED ? NULL : "stopped";
}

/* One look. Returns what ended the watch, NULL when nothing did. */
static const char *look(virDomainPtr domain, struct console *console, const regex_t *expect,
                        unsigned round, double seconds)
{
    const char *end = ended(domain); /* before the console: what it said last counts */

    if (console_read(console, expect, seconds))
        return "console";
    if (end)
        return end;
    if (!expect && round % AGENT_EVERY == 0 && guest_answers(domain, AGENT_TIMEOUT_S))
        return "agent";
    return console_stuck(console, seconds) ? "stuck" : NULL;
}

static void show(const struct evidence_options *options, double seconds)
{
    if (options->tick)
        options->tick(seconds, options->timeout_s);
    if (options->look)
        options->look(options->opaque, seconds);
}

void evidence_watch(virDomainPtr domain, const char *path, const struct evidence_options *options,
                    struct evidence *evidence)
{
    CLEANUP_CONSOLE struct console console;
    const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
    int64_t start = options->start_ns ? options->start_ns : progress_now_ns();
    const char *by = NULL;

    console_open(&console, path);
    for (unsigned round = 0; !by; round++) {
        by = options->cancel && atomic_load(options->cancel)
                 ? "cancelled"
                 : look(domain, &console, options->expect, round, seconds_since(start));
        if (!by && seconds_since(start) >= options->timeout_s)
            by = "timeout";
        if (!by) {
            show(options, seconds_since(start));
            nanosleep(&pause, NULL);
        }
    }
    *evidence = (struct evidence){ .seconds = seconds_since(start) };
    if (strcmp(by, "timeout") == 0 && console_dead_end(&console))
        by = "stuck";
    evidence->booted = strcmp(by, "console") == 0 || strcmp(by, "agent") == 0;
    snprintf(evidence->by, sizeof evidence->by, "%s", by);
    if (strcmp(by, "console") == 0)
        copy_utf8(evidence->line, sizeof evidence->line, console.line);
    else if (strcmp(by, "stuck") == 0)
        copy_utf8(evidence->line, sizeof evidence->line, console_dead_end(&console));
    else if (!evidence->booted)
        copy_utf8(evidence->line, sizeof evidence->line, console_last_line(&console));
}
