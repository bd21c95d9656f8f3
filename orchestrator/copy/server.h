/* An NBD server of our own, for an end that is a command in brackets. What comes
 * in: "[ nbdkit … ]". What goes out: a running server on a private socket, by
 * socket activation, so that it is there from the first moment and gone with us. */
#ifndef VMFERRY_COPY_SERVER_H
#define VMFERRY_COPY_SERVER_H

#include "error.h"

struct server;

/* Words are separated by blanks; '…' and "…" keep them together, and there are no
 * other special characters: no shell sees it. */
struct server *server_start(const char *command, struct error **err);
const char *server_uri(const struct server *server);
/* Nothing to do on NULL. */
void server_stop(struct server *server);

#endif
