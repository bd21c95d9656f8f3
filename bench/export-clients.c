/* Clients of an export server: some that stay connected and read, and one that opens an export
 * again and again, with a stopwatch. What comes in: a server on a unix socket whose exports
 * PREFIX-held-N and PREFIX-open-N begin with their own name. What goes out, on stdout:
 *
 *     OPENS ERRORS MEDIAN P90 P99 MAX        times in milliseconds
 *
 * and on stderr what went wrong. It goes on until OPENS are done and its stdin has ended.
 *
 *     export-clients SOCKET PREFIX HELD OPENABLE OPENS INTERVAL_MS */
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#define READS_A_TURN 3

struct run {
    const char *socket;
    const char *prefix;
    unsigned held, openable, opens;
    double interval_ms;
    struct nbd_handle **handles; /* of those that stay */
    double *times;
    unsigned errors;
};

static double now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1000 + (double)ts.tv_nsec / 1e6;
}

static void report(struct run *run, const char *name)
{
    fprintf(stderr, "export-clients: %s: %s\n", name, nbd_get_error() ? nbd_get_error() : "?");
    run->errors++;
}

/* It must begin with its name. */
static bool is_right(struct nbd_handle *nbd, const char *name)
{
    char text[64] = "";

    return nbd_pread(nbd, text, strlen(name), 0, 0) == 0 && strcmp(text, name) == 0;
}

static struct nbd_handle *open_export(struct run *run, const char *name)
{
    struct nbd_handle *nbd = nbd_create();

    if (nbd && nbd_set_export_name(nbd, name) == 0 && nbd_connect_unix(nbd, run->socket) == 0)
        return nbd;
    report(run, name);
    nbd_close(nbd);
    return NULL;
}

static void check(struct run *run, struct nbd_handle *nbd, const char *name)
{
    if (nbd && !is_right(nbd, name))
        report(run, name);
}

static void open_once(struct run *run, unsigned i)
{
    char name[64];
    double began = now_ms();
    struct nbd_handle *nbd;

    snprintf(name, sizeof name, "%s-open-%u", run->prefix, i % run->openable);
    nbd = open_export(run, name);
    if (i < run->opens)
        run->times[i] = now_ms() - began;
    check(run, nbd, name);
    if (nbd)
        nbd_shutdown(nbd, 0);
    nbd_close(nbd);
}

static void read_held(struct run *run, unsigned i)
{
    char name[64];

    for (unsigned n = 0; run->held > 0 && n < READS_A_TURN; n++) {
        unsigned which = (i * READS_A_TURN + n) % run->held;

        snprintf(name, sizeof name, "%s-held-%u", run->prefix, which);
        check(run, run->handles[which], name);
    }
}

static bool stdin_ended(void)
{
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    char byte;

    return poll(&in, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static void work(struct run *run)
{
    double next = now_ms();
    bool ended = false;

    for (unsigned i = 0; i < run->opens || !ended; i++) {
        double wait;

        open_once(run, i);
        read_held(run, i);
        ended = ended || stdin_ended();
        next += run->interval_ms;
        wait = next - now_ms();
        if (wait > 0)
            nanosleep(&(struct timespec){ .tv_nsec = (long)(wait * 1e6) % 1000000000L,
                                          .tv_sec = (time_t)(wait / 1000) },
                      NULL);
        else
            next = now_ms();
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char *argv[])
{
    struct run run;

    if (argc != 7) {
        fprintf(stderr, "usage: export-clients SOCKET PREFIX HELD OPENABLE OPENS INTERVAL_MS\n");
        return 2;
    }
    run = (struct run){ .socket = argv[1],
                        .prefix = argv[2],
                        .held = (unsigned)atoi(argv[3]),
                        .openable = (unsigned)atoi(argv[4]),
                        .opens = (unsigned)atoi(argv[5]),
                        .interval_ms = atof(argv[6]) };
    run.handles = calloc(run.held + 1, sizeof *run.handles);
    run.times = calloc(run.opens + 1, sizeof *run.times);
    if (!run.handles || !run.times || run.openable == 0 || run.opens == 0)
        return 2;
    for (unsigned i = 0; i < run.held; i++) {
        char name[64];

        snprintf(name, sizeof name, "%s-held-%u", run.prefix, i);
        run.handles[i] = open_export(&run, name);
    }
    fprintf(stderr, "connected\n");
    work(&run);
    for (unsigned i = 0; i < run.held; i++) {
        if (run.handles[i] && nbd_shutdown(run.handles[i], 0) < 0)
            report(&run, "held");
        nbd_close(run.handles[i]);
    }
    qsort(run.times, run.opens, sizeof *run.times, by_size);
    printf("%u %u %.3f %.3f %.3f %.3f\n", run.opens, run.errors, run.times[run.opens / 2],
           run.times[run.opens * 9 / 10], run.times[run.opens * 99 / 100],
           run.times[run.opens - 1]);
    free(run.handles);
    free(run.times);
    return 0;
}
