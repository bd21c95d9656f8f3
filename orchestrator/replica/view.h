/* An image as its guest would read it, for the copy engine: a raw file or device by its
 * path; a qcow2 chain, an RBD image or a device that is larger than the disk through a read-only
 * qemu-nbd of our own that ends with us. */
#ifndef VMFERRY_VIEW_H
#define VMFERRY_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "run-socket.h"

struct replica_view {
    pid_t pid;
    struct run_socket socket;
    bool writable;
    char *place; /* what copy_disk() and copy_digest() take */
};
#define REPLICA_VIEW_INIT                                                                          \
    {                                                                                              \
        .pid = -1, .socket = RUN_SOCKET_INIT                                                       \
    }

/* `capacity`: of the disk; a device may be larger. Waits a few seconds for a writer that is
 * just ending. */
int replica_view_open(const char *state_dir, const char *image, const char *format,
                      uint64_t capacity, struct replica_view *view, struct error **err);
/* The same for who may write to the image (see images-lock.h), and to it alone: what it stands
 * on is only read. */
int replica_view_open_writable(const char *state_dir, const char *image, const char *format,
                               struct replica_view *view, struct error **err);
void replica_view_close(struct replica_view *view);
#define CLEANUP_VIEW CLEANUP(replica_view_close)

#endif
