/* What tests and rollbacks share: the files of one failover and its locks. */
#ifndef VMFERRY_FAILOVER_JOB_H
#define VMFERRY_FAILOVER_JOB_H

#include <limits.h>

#include "failover/failover.h"

/* Held for a moment, while failovers of a VM are made or chosen: waits for others. The
 * descriptor holds the lock until it is closed. */
int failover_lock_vm(const char *state_dir, const struct store_vm *vm, struct error **err);

/* One process at a time works on a failover. It is taken while the VM's lock is held, and its
 * directory is there after it. -1 is an error, also when another process has it. */
int failover_lock(const char *state_dir, int64_t id, struct error **err);

/* The name of this host, as failovers have it. */
void failover_host(char host[STORE_NAME]);
/* It was made on this host: its overlays and its libvirt are here. */
bool failover_is_here(const struct store_failover *failover);

/* The failover's lock, taken under the VM's, which is let go again; and in *failover the row as it
 * is now. One of another host is an error that says to do `what` there: "run the rollback". */
int failover_take(struct store *store, const char *state_dir, const struct store_vm *vm, int64_t id,
                  const char *what, struct store_failover *failover, struct error **err);

/* The last act of whoever holds it. */
void failover_lock_remove(const char *state_dir, int64_t id);

/* Where their directories are. */
void failover_root(const char *state_dir, char path[PATH_MAX]);
void failover_directory(const char *state_dir, int64_t id, char path[PATH_MAX]);
void failover_overlay(const char *state_dir, int64_t id, int key, char path[PATH_MAX]);
/* …that was kept. */
void failover_kept(const char *state_dir, int64_t id, int key, char path[PATH_MAX]);

#define FAILOVER_OVERLAY_ENDING ".qcow2"
#define FAILOVER_KEPT_ENDING    ".kept"

/* Remove domain and network; the overlays are removed or kept under other names. The row's state
 * is FAILOVER_ROLLING_BACK. The caller holds the failover's lock. May be repeated. */
int failover_remove(struct store *store, const char *state_dir, struct store_failover *failover,
                    bool keep, struct error **err);
/* After that: its end, in this state, and the VM's. */
int failover_close(struct store *store, const char *state_dir, struct store_failover *failover,
                   const char *state, struct error **err);
/* Remove overlays that were kept. */
int failover_discard(const char *state_dir, int64_t id, struct error **err);

/* Both: remove domain, network and overlays, then say so in the store. The caller holds the
 * failover's lock. May be repeated. */
int failover_undo(struct store *store, const char *state_dir, struct store_failover *failover,
                  struct error **err);

#endif
