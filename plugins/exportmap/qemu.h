/* The qemu-nbd of an export: one for each disk and mode, shared by all connections in
 * all processes.
 *
 * In the state directory, KEY.lock is locked by a running qemu-nbd itself (flock on a
 * descriptor it inherits), so that nobody starts a second one; KEY.sock is its socket.
 * KEY is made of inode numbers, those of the export's lock file and of the image, since
 * a socket's address has room for little more. It is started by socket
 * activation with a first client already waiting, and not persistent: it ends with its
 * last client. A writer's qemu-nbd inherits the lease and the disk's lock too, so they are held
 * until the image is closed.
 *
 * While it starts its socket is KEY.new. If the starter is killed then, qemu-nbd stays: it
 * ends only after a client that finished its handshake. Whoever has to wait for
 * such a one sends it one, see qemu_end_orphans(). */
#ifndef EXPORTMAP_QEMU_H
#define EXPORTMAP_QEMU_H

#include <stdbool.h>

#include "error.h"

#define QEMU_KEY_MAX 96

struct qemu_image {
    int state_fd;
    const char *name; /* of the export */
    const char *path;
    int fd;         /* the file whose identity was checked; -1: an RBD image, which is raw… */
    const char *id; /* …and this one */
    int lease_fd;   /* -1: read-only */
    int lock_fd;    /* see disk_lock(); -1: none */
    char key[QEMU_KEY_MAX];
};

/* Fill image->key from the rest. */
int qemu_make_key(struct qemu_image *image, struct error **err);

/* Have a client connected to its qemu-nbd, which is started when none runs.
 * `greet` is given the connected socket, owns it, and does the NBD handshake (0, or
 * -1 with *err set). */
int qemu_connect(const struct qemu_image *image,
                 int (*greet)(void *opaque, int sock, struct error **err), void *opaque,
                 struct error **err);

/* A further client of one that runs. The socket, or -1 and errno. */
int qemu_join(int state_fd, const char *key);

/* End those of this export whose starter was killed before it was done. */
void qemu_end_orphans(int state_fd, const char *name);

/* When the plugin is unloaded: join the threads that pass on messages. */
void qemu_unload(void);

#endif
