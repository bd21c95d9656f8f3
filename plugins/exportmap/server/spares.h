/* Processes that are ready before their client comes, so that a client need not wait until
 * nbdkit has started: the plugin in each waits for a connection on a socket pair
 * (../standby.h). One that has been given a connection is a child as any other
 * (children.h) and serves nobody else. Not thread-safe. */
#ifndef EXPORTMAP_SPARES_H
#define EXPORTMAP_SPARES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "children.h"

#define SPARES_MAX      64
#define SPARE_TLS_FILES 4

struct spare {
    pid_t pid;
    int control; /* our end of the socket pair */
};

/* Spares of one command line. */
struct spares {
    const char *const *argv;
    unsigned wanted;
    const char *certificates; /* the directory; NULL without TLS */
    struct spare list[SPARES_MAX];
    unsigned count;                     /* list[0] is the oldest */
    struct stat files[SPARE_TLS_FILES]; /* of the certificates that they have read */
    int64_t not_before_ms;              /* after a failure: when to start one again */
};

void spares_init(struct spares *spares, const char *const argv[], unsigned wanted,
                 const char *certificates);

/* Give the connection FD to a spare. Its pid, or -1 when there is none that could take it: also
 * when the certificates have changed since they were started. FD stays the caller's. */
pid_t spares_take(struct spares *spares, int fd);

/* When to call spares_add: 0: now; INT64_MAX: not before one is taken. */
int64_t spares_due(const struct spares *spares);
/* Start one more. */
void spares_add(struct spares *spares, struct children *children);

/* Process PID has ended. False: it was none of these. */
bool spares_ended(struct spares *spares, pid_t pid, int status);

/* End them all; the caller reaps them. */
void spares_discard(struct spares *spares);

#endif
