/* Starting other programs: argv arrays, never a shell. Thread-safe; allocates
 * only before fork. Children die with the thread's process (PR_SET_PDEATHSIG) when asked. */
#ifndef VMFERRY_PROCESS_H
#define VMFERRY_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "error.h"

struct process_options {
    int stdin_fd;        /* -1: /dev/null */
    int stdout_fd;       /* -1: /dev/null */
    int stderr_fd;       /* -1: ours */
    const int *keep_fds; /* stay open in the child, -1 ends the list; NULL: none but 0, 1, 2 */
    int listen_fd;       /* a listening socket to hand over as descriptor 3, by systemd's protocol
                            (LISTEN_FDS, LISTEN_PID); -1: none. keep_fds may not hold 3 then */
    const char *const *env; /* "NAME=value" to add or replace, NULL ends the list; or NULL */
    bool die_with_parent;   /* SIGTERM when the process that started it dies, even by kill -9 */
    bool block_sigterm;     /* it starts with SIGTERM blocked */
    bool at_once;           /* don't wait until it is executed: on a busy machine the caller would
                               wait for its turn; if it can't be, it ends with exit status 127 */
    bool own_group;         /* a process group of its own: Ctrl-C in a terminal does not reach it */
};
#define PROCESS_OPTIONS_INIT                                                                       \
    {                                                                                              \
        .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .listen_fd = -1                          \
    }

/* Start argv[0], looked up in PATH. Returns the pid, or -1 when it could not be
 * executed (the error names the program and the package hint is the caller's). */
pid_t process_start(const char *const argv[], const struct process_options *options,
                    struct error **err);

/* Wait for it to end, at most timeout_ms (-1: for ever). Returns its wait status
 * in *status; a time-out returns -1 and leaves it running. */
int process_wait(pid_t pid, int timeout_ms, int *status, struct error **err);

/* SIGTERM, after grace_ms SIGKILL, and reap. Nothing to do when pid <= 0. */
void process_stop(pid_t pid, int grace_ms);

/* Run to the end. An exit status other than 0 is an error that holds the last
 * lines of its stderr. When `out` is not NULL it receives stdout (at most
 * 64 MiB), NUL-terminated, the caller's to free. timeout_ms -1: none; when it
 * passes, the program is killed and that is an error. */
int process_run(const char *const argv[], int timeout_ms, char **out, struct error **err);

/* What may take long. */
struct process_watch {
    atomic_int *stop; /* non-zero: it is told to end, errnum ECANCELED; NULL: nobody stops it */
    /* A piece of its stdout, as it comes; NULL: nobody listens. */
    void (*hear)(void *opaque, const char *data, size_t length);
    void *opaque;
};
/* As process_run, without a time limit. Ctrl-C in a terminal does not reach it. */
int process_run_watched(const char *const argv[], const struct process_watch *watch,
                        struct error **err);

#endif
