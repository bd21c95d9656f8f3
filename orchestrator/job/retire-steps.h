/* What is done to a point that is going; see retire.h. The caller holds the job lock and the
 * images' lock. */
#ifndef VMFERRY_RETIRE_STEPS_H
#define VMFERRY_RETIRE_STEPS_H

#include "store/store.h"

/* fn in one transaction of its own. */
int retire_transaction(struct store *store,
                       int (*fn)(struct store *store, void *opaque, struct error **err),
                       void *opaque, struct error **err);

/* That the images which going would change can be changed now. */
int retire_check_images(struct store *store, const char *state_dir, const struct store_point *point,
                        struct error **err);

/* From wherever it stands to its end. */
int retire_steps(struct store *store, const char *state_dir, const struct store_vm *vm,
                 const struct store_point *point, struct error **err);

/* That of all points that are going. */
int retire_unfinished(struct store *store, const char *state_dir, const struct store_vm *vm,
                      size_t *count, struct error **err);

#endif
