/* The network of one test: a switch of its own that leads nowhere: no forwarding, no DNS.
 * So a copy with the source's MAC and IP addresses can run beside the source. */
#ifndef VMFERRY_FAILOVER_NETWORK_H
#define VMFERRY_FAILOVER_NETWORK_H

#include <stdbool.h>

#include "failover/libvirt.h"

/* Make and start it; gone after a reboot of the host, unless it is to last. `name` is at most 15
 * characters of a-z, 0-9 and -, and is the bridge's name too. This host has no address in it,
 * unless dhcp: then it gives addresses out, of a subnet that no other network here has. */
int network_start(virConnectPtr connection, const char *name, bool dhcp, bool lasting,
                  struct error **err);

/* Nothing to do when there is none. */
int network_remove(virConnectPtr connection, const char *name, struct error **err);

/* An error unless this libvirt has it, and it is started. */
int network_check(virConnectPtr connection, const char *name, struct error **err);

#endif
