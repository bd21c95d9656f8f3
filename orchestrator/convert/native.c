/* The engine native: what it can't do is refused before anything is written. */
#include <string.h>
#include <unistd.h>

#include "convert/work.h"

#define INSTEAD "convert it with --conversion=v2v"

int engine_native_check(const struct work *work, struct error **err)
{
    const struct look *look = work->look;
    const char *name = work->request->name;

    if (geteuid() != 0)
        return error_set_kind(err, ERROR_USAGE,
                              "%s must be converted (%s), and the engine native mounts its file "
                              "systems: run it as root, or " INSTEAD,
                              name, look->why);
    if (look->answer == LOOK_UNKNOWN)
        return error_set_kind(err, ERROR_USAGE, "%s: %s: " INSTEAD, name, look->why);
    if (look->root.name[0] && (look->root.disk < 0 || (look->boot.name[0] && look->boot.disk < 0)))
        return error_set_kind(
            err, ERROR_USAGE,
            "%s lies on a logical volume or a RAID (%s), which this engine does not "
            "open: " INSTEAD,
            name, look->root.name);
    if (strcmp(look->os, "windows") == 0)
        return *work->request->virtio_win
                   ? 0
                   : error_set_kind(
                         err, ERROR_USAGE,
                         "Windows needs the virtio drivers (%s): get virtio-win.iso, and "
                         "name it with --virtio-win or as virtio_win in [failover] of "
                         "vmferry.conf",
                         look->why);
    if (!look->root.name[0] || !look->boot.name[0])
        return error_set_kind(err, ERROR_USAGE, "%s: its root file system was not found: " INSTEAD,
                              name);
    return 0;
}

int engine_native(const struct work *work, struct error **err)
{
    return strcmp(work->look->os, "windows") == 0 ? engine_native_windows(work, err)
                                                  : engine_native_linux(work, err);
}
