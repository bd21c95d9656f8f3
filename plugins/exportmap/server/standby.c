/* Processes that stand by; see standby.h. */
#include "standby.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "server.h"

#define BACK_OFF_MS  1000
#define ANSWER_MS    1000
#define FAILURES_MAX 5

void standby_init(struct standby *standby, const char *const argv[], bool wanted,
                  const char *certificates)
{
    *standby = (struct standby){ .argv = argv,
                                 .wanted = !wanted        ? 0
                                           : certificates ? STANDBY_MAX
                                                          : 1,
                                 .certificates = certificates };
}

/* What nbdkit reads when it starts. A file that is not there is all zeroes. */
static void look_at_certificates(const struct standby *standby,
                                 struct stat files[STANDBY_TLS_FILES])
{
    static const char *const names[STANDBY_TLS_FILES] = { "ca-cert.pem", "server-cert.pem",
                                                          "server-key.pem", "ca-crl.pem" };
    char path[4096];

    memset(files, 0, STANDBY_TLS_FILES * sizeof *files);
    for (int i = 0; standby->certificates && i < STANDBY_TLS_FILES; i++) {
        if (snprintf(path, sizeof path, "%s/%s", standby->certificates, names[i]) >=
                (int)sizeof path ||
            stat(path, &files[i]) < 0)
            memset(&files[i], 0, sizeof files[i]);
    }
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool certificates_changed(const struct standby *standby)
{
    struct stat now[STANDBY_TLS_FILES];

    look_at_certificates(standby, now);
    for (int i = 0; i < STANDBY_TLS_FILES; i++) {
        if (!same_file(&now[i], &standby->files[i]))
            return true;
    }
    return false;
}

static void forget(struct standby *standby, unsigned i)
{
    close(standby->list[i].control);
    standby->count--;
    memmove(&standby->list[i], &standby->list[i + 1],
            (standby->count - i) * sizeof standby->list[0]);
}

void standby_discard(struct standby *standby)
{
    while (standby->count > 0) {
        kill(standby->list[0].pid, SIGKILL); /* it has no client */
        forget(standby, 0);
    }
}

static bool hand_over(int control, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } buffer = { .bytes = { 0 } };
    char byte = 0;
    struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = buffer.bytes,
                              .msg_controllen = sizeof buffer.bytes };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(control, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

/* The new process's id; -1: there is none, or no answer. */
static pid_t read_answer(int control)
{
    struct pollfd pollfd = { .fd = control, .events = POLLIN };
    int answer = -1;

    if (poll(&pollfd, 1, ANSWER_MS) <= 0 ||
        recv(control, &answer, sizeof answer, MSG_DONTWAIT) != sizeof answer)
        return -1;
    if (answer < 0)
        log_line("an nbdkit that stands by can't fork: %s", strerror(-answer));
    return answer;
}

/* It says 0 when it has started. */
static bool is_ready(struct waiting *waiting)
{
    int answer;

    if (!waiting->ready)
        waiting->ready =
            recv(waiting->control, &answer, sizeof answer, MSG_DONTWAIT) == sizeof answer &&
            answer == 0;
    return waiting->ready;
}

static void note_failure(struct standby *standby)
{
    standby->not_before_ms = now_ms() + BACK_OFF_MS;
    if (++standby->failures < FAILURES_MAX)
        return;
    log_line("no nbdkit stands by any more: each client waits until one has started");
    standby->wanted = 0;
}

static pid_t fork_one(struct standby *standby, int fd)
{
    struct waiting *waiting = &standby->list[0];
    pid_t pid;

    if (!is_ready(waiting))
        return -1;
    pid = hand_over(waiting->control, fd) ? read_answer(waiting->control) : -1;
    if (pid > 0) {
        standby->failures = 0;
        return pid;
    }
    /* Whatever it is, it may be the same with the next client. */
    standby_discard(standby);
    note_failure(standby);
    return -1;
}

static pid_t use_one(struct standby *standby, int fd)
{
    while (standby->count > 0) {
        pid_t pid = standby->list[0].pid;
        bool given = hand_over(standby->list[0].control, fd);

        forget(standby, 0);
        if (given) {
            standby->failures = 0;
            return pid;
        }
    }
    return -1;
}

pid_t standby_take(struct standby *standby, int fd)
{
    if (standby->count > 0 && certificates_changed(standby))
        standby_discard(standby);
    if (standby->count == 0)
        return -1;
    return standby->certificates ? use_one(standby, fd) : fork_one(standby, fd);
}

int64_t standby_due(const struct standby *standby)
{
    return standby->count < standby->wanted ? standby->not_before_ms : INT64_MAX;
}

void standby_start(struct standby *standby, struct children *children)
{
    CLEANUP_ERROR struct error *err = NULL;
    int pair[2];
    pid_t pid;

    if (standby->count == 0)
        look_at_certificates(standby, standby->files);
    standby->not_before_ms = now_ms() + BACK_OFF_MS;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    pid = children_spawn(children, standby->argv, pair[1], standby->certificates ? "once" : "fork",
                         &err);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]); /* a client will be told, if there still is a reason then */
        return;
    }
    standby->list[standby->count++] = (struct waiting){ .pid = pid, .control = pair[0] };
    standby->not_before_ms = 0;
}

bool standby_ended(struct standby *standby, pid_t pid, int status)
{
    unsigned i = 0;

    while (i < standby->count && standby->list[i].pid != pid)
        i++;
    if (i == standby->count)
        return false;
    forget(standby, i);
    note_failure(standby);
    if (WIFSIGNALED(status))
        log_line("an nbdkit that stood by (process %d) was ended by signal %d, %s", (int)pid,
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        log_line("an nbdkit that stood by (process %d) ended with exit status %d", (int)pid,
                 WEXITSTATUS(status));
    return true;
}
