/* What another host can run. What comes in: its libvirt and a domain as planned; what goes out: an
 * error that says what that host lacks. Only asks, before anything is made. */
#ifndef VMFERRY_FAILOVER_HOST_H
#define VMFERRY_FAILOVER_HOST_H

#include "failover/domain.h"

/* Its kind of virtualisation, firmware and TPM. */
int host_check(virConnectPtr connection, const struct domain_plan *plan, struct error **err);

/* An error only when that host says that it has none; not all of them can say. */
int host_check_bridge(virConnectPtr connection, const char *bridge, struct error **err);

#endif
