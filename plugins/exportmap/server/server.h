/* nbdkit-exportmap-server: accept a connection, give it an nbdkit of its own, wait for
 * the next. It never reads or writes a byte of NBD, so nothing that a client sends can
 * reach it.
 *
 *     main.c      options → struct config, the order of starting up
 *     listen.c    listening sockets: TCP, unix, inherited; accepting from them
 *     children.c  the table of connections and their nbdkit processes
 *     standby.c   the nbdkit that stands by and forks for each connection
 *     serve.c     the loop: accept, reap, time limits, ending
 *     ready.c     telling others that we listen
 *
 * One thread, one loop; nothing in it blocks but starting a child (under a millisecond). */
#ifndef EXPORTMAP_SERVER_H
#define EXPORTMAP_SERVER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

struct listeners;

struct config {
    const char *const *tcp_argv;  /* the nbdkit command of a connection over TCP */
    const char *const *unix_argv; /* over a unix socket: without TLS */
    const char *tls_certificates; /* directory; NULL: none */
    unsigned max_connections;
    bool standby;     /* a process stands by for each kind of connection */
    int handshake_ms; /* time to open an export in; 0: no limit */
    int grace_ms;     /* from SIGTERM until connections are ended */
    bool exit_with_parent;
};

/* Hold the signals that serve() answers until it does; *signals gets them. */
void serve_block_signals(sigset_t *signals);

/* Serve until told to end. Every connection is gone on return. */
int serve(const struct config *config, struct listeners *listeners, struct error **err);

/* One line on stderr, "nbdkit-exportmap-server: …". */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* CLOCK_MONOTONIC in milliseconds. */
int64_t now_ms(void);

#endif
