/* Files in a guest's file system that is mounted here. What is in it is the guest's: no
 * symbolic link of its leads out of it, wherever one stands in a path. */
#ifndef VMFERRY_CONVERT_GUESTROOT_H
#define VMFERRY_CONVERT_GUESTROOT_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "error.h"

/* As openat(); `root` is the root directory, links are resolved as the guest would. */
int guestroot_open(int root, const char *path, int flags, mode_t mode);
bool guestroot_has(int root, const char *path);
/* Each part of the path by any case of its letters, links are not followed: as in Windows. */
int guestroot_open_any_case(int root, const char *path, int flags);

/* Write `text` as a new file, or put it at the end of one that does not hold it yet. */
int guestroot_write(int root, const char *path, const char *text, struct error **err);
int guestroot_append(int root, const char *path, const char *text, struct error **err);

/* All of a file; the caller's to free. NULL: it can't be read. */
char *guestroot_read(int root, const char *path, size_t *length);

#endif
