/* Started before there is a client. nbdkit-exportmap-server keeps a few processes ready: each is
 * an `nbdkit -s` whose stdin and stdout are a socket pair to the server instead of a client, with
 * its inode number in the environment variable EXPORTMAP_STANDBY. When a client comes, the
 * server sends the client's connection through that socket, and it takes the socket's place
 * before nbdkit has read or written anything. A process serves one client, as ever.
 *
 * Called by nbdkit's one thread before it serves. */
#ifndef EXPORTMAP_STANDBY_H
#define EXPORTMAP_STANDBY_H

#include <stdbool.h>

#include "error.h"

/* Whether this process is such a one; notes and removes the variable. */
bool standby_init(void);

/* Wait for the client's connection. Ends the process when the server wants it no more. */
int standby_wait(struct error **err);

#endif
