/* The directory of map files, and the state directory in it (.exportmap) where
 * locks and sockets live. Set up once, then read-only: thread-safe. */
#ifndef EXPORTMAP_MAPDIR_H
#define EXPORTMAP_MAPDIR_H

#include <stdbool.h>

#include "error.h"
#include "exportmap-file.h"

struct mapdir {
    char *path;
    int fd;
    int state_fd; /* -1: it could not be made; nothing can be written then */
};

/* The directory must be ours or root's and not writable by others. */
int mapdir_open(struct mapdir *dir, const char *path, struct error **err);
void mapdir_close(struct mapdir *dir);

/* Call `found` for every good map file, by name. A bad one is logged once, and
 * again when it changes. */
int mapdir_list(const struct mapdir *dir,
                int (*found)(void *opaque, const char *name, const struct exportmap_file *map),
                void *opaque, struct error **err);

#endif
