/* Telling others that the server listens; see ready.h. */
#include "ready.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* sd_notify(3)'s protocol: one datagram. Failure is nobody's business. */
static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t length = path ? strlen(path) : 0;
    CLEANUP_CLOSE int fd = -1;

    if (length < 2 || length >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
}

static int write_pidfile(const char *path, struct error **err)
{
    CLEANUP_FREE char *draft = NULL;
    int fd;
    int r;

    if (asprintf(&draft, "%s.%d", path, (int)getpid()) < 0) {
        draft = NULL;
        return error_set_errno(err, ENOMEM, "--pidfile=%s", path);
    }
    fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_set_errno(err, errno, "--pidfile=%s", path);
    r = dprintf(fd, "%d\n", (int)getpid());
    if (close(fd) < 0 || r < 0 || rename(draft, path) < 0) {
        error_set_errno(err, errno, "--pidfile=%s", path);
        unlink(draft);
        return -1;
    }
    return 0;
}

int ready_announce(const struct ready *ready, const struct listeners *listeners, struct error **err)
{
    if (ready->pidfile && write_pidfile(ready->pidfile, err) < 0)
        return -1;
    if (ready->fd >= 0) {
        for (unsigned i = 0; i < listeners->count; i++) {
            const struct listener *l = &listeners->list[i];

            dprintf(ready->fd, "%s %s\n", l->local ? "unix" : "tcp", l->name);
        }
        if (ready->fd > STDERR_FILENO)
            close(ready->fd);
        else /* another file in the place of stdout would be asking for trouble */
            dup3(open("/dev/null", O_RDWR | O_CLOEXEC), ready->fd, O_CLOEXEC);
    }
    notify("READY=1");
    return 0;
}

void ready_stopping(void)
{
    notify("STOPPING=1");
}

void ready_end(const struct ready *ready)
{
    if (ready->pidfile)
        unlink(ready->pidfile);
}
