/* Listening sockets; see listen.h. */
#include "listen.h"

#include <ctype.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "server.h"

#define FIRST_INHERITED_FD 3 /* SD_LISTEN_FDS_START */
#define PORT_MAX           65535
#define PORT_DIGITS        5

/* A peer that has gone without a word is noticed after IDLE + COUNT × INTERVAL seconds. No
 * TCP_USER_TIMEOUT: it would also cut a living client that has stopped reading. */
#define KEEPALIVE_IDLE     60
#define KEEPALIVE_INTERVAL 15
#define KEEPALIVE_COUNT    4

/* "127.0.0.1:10809" */
static void name_address(const struct sockaddr *address, socklen_t length, char name[ADDRESS_MAX])
{
    char host[64] = "?";
    char port[16] = "?";
    const char *format = address->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s";

    getnameinfo(address, length, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(name, ADDRESS_MAX, format, host, port);
}

/* Fill in a listener's name from its socket. */
static void name_listener(struct listener *listener)
{
    struct sockaddr_storage address = { 0 };
    struct sockaddr_un *local = (struct sockaddr_un *)&address;
    socklen_t length = sizeof address;

    getsockname(listener->fd, (struct sockaddr *)&address, &length);
    listener->local = address.ss_family == AF_UNIX;
    if (listener->local)
        snprintf(listener->name, sizeof listener->name, "%.*s", (int)sizeof local->sun_path,
                 local->sun_path);
    else
        name_address((struct sockaddr *)&address, length, listener->name);
}

static struct listener *add(struct listeners *listeners, int fd, struct error **err)
{
    struct listener *listener = &listeners->list[listeners->count];

    if (listeners->count == LISTENERS_MAX) {
        close(fd);
        error_set_kind(err, ERROR_USAGE, "more than %d sockets to listen on", LISTENERS_MAX);
        return NULL;
    }
    *listener = (struct listener){ .fd = fd };
    name_listener(listener);
    listeners->count++;
    return listener;
}

/* Split SPEC at its last colon. Both results are the caller's to free; *host is NULL for
 * every address. */
static int split(const char *spec, char **host, char **port, struct error **err)
{
    const char *whole = spec;
    const char *colon = strrchr(spec, ':');
    const char *end = colon;

    *port = strdup(colon ? colon + 1 : spec);
    if (colon) {
        if (*spec == '[' && end > spec + 1 && end[-1] == ']') {
            spec++;
            end--;
        }
        if (end > spec && strncmp(spec, "*:", 2) != 0)
            *host = strndup(spec, (size_t)(end - spec));
    }
    if (!*port || (*port)[0] == '\0' || strspn(*port, "0123456789") != strlen(*port))
        return error_set_kind(err, ERROR_USAGE, "--listen=%s: there is no port number at its end",
                              whole);
    /* getaddrinfo() would take another port for one that is too large. */
    if (strlen(*port) > PORT_DIGITS || atoi(*port) > PORT_MAX)
        return error_set_kind(err, ERROR_USAGE, "--listen=%s: a port is at most %d", whole,
                              PORT_MAX);
    return 0;
}

/* A listening socket for one address, or -1 with errno. */
static int bind_tcp(const struct addrinfo *address)
{
    CLEANUP_CLOSE int fd =
        socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
        return -1;
    return steal_fd(fd);
}

static void cleanup_addrinfo(struct addrinfo **list)
{
    if (*list)
        freeaddrinfo(*list);
}

int listen_tcp(struct listeners *listeners, const char *spec, struct error **err)
{
    const struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
    CLEANUP(cleanup_addrinfo) struct addrinfo *addresses = NULL;
    CLEANUP_FREE char *host = NULL;
    CLEANUP_FREE char *port = NULL;
    bool some = false;
    int r;

    if (split(spec, &host, &port, err) < 0)
        return -1;
    r = getaddrinfo(host, port, &hints, &addresses);
    if (r != 0)
        return error_set(err, "--listen=%s: %s", spec, gai_strerror(r));
    for (const struct addrinfo *a = addresses; a; a = a->ai_next) {
        int fd = bind_tcp(a);

        /* A name or "every address" may have some that this host does not speak. */
        if (fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL) && (some || a->ai_next))
            continue;
        if (fd < 0)
            return error_set_errno(err, errno, "--listen=%s", spec);
        if (!add(listeners, fd, err))
            return -1;
        some = true;
    }
    return 0;
}

/* Remove a socket file that nobody listens on. */
static int remove_stale(const char *path, const struct sockaddr_un *address, struct error **err)
{
    struct stat st;
    CLEANUP_CLOSE int fd = -1;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : error_set_errno(err, errno, "--unix=%s", path);
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, "--unix=%s: a file is there that is not a socket", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(err, errno, "--unix=%s", path);
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
        errno != ECONNREFUSED)
        return error_set(err, "--unix=%s: another program listens there", path);
    if (unlink(path) < 0)
        return error_set_errno(err, errno, "--unix=%s: removing a stale socket", path);
    return 0;
}

int listen_unix(struct listeners *listeners, const char *path, mode_t mode, struct error **err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    CLEANUP_CLOSE int fd = -1;
    struct listener *listener;
    struct stat st;
    mode_t mask;
    int r;

    if (path[0] == '\0' || strlen(path) >= sizeof address.sun_path)
        return error_set_kind(err, ERROR_USAGE, "--unix=%s: a path of 1 to %zu bytes is needed",
                              path, sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    if (remove_stale(path, &address, err) < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(err, errno, "--unix=%s", path);
    mask = umask(0777 & ~mode); /* never open wider than asked, not even for a moment */
    r = bind(fd, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (r < 0 || listen(fd, SOMAXCONN) < 0 || lstat(path, &st) < 0)
        return error_set_errno(err, errno, "--unix=%s", path);
    listener = add(listeners, steal_fd(fd), err);
    if (!listener)
        return -1;
    listener->ours_to_remove = true;
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
    return 0;
}

int listen_inherited(struct listeners *listeners, struct error **err)
{
    const char *pid = getenv("LISTEN_PID");
    const char *fds = getenv("LISTEN_FDS");
    int count = pid && fds && strtol(pid, NULL, 10) == getpid() ? atoi(fds) : 0;

    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    for (int fd = FIRST_INHERITED_FD; fd < FIRST_INHERITED_FD + count; fd++) {
        int accepting = 0;
        socklen_t length = sizeof accepting;

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &length) < 0 || !accepting)
            return error_set(err,
                             "LISTEN_FDS: descriptor %d is not a listening socket (with a "
                             "systemd socket unit of Accept=yes no server is needed)",
                             fd);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        if (!add(listeners, fd, err))
            return -1;
    }
    return 0;
}

void listeners_close(struct listeners *listeners)
{
    for (unsigned i = 0; i < listeners->count; i++) {
        struct listener *l = &listeners->list[i];
        struct stat st;

        close(l->fd);
        if (l->ours_to_remove && lstat(l->name, &st) == 0 && st.st_dev == l->dev &&
            st.st_ino == l->ino)
            unlink(l->name);
    }
    listeners->count = 0;
}

void tune_tcp(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_NODELAY, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE },
        { IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL },
        { IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT },
    };

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

int listener_accept(const struct listener *listener, char peer[ADDRESS_MAX])
{
    struct sockaddr_storage address = { 0 };
    socklen_t length = sizeof address;
    struct ucred who = { 0 };
    int fd = accept4(listener->fd, (struct sockaddr *)&address, &length, SOCK_CLOEXEC);

    if (fd < 0)
        return -1;
    if (!listener->local) {
        name_address((struct sockaddr *)&address, length, peer);
        tune_tcp(fd);
        return fd;
    }
    length = sizeof who;
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length);
    snprintf(peer, ADDRESS_MAX, "process %d of user %u", (int)who.pid, (unsigned)who.uid);
    return fd;
}
