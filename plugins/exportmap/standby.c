/* Waiting for clients; see standby.h. */
#include "standby.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define VARIABLE "EXPORTMAP_STANDBY"
#define COPIES   8 /* of one descriptor, at most; nbdkit makes two */
#define FDS_MAX  64

static ino_t inode;  /* of our end of the socket pair; 0: we were started for a client */
static bool forking; /* for each client, or else serving the first */

bool standby_init(void)
{
    const char *text = getenv(VARIABLE);

    forking = text && strncmp(text, "fork ", 5) == 0;
    inode = text && strchr(text, ' ') ? (ino_t)strtoull(strchr(text, ' '), NULL, 10) : 0;
    unsetenv(VARIABLE);
    return inode != 0;
}

static void cleanup_closedir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static bool is_our_end(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == inode;
}

/* nbdkit has moved stdin and stdout out of the way: find where to. */
static int find_copies(int fds[COPIES], struct error **err)
{
    CLEANUP(cleanup_closedir) DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int n = 0;

    while (dir && n < COPIES && (entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && is_our_end(fd))
            fds[n++] = fd;
    }
    return n > 0 ? n : error_set(err, "standing by: the server's socket is not to be found");
}

/* A descriptor; -1 when there will be none. */
static int receive(int from)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char byte;
    struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
    const struct cmsghdr *header;
    ssize_t n;
    int fd;

    do
        n = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return -1;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

/* nbdkit's own pipe by which a signal wakes it: both ends are in this process. Each copy needs one
 * of its own, or a signal to one would be one to all. */
static int find_wake_pipe(int ends[2], struct error **err)
{
    CLEANUP(cleanup_closedir) DIR *dir = opendir("/proc/self/fd");
    struct stat st[FDS_MAX];
    int fds[FDS_MAX], n = 0, found = 0;
    struct dirent *entry;

    while (dir && n < FDS_MAX && (entry = readdir(dir))) {
        fds[n] = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fstat(fds[n], &st[n]) == 0 && S_ISFIFO(st[n].st_mode))
            n++;
    }
    for (int r = 0; r < n; r++) {
        for (int w = 0; w < n; w++) {
            if (st[r].st_ino != st[w].st_ino || st[r].st_dev != st[w].st_dev ||
                (fcntl(fds[r], F_GETFL) & O_ACCMODE) != O_RDONLY ||
                (fcntl(fds[w], F_GETFL) & O_ACCMODE) != O_WRONLY)
                continue;
            ends[0] = fds[r];
            ends[1] = fds[w];
            found++;
        }
    }
    return found == 1 ? 0 : error_set(err, "standing by: nbdkit's pipe is not to be found");
}

static int renew_pipe(const int ends[2])
{
    int fresh[2];
    int r = pipe2(fresh, O_CLOEXEC);

    if (r == 0 &&
        (dup3(fresh[0], ends[0], O_CLOEXEC) < 0 || dup3(fresh[1], ends[1], O_CLOEXEC) < 0))
        r = -1;
    if (r == 0) {
        close(fresh[0]);
        close(fresh[1]);
    }
    return r;
}

/* As fork, but the copy's parent is ours, and nobody is told who asked to be told of forks: GnuTLS
 * has, for its random numbers, so this must not be done where it is used. libc keeps the
 * thread's id at this address. */
static pid_t fork_sibling(void)
{
    struct clone_args args = { .flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID };
    uint64_t tid_address = 0;

    if (prctl(PR_GET_TID_ADDRESS, &tid_address, 0, 0, 0) < 0)
        return -1;
    args.child_tid = tid_address;
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

/* A copy ends with the server if it is to, like any child that nbdkit -s is: SIGTERM is blocked in
 * those that outlive it. */
static void follow_parent(pid_t server)
{
    sigset_t blocked;

    sigprocmask(SIG_BLOCK, NULL, &blocked);
    if (sigismember(&blocked, SIGTERM))
        return;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != server)
        _exit(EXIT_FAILURE);
}

static int take_client(int client, const int copies[COPIES], int n, struct error **err)
{
    for (int i = 0; i < n; i++) {
        if (dup3(client, copies[i], O_CLOEXEC) < 0)
            return error_set_errno(err, errno, "taking the connection");
    }
    return 0;
}

static int answer(int to, int number)
{
    return send(to, &number, sizeof number, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Other threads would not be in a copy, and what they have locked would be locked for ever. */
static int check_alone(struct error **err)
{
    struct stat st;

    /* One link for each of ".", "..", and a thread. */
    if (stat("/proc/self/task", &st) == 0 && st.st_nlink == 3)
        return 0;
    return error_set(err, "standing by: there are threads already");
}

/* In the process itself it never returns. */
static int fork_for_clients(const int copies[COPIES], int n, struct error **err)
{
    pid_t server = getppid();
    int wake[2];

    if (check_alone(err) < 0 || find_wake_pipe(wake, err) < 0)
        return -1;
    for (int number = 0;;) { /* 0: ready */
        CLEANUP_CLOSE int client = answer(copies[0], number) < 0 ? -1 : receive(copies[0]);

        if (client < 0)
            _exit(EXIT_SUCCESS); /* nothing was opened, nobody waits for us */
        number = fork_sibling();
        if (number == 0) {
            follow_parent(server);
            if (renew_pipe(wake) < 0)
                return error_set_errno(err, errno, "a pipe for the new process");
            return take_client(client, copies, n, err);
        }
        if (number < 0)
            number = -errno;
    }
}

int standby_wait(struct error **err)
{
    CLEANUP_CLOSE int client = -1;
    int copies[COPIES];
    int n = find_copies(copies, err);

    if (n < 0)
        return -1;
    if (forking)
        return fork_for_clients(copies, n, err);
    client = receive(copies[0]);
    if (client < 0)
        _exit(EXIT_SUCCESS);
    return take_client(client, copies, n, err);
}
