/* Images as raw files, by FUSE: what a guest would read, for tools that know files only. What
 * comes in are images of any format; what goes out are paths, one a window, that live as long as
 * the view. Nothing of a guest is mounted, and the host's kernel looks at nothing in it. */
#ifndef VMFERRY_CONVERT_VIEW_H
#define VMFERRY_CONVERT_VIEW_H

#include <stdint.h>
#include <sys/types.h>

#include "convert/convert.h"

/* A part of a disk: a partition, or (size 0) all of it. */
struct view_window {
    size_t disk;
    uint64_t start, size; /* bytes */
};

struct view {
    pid_t pid;
    size_t count;
    char (*paths)[PATH_MAX];
    char pidfile[PATH_MAX];
};

/* `directory` is the caller's, and gets the files NAME-0, NAME-1 and so on. For writing each
 * window must be of a disk of its own, or of parts that don't overlap. */
int view_open(const struct convert_disk *disks, size_t disk_count,
              const struct view_window *windows, size_t count, bool writable, const char *directory,
              const char *name, struct view *view, struct error **err);

/* All that was written is in the image after it, or that is an error. Nothing to do when it was
 * never opened, or is closed. */
int view_finish(struct view *view, struct error **err);
void view_close(struct view *view);
#define CLEANUP_RAW_VIEW CLEANUP(view_close)

#endif
