/* Sockets in STATE/run; see run-socket.h. */
#include "run-socket.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

int run_socket_open(const char *state_dir, const char *name, struct run_socket *socket,
                    struct error **err)
{
    CLEANUP_CLOSE int folder = -1;
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/run", state_dir) >= (int)sizeof path)
        return error_set_errno(err, ENAMETOOLONG, "%s/run", state_dir);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", path);
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return error_set_errno(err, errno, "opening %s", path);
    if (snprintf(socket->path, sizeof socket->path, "%s/%s", path, name) >= PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "%s", path);
    if (strlen(socket->path) < sizeof((struct sockaddr_un *)NULL)->sun_path)
        snprintf(socket->address, sizeof socket->address, "%.107s", socket->path);
    else
        snprintf(socket->address, sizeof socket->address, "/proc/%d/fd/%d/%.60s", (int)getpid(),
                 folder, name);
    if (unlink(socket->path) < 0 && errno != ENOENT)
        return error_set_errno(err, errno, "removing %s", socket->path);
    socket->folder = steal_fd(folder);
    return 0;
}

void run_socket_close(struct run_socket *socket)
{
    if (socket->folder < 0)
        return;
    unlink(socket->path);
    close(socket->folder);
    socket->folder = -1;
}

/* For a URI's query: all but the plainest characters as %XX. */
static void escape(const char *text, char *escaped, size_t size)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";
    size_t n = 0;

    for (; *text && n + 4 <= size; text++) {
        if (strchr(plain, *text))
            escaped[n++] = *text;
        else
            n += (size_t)sprintf(escaped + n, "%%%02X", (unsigned char)*text);
    }
    escaped[n] = '\0';
}

char *run_socket_uri(const struct run_socket *socket, const char *export_name)
{
    char address[3 * sizeof socket->address + 1];
    char *uri;

    escape(socket->address, address, sizeof address);
    return asprintf(&uri, "nbd+unix:///%s?socket=%s", export_name, address) < 0 ? NULL : uri;
}
