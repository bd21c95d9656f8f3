/* `vmferry failover live|commit|rollback VM`: arguments in, what has become of the VM out. */
#ifndef VMFERRY_FAILOVER_LIVE_COMMAND_H
#define VMFERRY_FAILOVER_LIVE_COMMAND_H

#include "commands/failover-test.h"

int failover_live_verb(struct context *context, const struct store_vm *vm,
                       const struct failover_arguments *arguments, struct error **err);
int failover_commit_verb(struct context *context, const struct store_vm *vm,
                         const struct failover_arguments *arguments, struct error **err);
/* Of tests and of live ones; id 0: all that are open. */
int failover_rollback_verb(struct context *context, const struct store_vm *vm, int64_t id,
                           const struct failover_arguments *arguments, struct error **err);

#endif
