/* What is done to a point that is going; see retire.h. The caller has the VM by a claim, and the
 * images' lock. */
#ifndef VMFERRY_RETIRE_STEPS_H
#define VMFERRY_RETIRE_STEPS_H

#include "job/merging.h"

/* That the VM's pool is there; or, when it is said to be lost, that it is not. */
int retire_check_pool(const struct merging *merging, const char *state_dir,
                      const struct store_vm *vm, struct error **err);

/* What to do about the pool that *err says is not there. */
int retire_pool_away(const struct store_vm *vm, struct error **err);

/* That the images which going would change can be changed now. */
int retire_check_images(const struct merging *merging, const char *state_dir,
                        const struct store_point *point, struct error **err);

/* From wherever it stands to its end. */
int retire_steps(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                 const struct store_point *point, struct error **err);

/* What it will merge, for who shows it. */
void retire_expect(struct merging *merging, const char *state_dir, const struct store_point *point);

/* The exports of a VM, images of which are about to go, offer its newest point. */
int retire_map_anew(struct store *store, const char *state_dir, const struct store_vm *vm,
                    struct error **err);

/* Whether a dead process left something to do: points that are going, or images of complete
 * points that it had opened to writers. */
int retire_is_needed(struct store *store, const char *state_dir, const struct store_vm *vm,
                     bool *needed, struct error **err);

/* All of that: *count points are gone. */
int retire_unfinished(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                      size_t *count, struct error **err);

#endif
