/* The connections, each with its own nbdkit process, which alone holds the connection's socket:
 * whatever becomes of it, its client hears at once. Not thread-safe. */
#ifndef EXPORTMAP_CHILDREN_H
#define EXPORTMAP_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "listen.h"

struct child {
    pid_t pid;
    ino_t socket;        /* the inode of the connection's socket */
    int64_t deadline_ms; /* to have opened an export by; INT64_MAX: has, or no limit */
    char peer[ADDRESS_MAX];
};

struct children {
    struct child *list;
    unsigned count;
    unsigned max;
    int handshake_ms;    /* 0: no limit */
    int opened[2];       /* pipe: a child's plugin writes its pid_t when an export is opened */
    char opened_env[40]; /* tells it where */
    bool exit_with_parent;
};

int children_init(struct children *children, unsigned max, int handshake_ms, bool exit_with_parent,
                  struct error **err);
void children_free(struct children *children);

/* Start a process of ARGV with SOCKET as its stdin and stdout: a connection; or, for one that
 * stands by, where it will be given one; `standby` says how ("fork", "once"). Its pid, or -1. */
pid_t children_spawn(struct children *children, const char *const argv[], int socket,
                     const char *standby, struct error **err);

/* Process PID has the connection SOCKET from now on. There must be room for it. */
void children_add(struct children *children, pid_t pid, int socket, const char *peer);

/* Process PID has ended: log it if badly. False: it has no connection. */
bool children_ended(struct children *children, pid_t pid, int status);

/* Read from the pipe who has opened an export. */
void children_note_opened(struct children *children);

/* Kill those that have not opened an export in time. Returns the next deadline, INT64_MAX for
 * none. */
int64_t children_expire(struct children *children);

/* Let each finish what it has been asked and end. nbdkit -s pays no heed to SIGTERM while it waits
 * for its client, but it does to the end of its input. */
void children_shut_down(struct children *children);

void children_kill(struct children *children);

#endif
