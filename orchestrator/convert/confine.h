/* Running a guest's own programs here. They get its root file system and nothing else of the
 * host: namespaces of their own, no network, no device but null and the like, and no capability
 * that leads out. */
#ifndef VMFERRY_CONVERT_CONFINE_H
#define VMFERRY_CONVERT_CONFINE_H

#include "convert/work.h"

/* In the error when a program says that a file system is full. */
#define CONFINE_NO_ROOM "No space left on device"

/* `root` is where its root file system is mounted, in a mount namespace of ours; argv[0] is a path
 * in it. What it says goes to the log; the last of it is in the error. */
int confine_run(const struct work *work, const char *root, const char *const argv[], int timeout_ms,
                struct error **err);

#endif
