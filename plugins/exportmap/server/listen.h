/* Listening sockets. Not thread-safe. */
#ifndef EXPORTMAP_LISTEN_H
#define EXPORTMAP_LISTEN_H

#include <stdbool.h>
#include <sys/stat.h>

#include "error.h"

#define LISTENERS_MAX 32
#define ADDRESS_MAX   128

struct listener {
    int fd;
    bool local;             /* a unix socket */
    bool ours_to_remove;    /* we bound it: its file goes when we close it */
    char name[ADDRESS_MAX]; /* "127.0.0.1:10809", "[::1]:10809" or the socket's path */
    dev_t dev;              /* of the socket's file */
    ino_t ino;
};

struct listeners {
    struct listener list[LISTENERS_MAX];
    unsigned count;
};

/* SPEC is ADDRESS:PORT, [IPV6]:PORT, NAME:PORT, or :PORT, *:PORT or PORT for every address of
 * this host. Listens on each address that the name has. Port 0: the kernel chooses, once for
 * each address. */
int listen_tcp(struct listeners *listeners, const char *spec, struct error **err);

/* A socket that nobody listens on any more is replaced; one that somebody does
 * listen on, or another kind of file, is an error. */
int listen_unix(struct listeners *listeners, const char *path, mode_t mode, struct error **err);

/* What systemd passed (LISTEN_FDS, LISTEN_PID), which may be nothing. The variables are
 * removed from the environment. */
int listen_inherited(struct listeners *listeners, struct error **err);

/* Stop listening; removes the files of our unix sockets. */
void listeners_close(struct listeners *listeners);

/* The next connection, without waiting, tuned, and its client's name for messages. -1 with
 * errno; EAGAIN: none waits. */
int listener_accept(const struct listener *listener, char peer[ADDRESS_MAX]);

/* Let a TCP connection have no Nagle delay and notice a peer that has vanished. */
void tune_tcp(int fd);

#endif
