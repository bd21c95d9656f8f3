/* What a guest's agent says of the system that runs there. */
#ifndef VMFERRY_FAILOVER_GUEST_H
#define VMFERRY_FAILOVER_GUEST_H

#include <json.h>

#include "failover/libvirt.h"

/* { "os": …, "filesystems": …, "interfaces": …, "hostname": … }, each as the agent gives it and
 * only what it gives; NULL when it does not answer. The caller's to put. */
json_object *guest_ask(virDomainPtr domain);

/* It answers at all. */
bool guest_answers(virDomainPtr domain, int timeout_s);

#endif
