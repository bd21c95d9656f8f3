/* One VM as the property collector tells it, property by property, and as a VM spec. */
#ifndef VMFERRY_VSPHERE_VM_H
#define VMFERRY_VSPHERE_VM_H

#include "source/vsphere/device.h"

/* What vm_take() understands. None of them is newer than vSphere 5.0: a server refuses the
 * whole request over one path that it does not know. */
#define VM_PATHS                                                                                   \
    "name parent parentVApp runtime.connectionState runtime.powerState runtime.host "              \
    "config.template config.instanceUuid config.changeTrackingEnabled config.version "             \
    "config.guestFullName config.firmware config.hardware.numCPU config.hardware.memoryMB "        \
    "config.hardware.numCoresPerSocket config.guestId config.bootOptions "                         \
    "config.hardware.device summary.storage guest.toolsRunningStatus guest.toolsVersionStatus"

struct vsphere_vm {
    struct moref ref;
    struct moref parent; /* a folder or a vApp */
    struct moref host;
    char connection[32]; /* "connected", "disconnected", "orphaned", "inaccessible", "invalid" */
    bool is_template;
    char tools_running[48], tools_version[48]; /* vSphere's words */
    int boot[8];         /* keys of the disks in the firmware's boot order; 0 ends them */
    struct vm_spec spec; /* path and inventory.host are filled in by others */
    struct vsphere_devices devices;
};

/* One property of this VM; what it doesn't know is passed over. */
int vm_take(struct vsphere_vm *vm, const char *name, const xmlNode *val, struct error **err);
/* All have been taken: complete the spec. */
int vm_finish(struct vsphere_vm *vm, struct error **err);
void vm_free(struct vsphere_vm *vm);
#define CLEANUP_VM CLEANUP(vm_free)

/* Lower case into `to`, "" when `text` is no UUID. */
void vm_uuid(const char *text, char to[SPEC_UUID]);

#endif
