/* Which TCP ports a guest listens on, by what its own kernel says. What comes in: a guest with an
 * agent that may read files; Linux. What goes out: whether something listens there for others
 * than the guest itself. */
#ifndef VMFERRY_FAILOVER_LISTENER_H
#define VMFERRY_FAILOVER_LISTENER_H

#include <stdbool.h>

#include "failover/libvirt.h"

int listener_find(virDomainPtr domain, unsigned port, bool *found, struct error **err);

/* In the text of /proc/net/tcp or tcp6. */
bool listener_in(const char *table, unsigned port);

#endif
