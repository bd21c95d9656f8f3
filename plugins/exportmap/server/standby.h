/* nbdkits that are ready before their clients come, so that none has to wait until one has
 * started (../standby.h). Without TLS it is one, which forks for each connection that it is
 * sent. GnuTLS's random numbers must not be forked in a way that it does not hear of, so
 * with TLS there are a few, and each becomes the process of one connection. What comes in:
 * connections. What goes out: the ids of their processes, which are our children as any
 * other (children.h). Not thread-safe. */
#ifndef EXPORTMAP_SERVER_STANDBY_H
#define EXPORTMAP_SERVER_STANDBY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "children.h"

#define STANDBY_TLS_FILES 4

#define STANDBY_MAX 8

struct waiting {
    pid_t pid;
    int control; /* our end of the socket pair */
    bool ready;  /* it has said so */
};

/* Those of one command line. */
struct standby {
    const char *const *argv;
    unsigned wanted;          /* 0: none */
    const char *certificates; /* the directory; NULL without TLS: one, which forks */
    struct waiting list[STANDBY_MAX];
    unsigned count;                       /* list[0] is the oldest */
    struct stat files[STANDBY_TLS_FILES]; /* of the certificates that they have read */
    int64_t not_before_ms;                /* after a failure: when to start one again */
    unsigned failures;                    /* one after the other, without a client between */
};

void standby_init(struct standby *standby, const char *const argv[], bool wanted,
                  const char *certificates);

/* A process for the connection FD, or -1 when there is none to be had: also when the certificates
 * have changed since they were read. FD stays the caller's. */
pid_t standby_take(struct standby *standby, int fd);

/* When to call standby_start: 0: now; INT64_MAX: not needed. */
int64_t standby_due(const struct standby *standby);
void standby_start(struct standby *standby, struct children *children);

/* Process PID has ended. False: it was none of these. */
bool standby_ended(struct standby *standby, pid_t pid, int status);

/* End them; the caller reaps them. */
void standby_discard(struct standby *standby);

#endif
