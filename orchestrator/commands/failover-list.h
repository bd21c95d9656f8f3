/* Failovers for people and for programs; see failover.c for the verbs. */
#ifndef VMFERRY_COMMANDS_FAILOVER_LIST_H
#define VMFERRY_COMMANDS_FAILOVER_LIST_H

#include <json.h>

#include "commands/context.h"

/* `evidence` is JSON. */
json_object *failover_to_json(const struct store_failover *failover, const char *vm_name,
                              const char *evidence);
/* Newest first; name NULL: of all VMs. */
int failover_list(struct context *context, const char *name, bool json, struct error **err);
/* One failover of the VM, 0: its newest. */
int failover_show(struct context *context, const struct store_vm *vm, int64_t id, bool json,
                  struct error **err);

/* A line for each check that is in the evidence, which may be NULL. */
void failover_print_checks(json_object *evidence, const char *head);

#endif
