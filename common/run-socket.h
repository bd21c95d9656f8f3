/* Unix sockets in STATE/run, for servers of our own. */
#ifndef VMFERRY_RUN_SOCKET_H
#define VMFERRY_RUN_SOCKET_H

#include <limits.h>
#include <stdbool.h>

#include "cleanup.h"
#include "error.h"

/* A socket's address holds 107 characters; a deep state directory is reached through
 * its open folder instead, /proc/<us>/fd/<n>. */
struct run_socket {
    int folder;          /* STATE/run, open */
    char path[PATH_MAX]; /* in the file system */
    char address[128];   /* as servers and clients name it */
};
#define RUN_SOCKET_INIT                                                                            \
    {                                                                                              \
        .folder = -1                                                                               \
    }

/* Choose the address of NAME (at most 60 characters), which this process uses once: two
 * processes never take each other's sockets away. What killed ones left is removed. */
int run_socket_open(const char *state_dir, const char *name, struct run_socket *socket,
                    struct error **err);
/* Only the latter. */
void run_socket_sweep(const char *state_dir);
/* Remove it. Nothing to do when it was never opened. */
void run_socket_close(struct run_socket *socket);

/* nbd+unix:///EXPORT?socket=ADDRESS; EXPORT needs no escaping. The caller frees it;
 * NULL only without memory. */
char *run_socket_uri(const struct run_socket *socket, const char *export_name);

#endif
