/* Sockets in STATE/run; see run-socket.h. */
#include "run-socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* "NAME.PID" → the process, 0 when there is none in the name. */
static pid_t owner_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    char *end;
    long pid = dot ? strtol(dot + 1, &end, 10) : 0;

    return dot && dot[1] && !*end && pid > 0 ? (pid_t)pid : 0;
}

/* Whether somebody, a process of another container for one, still listens there. */
static bool is_answered(int folder, const char *name)
{
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%.60s", folder, name);
    return fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ||
           errno != ECONNREFUSED;
}

/* What killed processes left. */
static void sweep(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        pid_t owner = owner_of(entry->d_name);

        if (entry->d_type == DT_SOCK && owner && kill(owner, 0) < 0 && errno == ESRCH &&
            !is_answered(folder, entry->d_name))
            unlinkat(folder, entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

void run_socket_sweep(const char *state_dir)
{
    CLEANUP_CLOSE int folder = -1;
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/run", state_dir) >= (int)sizeof path)
        return;
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0)
        sweep(folder);
}

int run_socket_open(const char *state_dir, const char *name, struct run_socket *socket,
                    struct error **err)
{
    CLEANUP_CLOSE int folder = -1;
    char path[PATH_MAX], own[80];

    if (snprintf(path, sizeof path, "%s/run", state_dir) >= (int)sizeof path)
        return error_set_errno(err, ENAMETOOLONG, "%s/run", state_dir);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", path);
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return error_set_errno(err, errno, "opening %s", path);
    sweep(folder);
    snprintf(own, sizeof own, "%.60s.%d", name, (int)getpid());
    if (snprintf(socket->path, sizeof socket->path, "%s/%s", path, own) >= PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "%s", path);
    if (strlen(socket->path) < sizeof((struct sockaddr_un *)NULL)->sun_path)
        snprintf(socket->address, sizeof socket->address, "%.107s", socket->path);
    else
        snprintf(socket->address, sizeof socket->address, "/proc/%d/fd/%d/%.75s", (int)getpid(),
                 folder, own);
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
