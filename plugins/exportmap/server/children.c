/* The connections and their nbdkit processes; see children.h. */
#include "children.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "process.h"
#include "server.h"

int children_init(struct children *children, unsigned max, int handshake_ms, bool exit_with_parent,
                  struct error **err)
{
    *children = (struct children){ .max = max,
                                   .handshake_ms = handshake_ms,
                                   .opened = { -1, -1 },
                                   .exit_with_parent = exit_with_parent };
    children->list = calloc(max, sizeof *children->list);
    if (!children->list || pipe2(children->opened, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_set_errno(err, errno, "starting the server");
    snprintf(children->opened_env, sizeof children->opened_env, "EXPORTMAP_OPENED_FD=%d",
             children->opened[1]);
    return 0;
}

void children_free(struct children *children)
{
    for (int i = 0; i < 2; i++) {
        if (children->opened[i] >= 0)
            close(children->opened[i]);
    }
    free(children->list);
}

pid_t children_spawn(struct children *children, const char *const argv[], int socket,
                     const char *standby, struct error **err)
{
    const int keep[] = { children->opened[1], -1 };
    char variable[48];
    const char *env[3] = { NULL };
    size_t n = 0;
    struct stat st = { 0 };
    const struct process_options options = {
        .stdin_fd = socket,
        .stdout_fd = socket,
        .stderr_fd = -1,
        .listen_fd = -1,
        .keep_fds = children->handshake_ms ? keep : NULL,
        .env = env,
        .at_once = standby != NULL, /* clients must not wait for it */
        .die_with_parent = children->exit_with_parent,
        /* nbdkit -s asks for SIGTERM when its parent dies: blocked, it outlives us. */
        .block_sigterm = !children->exit_with_parent,
    };

    if (children->handshake_ms)
        env[n++] = children->opened_env;
    if (standby) {
        if (fstat(socket, &st) < 0)
            return error_set_errno(err, errno, "fstat");
        snprintf(variable, sizeof variable, "EXPORTMAP_STANDBY=%s %ju", standby,
                 (uintmax_t)st.st_ino);
        env[n++] = variable;
    }
    return process_start(argv, &options, err);
}

void children_add(struct children *children, pid_t pid, int socket, const char *peer)
{
    struct child *child = &children->list[children->count++];
    struct stat st = { 0 };

    fstat(socket, &st);
    child->pid = pid;
    child->socket = st.st_ino;
    child->deadline_ms = children->handshake_ms ? now_ms() + children->handshake_ms : INT64_MAX;
    snprintf(child->peer, sizeof child->peer, "%s", peer);
}

static struct child *find(struct children *children, pid_t pid)
{
    for (unsigned i = 0; i < children->count; i++) {
        if (children->list[i].pid == pid)
            return &children->list[i];
    }
    return NULL;
}

bool children_ended(struct children *children, pid_t pid, int status)
{
    struct child *child = find(children, pid);

    if (!child)
        return false;
    if (WIFSIGNALED(status))
        log_line("%s: its nbdkit (process %d) was ended by signal %d, %s; no other connection "
                 "is concerned",
                 child->peer, (int)pid, WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        log_line("%s: its nbdkit (process %d) failed with exit status %d", child->peer, (int)pid,
                 WEXITSTATUS(status));
    *child = children->list[--children->count];
    return true;
}

void children_note_opened(struct children *children)
{
    pid_t pid;

    while (read(children->opened[0], &pid, sizeof pid) == (ssize_t)sizeof pid) {
        struct child *child = find(children, pid);

        if (child)
            child->deadline_ms = INT64_MAX;
    }
}

int64_t children_expire(struct children *children)
{
    int64_t now = now_ms();
    int64_t next = INT64_MAX;

    for (unsigned i = 0; i < children->count; i++) {
        struct child *child = &children->list[i];

        if (child->deadline_ms <= now) {
            log_line("%s: it has opened no export in %d s: ended", child->peer,
                     children->handshake_ms / 1000);
            kill(child->pid, SIGKILL);
            child->deadline_ms = INT64_MAX;
        }
        if (child->deadline_ms < next)
            next = child->deadline_ms;
    }
    return next;
}

static void cleanup_closedir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

/* The number of the child's descriptor of its connection; -1: it has none any more. */
static int find_socket(const struct child *child)
{
    CLEANUP(cleanup_closedir) DIR *dir = NULL;
    struct dirent *entry;
    char wanted[64];
    char path[64];
    char link[64];

    snprintf(wanted, sizeof wanted, "socket:[%ju]", (uintmax_t)child->socket);
    snprintf(path, sizeof path, "/proc/%d/fd", (int)child->pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);

        if (n < 0)
            continue;
        link[n] = '\0';
        if (strcmp(link, wanted) == 0)
            return atoi(entry->d_name);
    }
    return -1;
}

void children_shut_down(struct children *children)
{
    for (unsigned i = 0; i < children->count; i++) {
        const struct child *child = &children->list[i];
        CLEANUP_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
        CLEANUP_CLOSE int fd = (int)syscall(SYS_pidfd_getfd, pidfd, find_socket(child), 0);

        if (fd >= 0)
            shutdown(fd, SHUT_RD);
    }
}

void children_kill(struct children *children)
{
    for (unsigned i = 0; i < children->count; i++)
        kill(children->list[i].pid, SIGKILL);
}
