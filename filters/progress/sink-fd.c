/* progress-fd=N: a JSON line a record, to a descriptor that was inherited. A
 * reader that does not read loses records; it never holds anything up. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>

#include "cleanup.h"
#include "sink.h"

struct sink_fd {
    struct sink sink;
    int fd; /* a copy, which outlives nbdkit's redirections */
    bool broken;
};

static void fd_put(struct sink *sink, const char *json, size_t length, bool last)
{
    struct sink_fd *out = (struct sink_fd *)sink;
    struct pollfd ready = { .fd = out->fd, .events = POLLOUT };
    struct iovec line[] = {
        { .iov_base = (void *)(uintptr_t)json, .iov_len = length },
        { .iov_base = (void *)(uintptr_t) "\n", .iov_len = 1 },
    };

    if (out->broken)
        return;
    /* A pipe that is ready has room for PIPE_BUF bytes, more than a line. The
     * descriptor is not made non-blocking, as other processes share it. */
    if (poll(&ready, 1, last ? SINK_LAST_MS : 0) != 1 || !(ready.revents & POLLOUT))
        return;
    if (writev(out->fd, line, 2) < 0) {
        nbdkit_debug("progress: progress-fd: %m; no more records go there");
        out->broken = true;
    }
}

static int fd_start(struct sink *sink, const char *json, size_t length)
{
    fd_put(sink, json, length, false);
    return 0;
}

static void fd_close(struct sink *sink)
{
    struct sink_fd *out = (struct sink_fd *)sink;

    if (out->fd >= 0)
        close(out->fd);
    free(out);
}

struct sink *sink_fd_new(const char *number)
{
    struct sink_fd *out;
    int fd, flags;

    if (nbdkit_parse_int("progress-fd", number, &fd) < 0)
        return NULL;
    flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) {
        nbdkit_error("progress-fd=%s: not a descriptor that is open for writing; "
                     "in a shell, say for example progress-fd=5 5>file",
                     number);
        return NULL;
    }
    out = calloc(1, sizeof *out);
    if (out == NULL) {
        nbdkit_error("calloc: %m");
        return NULL;
    }
    out->sink = (struct sink){ .start = fd_start, .put = fd_put, .close = fd_close };
    out->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (out->fd < 0) {
        nbdkit_error("progress-fd=%s: %m", number);
        fd_close(&out->sink);
        return NULL;
    }
    return &out->sink;
}
