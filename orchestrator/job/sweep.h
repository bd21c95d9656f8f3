/* What dead workers of this host left in the state directory. What comes in: rows, files and
 * processes. What goes out: jobs that are paused instead of running for ever, and no file or
 * process that nobody can want any more. No source is asked, nothing that was copied is removed,
 * and what a living worker has is left alone. */
#ifndef VMFERRY_JOB_SWEEP_H
#define VMFERRY_JOB_SWEEP_H

#include "job/claim.h"

/* At the start of every command that runs jobs: those whose worker was a process of this host and
 * has ended are paused, with that as the reason; of the files in STATE/run that name a process,
 * those of processes that have ended are removed. Takes milliseconds; problems go to the log.
 * Returns how many jobs it paused. */
unsigned sweep_at_start(struct store *store, const char *state_dir);

/* For who holds the VM: files in its folders that belong to no point, like those of a worker
 * that was replaced. Images that were sealed, and bases, stay whatever the rows say. */
void sweep_files(struct store *store, const char *state_dir, const struct store_vm *vm);

/* Servers of this state directory whose process has died, and which have not ended by themselves:
 * they are ended. Returns how many. Locks and sockets of those that have ended go, too. */
unsigned sweep_servers(const char *state_dir);

#endif
