/* An nbdkit that is started before there is a client. nbdkit-exportmap-server starts an
 * `nbdkit -s` whose stdin and stdout are a socket pair to the server instead of a client; the
 * environment variable EXPORTMAP_STANDBY says so: "once INODE" or "fork INODE", of our end. It
 * stops here, before nbdkit has read or written anything. When a client comes, the server sends
 * its connection through that socket.
 *
 * once: the connection takes the socket pair's place, and all goes on as if the process had been
 * started for it. For TLS.
 *
 * fork: a copy of the process does that, and the process goes on waiting. It says 0 when it is
 * ready, and then, for each connection, its copy's pid, or a negative errno. A copy is the
 * server's child, not ours: the server waits for it, and our death concerns no client. It
 * shares nothing with us or with other copies that is ever changed again. */
#ifndef EXPORTMAP_STANDBY_H
#define EXPORTMAP_STANDBY_H

#include <stdbool.h>

#include "error.h"

/* Whether this process is such a one; notes and removes the variable. */
bool standby_init(void);

/* Returns when there is a client, in the process that shall serve it. It ends when the server wants
 * it no more. Only one thread may be there. */
int standby_wait(struct error **err);

#endif
