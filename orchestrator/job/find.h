/* The VM that an operator means. What comes in: a name, a uuid, an inventory path, or a
 * source's own id (a moref). What goes out: its row, which is made when a source that can
 * look things up knows it and the store does not yet. */
#ifndef VMFERRY_JOB_FIND_H
#define VMFERRY_JOB_FIND_H

#include "store/store.h"

/* source: the name of the source to ask, NULL: all. Ambiguity is an error that lists the
 * choices. */
int job_find_vm(struct store *store, const char *state_dir, const char *reference,
                const char *source, struct store_vm *vm, struct error **err);

#endif
