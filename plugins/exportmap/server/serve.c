/* The loop. What comes in: connections, signals, and word from children that their client has
 * opened an export. What goes out: connections, handed to children. It never reads or
 * writes a connection. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "children.h"
#include "listen.h"
#include "ready.h"
#include "server.h"
#include "standby.h"

#define ACCEPTS_A_ROUND 64   /* then look at signals and time limits again */
#define BACK_OFF_MS     100  /* when the system has run out of something */
#define ENDING_MS       2000 /* for children to answer what is in flight and end */

/* SERVING → (SIGTERM) GRACE → (time's up, SIGTERM again, SIGQUIT) ENDING → (time's up) KILLED */
enum state { SERVING, GRACE, ENDING, KILLED };

struct server {
    const struct config *config;
    struct listeners *listeners;
    struct children children;
    struct standby standby[2]; /* for connections over TCP, and over unix sockets */
    enum state state;
    int64_t next_state_ms;   /* when to go on to the next state */
    int64_t accept_again_ms; /* after running out of something; 0: accept now */
    int signal_fd;
    int spare_fd;              /* given up to accept, and refuse, when there is no other left */
    int64_t refusal_logged_ms; /* one line a second at most, with the number of others */
    unsigned refusals_unlogged;
};

static void log_refusal(struct server *server, const char *peer, const char *reason)
{
    int64_t now = now_ms();

    if (now - server->refusal_logged_ms < 1000) {
        server->refusals_unlogged++;
        return;
    }
    if (server->refusals_unlogged > 0)
        log_line("%s: refused: %s (and %u others since the last such line)", peer, reason,
                 server->refusals_unlogged);
    else
        log_line("%s: refused: %s", peer, reason);
    server->refusals_unlogged = 0;
    server->refusal_logged_ms = now;
}

/* No descriptor is left: a waiting client would keep poll() awake for ever and
 * never hear of it. Turn one away with the spare. */
static void refuse_for_want_of_fds(struct server *server, const struct listener *listener,
                                   int errnum)
{
    char peer[ADDRESS_MAX] = "?";
    int fd;

    server->accept_again_ms = now_ms() + BACK_OFF_MS;
    close(server->spare_fd);
    fd = listener_accept(listener, peer);
    if (fd >= 0)
        close(fd);
    server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    log_refusal(server, peer, strerror(errnum));
}

/* A process for the connection: from what stands by, or else a new one. */
static pid_t find_child(struct server *server, const struct listener *listener, int fd,
                        struct error **err)
{
    const struct config *config = server->config;
    pid_t pid = standby_take(&server->standby[listener->local], fd);

    if (pid > 0)
        return pid;
    return children_spawn(&server->children, listener->local ? config->unix_argv : config->tcp_argv,
                          fd, false, err);
}

static void start_child(struct server *server, const struct listener *listener, int fd,
                        const char *peer)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_CLOSE int connection = fd;
    char full[64];
    pid_t pid;

    if (server->children.count == server->children.max) {
        snprintf(full, sizeof full, "%u connections are open (--max-connections)",
                 server->children.max);
        log_refusal(server, peer, full);
        return;
    }
    pid = find_child(server, listener, connection, &err);
    if (pid > 0) {
        children_add(&server->children, pid, connection, peer);
        return;
    }
    log_refusal(server, peer, error_message(err));
    server->accept_again_ms = now_ms() + BACK_OFF_MS;
}

static void accept_waiting(struct server *server, const struct listener *listener)
{
    for (int i = 0; i < ACCEPTS_A_ROUND && server->accept_again_ms == 0; i++) {
        char peer[ADDRESS_MAX];
        int fd = listener_accept(listener, peer);

        if (fd >= 0) {
            start_child(server, listener, fd, peer);
            continue;
        }
        switch (errno) {
        case EAGAIN:
            return;
        case EMFILE:
        case ENFILE:
            refuse_for_want_of_fds(server, listener, errno);
            return;
        case ENOBUFS:
        case ENOMEM:
            server->accept_again_ms = now_ms() + BACK_OFF_MS;
            return;
        default: /* an error of that one connection, which has gone already: accept(2) */
            break;
        }
    }
}

static void reap(struct server *server)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (!children_ended(&server->children, pid, status) &&
            !standby_ended(&server->standby[0], pid, status))
            standby_ended(&server->standby[1], pid, status);
    }
}

static void discard_standby(struct server *server)
{
    standby_discard(&server->standby[0]);
    standby_discard(&server->standby[1]);
}

static void enter(struct server *server, enum state state)
{
    unsigned count;

    reap(server);
    discard_standby(server);
    count = server->children.count;
    server->state = state;
    switch (state) {
    case SERVING:
        break;
    case GRACE:
        log_line("ending; %u connections have %d s to finish", count,
                 server->config->grace_ms / 1000);
        listeners_close(server->listeners);
        ready_stopping();
        server->next_state_ms = now_ms() + server->config->grace_ms;
        break;
    case ENDING:
        listeners_close(server->listeners);
        if (count > 0)
            log_line("ending the %u connections that are left", count);
        children_shut_down(&server->children);
        server->next_state_ms = now_ms() + ENDING_MS;
        break;
    case KILLED:
        children_kill(&server->children);
        server->next_state_ms = INT64_MAX;
        break;
    }
}

static void handle_signals(struct server *server)
{
    struct signalfd_siginfo info;

    while (read(server->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap(server);
        else if (info.ssi_signo == SIGQUIT && server->state < ENDING)
            enter(server, ENDING);
        else if (info.ssi_signo != SIGQUIT && server->state < KILLED)
            enter(server, server->state + 1);
    }
}

/* When a process that stands by is to be started; INT64_MAX: none is. */
static int64_t next_standby(const struct server *server)
{
    int64_t due[2] = { standby_due(&server->standby[0]), standby_due(&server->standby[1]) };

    if (server->state != SERVING)
        return INT64_MAX;
    return due[0] < due[1] ? due[0] : due[1];
}

/* Only when no client waits. */
static void start_standby(struct server *server)
{
    int64_t now = now_ms();

    for (int i = 0; i < 2; i++) {
        if (standby_due(&server->standby[i]) <= now) {
            standby_start(&server->standby[i], &server->children);
            return;
        }
    }
}

/* Milliseconds until the earliest of all time limits; -1: none. */
static int time_left(const struct server *server, int64_t handshakes)
{
    int64_t earliest = handshakes;
    int64_t left;

    if (server->next_state_ms < earliest)
        earliest = server->next_state_ms;
    if (server->accept_again_ms != 0 && server->accept_again_ms < earliest)
        earliest = server->accept_again_ms;
    if (next_standby(server) < earliest)
        earliest = next_standby(server);
    if (earliest == INT64_MAX)
        return -1;
    left = earliest - now_ms();
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static int run(struct server *server, struct error **err)
{
    struct pollfd fds[2 + LISTENERS_MAX];

    while (server->state == SERVING || server->children.count > 0) {
        int64_t handshakes = children_expire(&server->children);
        unsigned listening;
        int ready;

        if (server->next_state_ms <= now_ms())
            enter(server, server->state + 1);
        if (server->accept_again_ms <= now_ms())
            server->accept_again_ms = 0;

        listening = server->accept_again_ms == 0 ? server->listeners->count : 0;
        fds[0] = (struct pollfd){ .fd = server->signal_fd, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = server->children.opened[0], .events = POLLIN };
        for (unsigned i = 0; i < listening; i++)
            fds[2 + i] = (struct pollfd){ .fd = server->listeners->list[i].fd, .events = POLLIN };
        ready = poll(fds, 2 + listening, time_left(server, handshakes));
        if (ready < 0 && errno != EINTR)
            return error_set_errno(err, errno, "poll");

        if (ready == 0 && next_standby(server) <= now_ms())
            start_standby(server);
        if (fds[1].revents)
            children_note_opened(&server->children);
        for (unsigned i = 0; i < listening; i++) {
            if (fds[2 + i].revents)
                accept_waiting(server, &server->listeners->list[i]);
        }
        if (fds[0].revents) /* last: it may close the listeners */
            handle_signals(server);
    }
    return 0;
}

void serve_block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGCHLD);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, SIGQUIT);
    sigprocmask(SIG_BLOCK, signals, NULL);
}

/* Only for the kinds of connections that can come. */
static void init_standby(struct server *server)
{
    const struct config *config = server->config;
    bool wanted[2] = { false, false };

    for (unsigned i = 0; i < server->listeners->count; i++)
        wanted[server->listeners->list[i].local] = config->standby;
    standby_init(&server->standby[0], config->tcp_argv, wanted[0], config->tls_certificates);
    standby_init(&server->standby[1], config->unix_argv, wanted[1], NULL);
}

int serve(const struct config *config, struct listeners *listeners, struct error **err)
{
    struct server server = { .config = config,
                             .listeners = listeners,
                             .next_state_ms = INT64_MAX,
                             .refusal_logged_ms = INT64_MIN / 2 };
    CLEANUP_CLOSE int signal_fd = -1;
    sigset_t signals;
    int r;

    serve_block_signals(&signals);
    signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signal_fd < 0)
        return error_set_errno(err, errno, "signalfd");
    server.signal_fd = signal_fd;
    server.spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    init_standby(&server);
    r = children_init(&server.children, config->max_connections, config->handshake_ms,
                      config->exit_with_parent, err);
    if (r == 0)
        r = run(&server, err);
    discard_standby(&server);
    while (r == 0 && (waitpid(-1, NULL, 0) > 0 || errno == EINTR))
        ;
    children_free(&server.children);
    if (server.spare_fd >= 0)
        close(server.spare_fd);
    return r;
}
