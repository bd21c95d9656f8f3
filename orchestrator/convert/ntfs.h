/* What state an NTFS volume was left in. What comes in is a raw view; only reads. */
#ifndef VMFERRY_CONVERT_NTFS_H
#define VMFERRY_CONVERT_NTFS_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* Windows wants to check it: the dirty flag of the file $Volume. `start`: where the volume
 * begins in the view, in bytes. */
int ntfs_is_dirty(const char *view, uint64_t start, bool *dirty, struct error **err);

#endif
