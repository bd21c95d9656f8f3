/* The writers' lock of one export, across processes.
 *
 * The lock file holds the terms its writers write under (exportmap_file_terms).
 * A writer keeps flock(LOCK_SH) on it while it can write. To write under other
 * terms the lock must be had exclusively once, which proves that no writer is left;
 * then the content is replaced. The kernel drops the lock when the last copy of
 * the descriptor is closed, by the death of its processes too. */
#ifndef EXPORTMAP_LEASE_H
#define EXPORTMAP_LEASE_H

#include "error.h"

/* Wait until NAME may be written under TERMS, at most timeout_ms. Returns the
 * descriptor that holds the lock (close-on-exec), or -1: err->errnum is EBUSY
 * when writers under other terms did not let go. */
int lease_acquire(int state_fd, const char *name, const char *terms, int timeout_ms,
                  struct error **err);

#endif
