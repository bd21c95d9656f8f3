/* Watching a boot; see evidence.h. */
#include "failover/evidence.h"

#include <ctype.h>
#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define POLL_MS         200
#define AGENT_EVERY     5 /* polls */
#define AGENT_TIMEOUT_S 2
#define LINE_MAX_LENGTH 4096

/* The console as it grows: one line at a time, cut at LINE_MAX_LENGTH. */
struct console {
    const char *path;
    int fd; /* -1: not there yet */
    char line[LINE_MAX_LENGTH];
    size_t length;
};

static void close_console(struct console *console)
{
    cleanup_close(&console->fd);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool matches(struct console *console, const regex_t *expect)
{
    console->line[console->length] = '\0';
    return expect && console->length && regexec(expect, console->line, 0, NULL, 0) == 0;
}

/* libvirt's log daemon moves a console of 2 MiB aside and starts the file anew. */
static bool was_replaced(const struct console *console)
{
    struct stat opened, named;

    return fstat(console->fd, &opened) == 0 && stat(console->path, &named) == 0 &&
           opened.st_ino != named.st_ino;
}

/* Take in what is new. True as soon as a line matches, also one that has no end yet,
 * as a prompt has none. */
static bool read_console(struct console *console, const regex_t *expect)
{
    char buffer[4096];
    ssize_t got;

    if (console->fd < 0)
        console->fd = open(console->path, O_RDONLY | O_CLOEXEC);
    while (console->fd >= 0 && (got = read(console->fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            if (buffer[i] == '\n') {
                if (matches(console, expect))
                    return true;
                console->length = 0;
            } else if (isprint((unsigned char)buffer[i]) &&
                       console->length + 1 < sizeof console->line) {
                console->line[console->length++] = buffer[i];
            }
        }
    }
    if (console->fd >= 0 && was_replaced(console)) {
        close(console->fd);
        console->fd = -1;
    }
    return matches(console, expect);
}

static bool agent_answers(virDomainPtr domain)
{
    char *answer =
        virDomainQemuAgentCommand(domain, "{\"execute\":\"guest-ping\"}", AGENT_TIMEOUT_S, 0);
    bool answered = answer != NULL;

    free(answer);
    return answered;
}

static bool is_running(virDomainPtr domain)
{
    int state;

    return virDomainGetState(domain, &state, NULL, 0) == 0 &&
           (state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED);
}

/* One look. Returns what ended the watch, NULL when nothing did. */
static const char *look(virDomainPtr domain, struct console *console, const regex_t *expect,
                        unsigned round)
{
    bool running = is_running(domain); /* before the console: what it said last counts */

    if (read_console(console, expect))
        return "console";
    if (!running)
        return "stopped";
    if (!expect && round % AGENT_EVERY == 0 && agent_answers(domain))
        return "agent";
    return NULL;
}

void evidence_watch(virDomainPtr domain, const char *path, const regex_t *expect,
                    unsigned timeout_s, evidence_tick *tick, struct evidence *evidence)
{
    CLEANUP(close_console) struct console console = { .path = path, .fd = -1 };
    const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
    double start = now();
    const char *by = NULL;

    for (unsigned round = 0; !by; round++) {
        by = look(domain, &console, expect, round);
        if (!by && now() - start >= timeout_s)
            by = "timeout";
        if (!by && tick)
            tick(now() - start, timeout_s);
        if (!by)
            nanosleep(&pause, NULL);
    }
    *evidence = (struct evidence){ .seconds = now() - start };
    evidence->booted = strcmp(by, "console") == 0 || strcmp(by, "agent") == 0;
    snprintf(evidence->by, sizeof evidence->by, "%s", by);
    if (strcmp(by, "console") == 0)
        snprintf(evidence->line, sizeof evidence->line, "%.*s", (int)sizeof evidence->line - 1,
                 console.line);
}
