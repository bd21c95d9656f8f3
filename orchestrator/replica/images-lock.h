/* Who reads a replica's images, and who rewrites them: any number of readers (verify), or one
 * process that merges or repairs. A sync writes an image that nobody else knows yet, and takes
 * no part. The kernel drops the lock when its holder dies. Open failovers are rows of the
 * store, and are looked at there. */
#ifndef VMFERRY_IMAGES_LOCK_H
#define VMFERRY_IMAGES_LOCK_H

#include "error.h"
#include "store/store.h"

enum images_use { IMAGES_READ, IMAGES_REWRITE };

/* *fd holds it until it is closed. Refused at once, errnum EAGAIN, when the
 * others have it. */
int images_lock(const char *state_dir, const struct store_vm *vm, enum images_use use, int *fd,
                struct error **err);

#endif
