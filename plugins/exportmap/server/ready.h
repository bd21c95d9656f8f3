/* Telling others that the server listens: connections succeed from then on, so nobody has to
 * poll. */
#ifndef EXPORTMAP_READY_H
#define EXPORTMAP_READY_H

#include "error.h"
#include "listen.h"

struct ready {
    const char *pidfile; /* or NULL: written complete, by rename */
    int fd;              /* or -1: gets a line "tcp ADDRESS:PORT" or "unix PATH" for each socket,
                            then end of file; closed by ready_announce */
};

/* Also systemd's READY=1 on $NOTIFY_SOCKET. */
int ready_announce(const struct ready *ready, const struct listeners *listeners,
                   struct error **err);

/* STOPPING=1. */
void ready_stopping(void);

/* Remove the pidfile. */
void ready_end(const struct ready *ready);

#endif
