/* `vmferry vm set VM WHAT=VALUE`. What goes out: the VM's own retention rules, or how it is
 * tested, in the store and the audit log. */
#ifndef VMFERRY_VM_SET_H
#define VMFERRY_VM_SET_H

#include "commands/context.h"

int vm_set(struct context *context, const struct store_vm *vm, const char *assignment, bool json,
           struct error **err);

#endif
