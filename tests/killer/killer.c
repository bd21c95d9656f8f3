/* Preloaded into a program and its children: kill -9 at the Nth call that changes a file, or
 * speaks to a server.
 *
 *   KILLER_RECORD=FILE   counts the calls of all processes together (made when missing)
 *   KILLER_AT=N          kill before the Nth of them; 0 or unset: only count
 *   KILLER_TORN=1        do half of it first, where it is a write at an offset, in whole sectors
 *   KILLER_SOCKET=PATH   sending to who listens there is such a call, too
 *   KILLER_PORT=N        sending to TCP port N, too
 *   KILLER_CHILD=lives   when a child makes that call, only the program is killed
 *
 * The program is the first process that has the record open; whoever makes the call dies
 * with it. Calls of the C library to itself (stdio) are not seen. */
#undef _FILE_OFFSET_BITS
#define _LARGEFILE64_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

struct record {
    atomic_uint calls;
    atomic_int program; /* its pid */
};

static struct record *record;
static unsigned kill_at;
static bool torn, child_lives;
static const char *database; /* its socket, or NULL */
static unsigned port;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("KILLER_RECORD"), *at = getenv("KILLER_AT");
    const char *child = getenv("KILLER_CHILD");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1, nobody = 0;
    int (*truncate_fd)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
    void *map;

    if (fd < 0)
        return;
    if (truncate_fd(fd, sizeof *record) == 0) {
        map = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        record = map == MAP_FAILED ? NULL : map;
    }
    close(fd);
    if (record)
        atomic_compare_exchange_strong(&record->program, &nobody, (int)getpid());
    kill_at = at ? (unsigned)strtoul(at, NULL, 10) : 0;
    database = getenv("KILLER_SOCKET");
    port = getenv("KILLER_PORT") ? (unsigned)atoi(getenv("KILLER_PORT")) : 0;
    torn = getenv("KILLER_TORN") != NULL;
    child_lives = child && strcmp(child, "lives") == 0;
}

static bool leads_to_watched(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_un local;
        struct sockaddr_in internet;
    } peer = { .any.sa_family = AF_UNSPEC };
    socklen_t size = sizeof peer;

    if ((!database && !port) || getpeername(fd, &peer.any, &size) < 0)
        return false;
    if (peer.any.sa_family == AF_INET)
        return port && ntohs(peer.internet.sin_port) == port;
    return database && peer.any.sa_family == AF_UNIX && size > sizeof(sa_family_t) &&
           strncmp(peer.local.sun_path, database, sizeof peer.local.sun_path) == 0;
}

static bool is_watched(int fd)
{
    struct stat st;

    if (fd < 0)
        return true;
    if (fstat(fd, &st) < 0)
        return false;
    return S_ISREG(st.st_mode) || (S_ISSOCK(st.st_mode) && leads_to_watched(fd));
}

/* True: this is the call; the caller may do half of it, then calls strike(). */
static bool counts(int fd)
{
    if (!record || !is_watched(fd))
        return false;
    return atomic_fetch_add(&record->calls, 1) + 1 == kill_at;
}

static void strike(void)
{
    int program = atomic_load(&record->program);

    if (program != getpid()) {
        kill(program, SIGKILL);
        if (child_lives)
            return;
    }
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define SIMPLE(name, fd, arguments, names)                                                         \
    int name arguments                                                                             \
    {                                                                                              \
        if (counts(fd))                                                                            \
            strike();                                                                              \
        return NEXT(name) names;                                                                   \
    }

SIMPLE(fsync, fd, (int fd), (fd))
SIMPLE(fdatasync, fd, (int fd), (fd))
SIMPLE(unlink, -1, (const char *path), (path))
SIMPLE(unlinkat, -1, (int folder, const char *path, int flags), (folder, path, flags))
SIMPLE(rename, -1, (const char *from, const char *to), (from, to))
SIMPLE(link, -1, (const char *from, const char *to), (from, to))
SIMPLE(linkat, -1, (int from_folder, const char *from, int folder, const char *to, int flags),
       (from_folder, from, folder, to, flags))
SIMPLE(chmod, -1, (const char *path, mode_t mode), (path, mode))
SIMPLE(fchmod, fd, (int fd, mode_t mode), (fd, mode))
SIMPLE(mkdir, -1, (const char *path, mode_t mode), (path, mode))
SIMPLE(ftruncate, fd, (int fd, off_t size), (fd, size))
SIMPLE(ftruncate64, fd, (int fd, off64_t size), (fd, size))
SIMPLE(fallocate, fd, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
SIMPLE(fallocate64, fd, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size))

/* What a kill or a power cut leaves of a write: whole sectors. */
static size_t half(size_t size, off64_t at)
{
    size_t kept = (size_t)((at + (off64_t)(size / 2)) & ~(off64_t)511);

    return (off64_t)kept > at ? kept - (size_t)at : 0;
}

/* As many bytes of the list as half() says. */
static void write_half(int fd, const struct iovec *list, int count, off64_t at)
{
    size_t size = 0, left;

    for (int i = 0; i < count; i++)
        size += list[i].iov_len;
    left = half(size, at);
    for (int i = 0; i < count && left; i++) {
        size_t n = list[i].iov_len < left ? list[i].iov_len : left;

        (void)!NEXT(pwrite64)(fd, list[i].iov_base, n, at);
        at += (off64_t)n;
        left -= n;
    }
}

#define WRITE(name, arguments, names, tear)                                                        \
    ssize_t name arguments                                                                         \
    {                                                                                              \
        if (counts(fd)) {                                                                          \
            if (torn)                                                                              \
                tear;                                                                              \
            strike();                                                                              \
        }                                                                                          \
        return NEXT(name) names;                                                                   \
    }
WRITE(send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags), (void)0)
WRITE(sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), (void)0)
#define TEAR(at) write_half(fd, &(struct iovec){ (void *)(uintptr_t)data, size }, 1, at)

WRITE(write, (int fd, const void *data, size_t size), (fd, data, size), (void)0)
WRITE(writev, (int fd, const struct iovec *list, int count), (fd, list, count), (void)0)
WRITE(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), TEAR(at))
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), TEAR(at))
WRITE(pwritev, (int fd, const struct iovec *list, int count, off_t at), (fd, list, count, at),
      write_half(fd, list, count, at))
WRITE(pwritev64, (int fd, const struct iovec *list, int count, off64_t at), (fd, list, count, at),
      write_half(fd, list, count, at))
