/* Windows' virtio drivers as they come: the ISO virtio-win, or a directory with what is on it. Only
 * reads. */
#ifndef VMFERRY_CONVERT_DRIVERS_H
#define VMFERRY_CONVERT_DRIVERS_H

#include "convert/files.h"
#include "convert/windows.h"

struct driver_store {
    const char *place; /* directory, or ISO */
    bool iso;
    struct guest_files files; /* of an ISO */
    char (*view)[PATH_MAX];
    const struct volume *volume;
    const char *scratch; /* directory for what is taken out of an ISO */
};

int drivers_open(const char *place, const char *scratch, struct driver_store *store,
                 struct error **err);
void drivers_close(struct driver_store *store);
#define CLEANUP_DRIVERS CLEANUP(drivers_close)

/* The directory in the store with the driver `name` for that Windows. False: it has none. */
bool drivers_find(const struct driver_store *store, const char *name,
                  const struct windows_version *version, char directory[PATH_MAX]);

/* Copy the files of `directory` (those with this ending, or all but debug symbols: NULL) to the
 * open directory `to`. Returns how many, or -1. */
int drivers_copy(const struct driver_store *store, const char *directory, const char *ending,
                 int to, struct error **err);

#endif
