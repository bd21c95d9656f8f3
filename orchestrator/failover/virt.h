/* Whether KVM can be used here. /dev/kvm proves nothing: where virtualization is
 * nested badly it opens and its guests hang. So a tiny guest is really started. */
#ifndef VMFERRY_FAILOVER_VIRT_H
#define VMFERRY_FAILOVER_VIRT_H

#include <stdbool.h>

#include "error.h"

/* Boot a disk of one sector through the BIOS under `accelerator` (kvm, tcg), at most
 * five seconds. *works says whether it ran; an error is that QEMU is not there. */
int virt_probe(const char *accelerator, bool *works, struct error **err);

/* What `wanted` means on this host: kvm and qemu (emulation) are themselves, auto is
 * found out by virt_probe(). Returns one of the two in *type; static storage. */
int virt_choose(const char *wanted, const char **type, struct error **err);

#endif
