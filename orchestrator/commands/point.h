/* What `vmferry point` consists of: point.c reads the arguments, point-list.c shows points,
 * point-change.c changes them. */
#ifndef VMFERRY_COMMAND_POINT_H
#define VMFERRY_COMMAND_POINT_H

#include "commands/context.h"
#include "store/store.h"

int point_list(struct context *context, const struct store_vm *vm, bool json, struct error **err);
int point_show(struct context *context, const struct store_vm *vm, unsigned number, bool json,
               struct error **err);

int point_delete(struct context *context, const struct store_vm *vm, unsigned number, bool newest,
                 bool json, struct error **err);
/* Every point: the replica is given up. */
int point_delete_all(struct context *context, const struct store_vm *vm, bool lost_pool, bool json,
                     struct error **err);
int point_pin(struct context *context, const struct store_vm *vm, unsigned number, bool pinned,
              bool json, struct error **err);
/* keep NULL: show the rules; "default": those of the configuration again. */
int point_keep(struct context *context, const struct store_vm *vm, const char *keep, bool json,
               struct error **err);
/* vm NULL: all VMs. */
int point_prune(struct context *context, const struct store_vm *vm, bool dry_run, bool json,
                struct error **err);

#endif
