/* What rolled-back live failovers of a VM kept, before a commit uses up the restore points below
 * it. What goes out: the same images, which have all that they need and stand on no point. */
#ifndef VMFERRY_JOB_LIVE_KEPT_H
#define VMFERRY_JOB_LIVE_KEPT_H

#include <stdatomic.h>

#include "store/store.h"

/* An image that was not finished still stands on its point, and is done by the next call. Needs
 * room for what the guest's disks use. `say` may be NULL. */
int live_kept_part(struct store *store, const char *state_dir, const struct store_vm *vm,
                   atomic_int *cancel, void (*say)(const char *line), struct error **err);

#endif
