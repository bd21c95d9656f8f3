/* Taking a VM's unfinished point over from a worker that may still have its files open: it was
 * stopped, or its host does not answer. What comes in: a claim that is contested. What goes out:
 * the same data under names that the other one never heard of, and rows that say so.
 *
 * The map of exports keeps it from writing to an image. But leaves and journal it writes itself,
 * and it may be about to remove, to make or to change a file by its name. So leaves and journal
 * are copied, and the image gets another name. A base in a pool keeps its name: it is only
 * written through its export. */
#ifndef VMFERRY_JOB_TAKEOVER_H
#define VMFERRY_JOB_TAKEOVER_H

#include "job/claim.h"

/* Nothing to do when the claim is not contested, or there is no such point. */
int takeover_point(struct store *store, const char *state_dir, const struct store_vm *vm,
                   struct claim *claim, struct error **err);
/* "…/point-0002.qcow2" → "…/point-0002.f7.qcow2"; one that has such a mark gets this one. */
void takeover_mark(char *name, size_t size, int64_t fence);

#endif
