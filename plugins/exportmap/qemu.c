/* Starting and sharing qemu-nbd; see qemu.h. */
#include "qemu.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "exportmap-file.h"
#include "process.h"

#define START_WAIT_MS 15000 /* for one that ends, or is being started by somebody else */
#define RETRY_NS      5000000L
#define EXIT_WAIT_MS  2000
#define ORPHAN_MS     1000 /* a start that takes longer may have lost its starter */
#define BACKLOG       1024
#define FIRST_FREE_FD 10 /* above what socket activation uses */
#define FILE_NAME_MAX (QEMU_KEY_MAX + 8)
#define MESSAGE_MAX   1024

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- messages and the end of a qemu-nbd that we started ---- */

struct child {
    pid_t pid;
    int stderr_fd;
    char name[EXPORTMAP_NAME_MAX + 1];
    pthread_t thread;
    atomic_bool done;
    struct child *next;
};

static struct {
    pthread_mutex_t lock;
    struct child *list;
    int stop_fd; /* eventfd, made with the first child; -1: none yet */
} children = { .lock = PTHREAD_MUTEX_INITIALIZER, .stop_fd = -1 };

static void log_lines(const char *name, char *text)
{
    char *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        nbdkit_error("export %s: %s", name, line);
}

static void *follow(void *arg)
{
    struct child *child = arg;
    struct pollfd fds[2] = { { .fd = child->stderr_fd, .events = POLLIN },
                             { .fd = children.stop_fd, .events = POLLIN } };
    bool ended = false;

    while (!ended) {
        char text[MESSAGE_MAX];
        ssize_t n;

        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents)
            break;
        n = read(child->stderr_fd, text, sizeof text - 1);
        ended = n <= 0;
        text[n > 0 ? n : 0] = '\0';
        log_lines(child->name, text);
    }
    /* Others may still use it when we are unloaded: then init reaps it. */
    if (ended) {
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(child->stderr_fd);
    atomic_store(&child->done, true);
    return NULL;
}

/* Join the threads that have ended, or all. Holds children.lock. */
static void collect(bool all)
{
    for (struct child **p = &children.list; *p;) {
        struct child *child = *p;

        if (!all && !atomic_load(&child->done)) {
            p = &child->next;
            continue;
        }
        pthread_join(child->thread, NULL);
        *p = child->next;
        free(child);
    }
}

/* Takes stderr_fd. */
static int follow_child(const char *name, pid_t pid, int stderr_fd, struct error **err)
{
    struct child *child = calloc(1, sizeof *child);
    sigset_t all;
    sigset_t before;
    int errnum = ENOMEM;

    LOCK_SCOPE(&children.lock);
    collect(false);
    if (children.stop_fd < 0)
        children.stop_fd = eventfd(0, EFD_CLOEXEC);
    if (child && children.stop_fd >= 0) {
        child->pid = pid;
        child->stderr_fd = stderr_fd;
        strcpy(child->name, name);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        errnum = pthread_create(&child->thread, NULL, follow, child);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (errnum != 0) {
        free(child);
        close(stderr_fd);
        return error_set_errno(err, errnum, "following qemu-nbd");
    }
    child->next = children.list;
    children.list = child;
    return 0;
}

void qemu_unload(void)
{
    LOCK_SCOPE(&children.lock);
    if (children.stop_fd < 0)
        return;
    eventfd_write(children.stop_fd, 1);
    collect(true);
    close(children.stop_fd);
    children.stop_fd = -1;
}

/* ---- files of the state directory ---- */

int qemu_make_key(struct qemu_image *image, struct error **err)
{
    char lock[EXPORTMAP_NAME_MAX + 8];
    struct stat lock_st;
    struct stat st;
    CLEANUP_CLOSE int fd = -1;
    dev_t dev;

    snprintf(lock, sizeof lock, EXPORTMAP_LOCK, image->name);
    fd = openat(image->state_fd, lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fstat(fd, &lock_st) < 0 || (image->fd >= 0 && fstat(image->fd, &st) < 0))
        return error_set_errno(err, errno, "opening lock file %s", lock);
    if (image->fd < 0) {
        snprintf(image->key, sizeof image->key, "qemu-%ju-%s-rbd-%.32s", (uintmax_t)lock_st.st_ino,
                 image->lease_fd >= 0 ? "rw" : "ro", image->id);
        return 0;
    }
    dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    snprintf(image->key, sizeof image->key, "qemu-%ju-%s-%ju-%ju", (uintmax_t)lock_st.st_ino,
             image->lease_fd >= 0 ? "rw" : "ro", (uintmax_t)dev,
             S_ISBLK(st.st_mode) ? (uintmax_t)0 : (uintmax_t)st.st_ino);
    return 0;
}

static void file_name(char name[FILE_NAME_MAX], const char *key, const char *end)
{
    snprintf(name, FILE_NAME_MAX, "%s.%s", key, end);
}

/* Through /proc, since a socket's address has 107 bytes, whatever the directory's path. */
static int open_socket(int dirfd, const char *name, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if ((size_t)snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", dirfd,
                         name) >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int connect_to(int dirfd, const char *name)
{
    struct sockaddr_un address;
    CLEANUP_CLOSE int sock = open_socket(dirfd, name, &address);

    if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof address) < 0)
        return -1;
    return steal_fd(sock);
}

static int listen_at(int dirfd, const char *name)
{
    struct sockaddr_un address;
    CLEANUP_CLOSE int sock = open_socket(dirfd, name, &address);

    if (sock < 0 || (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT) ||
        bind(sock, (struct sockaddr *)&address, sizeof address) < 0 || listen(sock, BACKLOG) < 0)
        return -1;
    return steal_fd(sock);
}

/* The lock of KEY when no qemu-nbd has it, 0 to say that one has, -1 on error. Whoever
 * sweeps deletes lock files that it has locked, so one that is no longer in place
 * is not the lock. */
static int try_lock(int dirfd, const char *key, int *locked)
{
    char name[FILE_NAME_MAX];

    file_name(name, key, "lock");
    for (;;) {
        CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        struct stat ours;
        struct stat there;

        if (fd < 0 || fstat(fd, &ours) < 0)
            return -1;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
            return errno == EWOULDBLOCK ? 0 : -1;
        if (fstatat(dirfd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_ino == ours.st_ino) {
            *locked = steal_fd(fd);
            return 1;
        }
    }
}

/* Delete what ended qemu-nbds of this export left: other images than this one. */
static void sweep(const struct qemu_image *image)
{
    size_t prefix = strcspn(image->key + strlen("qemu-"), "-") + strlen("qemu-") + 1;
    CLEANUP_CLOSE int dirfd = openat(image->state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = dirfd < 0 ? NULL : fdopendir(dirfd);

    if (!dir)
        return;
    (void)steal_fd(dirfd);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        char key[QEMU_KEY_MAX];
        char name[FILE_NAME_MAX];
        size_t length = strcspn(entry->d_name, ".");
        CLEANUP_CLOSE int locked = -1;

        if (strcmp(entry->d_name + length, ".lock") != 0 || length >= sizeof key ||
            strncmp(entry->d_name, image->key, prefix) != 0)
            continue;
        memcpy(key, entry->d_name, length);
        key[length] = '\0';
        if (strcmp(key, image->key) == 0 || try_lock(image->state_fd, key, &locked) <= 0)
            continue;
        file_name(name, key, "sock");
        unlinkat(image->state_fd, name, 0);
        file_name(name, key, "new");
        unlinkat(image->state_fd, name, 0);
        file_name(name, key, "lock");
        unlinkat(image->state_fd, name, 0);
    }
    closedir(dir);
}

/* ---- starting ---- */

/* The oldest handshake there is, and goodbye: qemu-nbd then ends if it has no other
 * client. One that is just being started has: its starter came first. */
static void visit(int dirfd, const char *socket_name)
{
    static const unsigned char hello[] = { 0,   0,   0,   3,                       /* flags */
                                           'I', 'H', 'A', 'V', 'E', 'O', 'P', 'T', /* magic */
                                           0,   0,   0,   1,   /* the export… */
                                           0,   0,   0,   0 }; /* named "" */
    struct timeval limit = { .tv_sec = 2 };
    CLEANUP_CLOSE int sock = connect_to(dirfd, socket_name);
    unsigned char answer[18 + 10]; /* greeting, size and flags */

    if (sock < 0)
        return;
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (send(sock, hello, sizeof hello, MSG_NOSIGNAL) == (ssize_t)sizeof hello)
        (void)!recv(sock, answer, sizeof answer, MSG_WAITALL);
}

void qemu_end_orphans(int state_fd, const char *name)
{
    CLEANUP_CLOSE int dirfd = openat(state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char file[EXPORTMAP_NAME_MAX + 8], prefix[48];
    struct stat st;
    DIR *dir;

    snprintf(file, sizeof file, "%s.lock", name);
    if (dirfd < 0 || fstatat(state_fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    dir = fdopendir(dirfd);
    if (!dir)
        return;
    (void)steal_fd(dirfd);
    snprintf(prefix, sizeof prefix, "qemu-%ju-", (uintmax_t)st.st_ino);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        const char *end = strchr(entry->d_name, '.');

        if (end && strcmp(end, ".new") == 0 && strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            visit(state_fd, entry->d_name);
    }
    closedir(dir);
}

/* Above the descriptors of socket activation. */
static int lift(int fd)
{
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
}

static pid_t spawn(const struct qemu_image *image, int listen_fd, int lock_fd, int stderr_fd,
                   struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    CLEANUP_CLOSE int lock = lift(lock_fd);
    CLEANUP_CLOSE int lease = lift(image->lease_fd);
    CLEANUP_CLOSE int disk = lift(image->lock_fd);
    const int keep[] = { lock, lease, disk, -1 }; /* no lease, no lock of the disk */
    char description[64];
    /* Written data is in the host's page cache until a flush; formats are those that the
     * image names, and qcow2_chain_check has seen that it names them. */
    const char *argv[] = { "qemu-nbd",
                           image->fd < 0 ? "--format=raw" : "--format=qcow2",
                           "--shared=0",
                           "--cache=writeback",
                           "--discard=unmap",
                           "--detect-zeroes=off",
                           "--description",
                           description,
                           image->path,
                           image->lease_fd < 0 ? "--read-only" : NULL,
                           NULL };

    if (lock < 0 || (image->lease_fd >= 0 && lease < 0) || (image->lock_fd >= 0 && disk < 0))
        return error_set_errno(err, errno, "starting qemu-nbd");
    snprintf(description, sizeof description, "%d-%lld", (int)getpid(), (long long)now_ms());
    options.stderr_fd = stderr_fd;
    options.listen_fd = listen_fd;
    options.keep_fds = keep;
    return process_start(argv, &options, err);
}

/* Is the file that we checked among those that it has open? It opened a path, and paths
 * can be exchanged. */
static bool has_open(pid_t pid, int checked_fd)
{
    char path[64];
    struct stat want;
    bool found = false;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    if (!dir || fstat(checked_fd, &want) < 0) {
        if (dir)
            closedir(dir);
        return false;
    }
    for (struct dirent *entry = readdir(dir); entry && !found; entry = readdir(dir)) {
        struct stat st;

        if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 ||
            (st.st_mode & S_IFMT) != (want.st_mode & S_IFMT))
            continue;
        found = S_ISBLK(want.st_mode) ? st.st_rdev == want.st_rdev
                                      : st.st_dev == want.st_dev && st.st_ino == want.st_ino;
    }
    closedir(dir);
    return found;
}

/* Why it did not start, in its own words. Takes the process and stderr_fd. */
static int start_failed(pid_t pid, int stderr_fd, struct error **err)
{
    char text[MESSAGE_MAX] = "";
    size_t length = 0;
    ssize_t n;

    process_stop(pid, EXIT_WAIT_MS);
    while ((n = read(stderr_fd, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)n;
    close(stderr_fd);
    while (length > 0 && text[length - 1] == '\n')
        length--;
    text[length] = '\0';
    if (length == 0)
        return -1;
    error_clear(err);
    return error_set(err, "%s", text);
}

/* No other process has it: start it, with ourselves as the first client. Its socket gets
 * its name only when it is known to serve the right image, so nobody joins before. */
static int start(const struct qemu_image *image, int lock_fd,
                 int (*greet)(void *, int, struct error **), void *opaque, struct error **err)
{
    char new_name[FILE_NAME_MAX];
    char name[FILE_NAME_MAX];
    int pipes[2];
    int sock;
    pid_t pid;

    file_name(name, image->key, "sock");
    file_name(new_name, image->key, "new");
    CLEANUP_CLOSE int listen_fd = listen_at(image->state_fd, new_name);
    if (listen_fd < 0)
        return error_set_errno(err, errno, "making qemu-nbd's socket");
    CLEANUP_CLOSE int client = connect_to(image->state_fd, new_name);
    if (client < 0 || pipe2(pipes, O_CLOEXEC) < 0)
        return error_set_errno(err, errno, "connecting to qemu-nbd");
    pid = spawn(image, listen_fd, lock_fd, pipes[1], err);
    close(pipes[1]);
    if (pid < 0) {
        close(pipes[0]);
        return -1;
    }
    /* Only it listens from now on: when it dies, we hear. */
    close(steal_fd(listen_fd));
    sock = steal_fd(client);
    if (greet(opaque, sock, err) < 0)
        return start_failed(pid, pipes[0], err);
    if (image->fd >= 0 && !has_open(pid, image->fd)) {
        error_set(err, "%s was replaced while it was opened", image->path);
        return start_failed(pid, pipes[0], err);
    }
    if (follow_child(image->name, pid, pipes[0], err) < 0)
        return -1; /* it ends with its client */
    if (renameat(image->state_fd, new_name, image->state_fd, name) < 0)
        return error_set_errno(err, errno, "naming qemu-nbd's socket");
    return 0;
}

int qemu_join(int state_fd, const char *key)
{
    char name[FILE_NAME_MAX];

    file_name(name, key, "sock");
    return connect_to(state_fd, name);
}

/* 1: connected, 0: try again, -1: no use. */
static int try_connect(const struct qemu_image *image, int (*greet)(void *, int, struct error **),
                       void *opaque, struct error **err)
{
    CLEANUP_CLOSE int lock_fd = -1;
    CLEANUP_ERROR struct error *ignored = NULL;
    int r = try_lock(image->state_fd, image->key, &lock_fd);
    int sock;

    if (r < 0)
        return error_set_errno(err, errno, "locking %s.lock", image->key);
    if (r > 0)
        return start(image, lock_fd, greet, opaque, err) < 0 ? -1 : 1;
    sock = qemu_join(image->state_fd, image->key);
    if (sock < 0)
        return 0;
    return greet(opaque, sock, &ignored) == 0; /* not when it is just ending */
}

int qemu_connect(const struct qemu_image *image,
                 int (*greet)(void *opaque, int sock, struct error **err), void *opaque,
                 struct error **err)
{
    int64_t deadline = now_ms() + START_WAIT_MS;
    int64_t orphan = now_ms() + ORPHAN_MS;
    int r;

    sweep(image);
    while ((r = try_connect(image, greet, opaque, err)) == 0) {
        if (now_ms() >= deadline)
            return error_set(err, "its qemu-nbd neither answers nor ends");
        if (now_ms() >= orphan) {
            qemu_end_orphans(image->state_fd, image->name);
            orphan = now_ms() + ORPHAN_MS;
        }
        nanosleep(&(struct timespec){ .tv_nsec = RETRY_NS }, NULL);
    }
    return r < 0 ? -1 : 0;
}
