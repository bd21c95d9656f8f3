/* An image as its guest would read it, for the copy engine: a raw file by its path,
 * a qcow2 chain through a read-only qemu-nbd of our own that ends with us. Never
 * writes. */
#ifndef VMFERRY_VIEW_H
#define VMFERRY_VIEW_H

#include <sys/types.h>

#include "run-socket.h"

struct replica_view {
    pid_t pid;
    struct run_socket socket;
    char *place; /* what copy_disk() and copy_digest() take */
};
#define REPLICA_VIEW_INIT                                                                          \
    {                                                                                              \
        .pid = -1, .socket = RUN_SOCKET_INIT                                                       \
    }

/* Waits a few seconds for a writer that is just ending. */
int replica_view_open(const char *state_dir, const char *image, const char *format,
                      struct replica_view *view, struct error **err);
void replica_view_close(struct replica_view *view);
#define CLEANUP_VIEW CLEANUP(replica_view_close)

#endif
