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

/* What it answers to one command; the caller's to put. `arguments` (or NULL) are taken over. */
int guest_call(virDomainPtr domain, const char *command, json_object *arguments, int timeout_s,
               json_object **answer, struct error **err);

/* Bytes that it sent as base64, as text that is valid UTF-8; the caller's to free. NULL: none. */
char *guest_text(json_object *base64);

#endif
