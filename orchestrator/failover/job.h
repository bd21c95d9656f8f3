/* What test and rollback share: the files of one failover and its lock. */
#ifndef VMFERRY_FAILOVER_JOB_H
#define VMFERRY_FAILOVER_JOB_H

#include <limits.h>

#include "failover/failover.h"

/* One process at a time works on the failovers of a VM. The descriptor holds the lock
 * until it is closed; -1 is an error, also when another process has it. */
int failover_lock(const char *state_dir, const struct store_vm *vm, struct error **err);

void failover_directory(const char *state_dir, int64_t id, char path[PATH_MAX]);
void failover_overlay(const char *state_dir, int64_t id, int key, char path[PATH_MAX]);

/* Remove domain, network and overlays, then say so in the store. The caller holds the
 * lock. May be repeated. */
int failover_undo(struct store *store, const char *state_dir, struct store_failover *failover,
                  struct error **err);

#endif
