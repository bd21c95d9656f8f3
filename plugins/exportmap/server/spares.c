/* Processes that stand by; see spares.h. */
#include "spares.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "server.h"

#define BACK_OFF_MS 1000

void spares_init(struct spares *spares, const char *const argv[], unsigned wanted,
                 const char *certificates)
{
    *spares = (struct spares){ .argv = argv, .wanted = wanted, .certificates = certificates };
}

/* What nbdkit reads when it starts. A file that is not there is all zeroes. */
static void look_at_certificates(const struct spares *spares, struct stat files[SPARE_TLS_FILES])
{
    static const char *const names[SPARE_TLS_FILES] = { "ca-cert.pem", "server-cert.pem",
                                                        "server-key.pem", "ca-crl.pem" };
    char path[4096];

    memset(files, 0, SPARE_TLS_FILES * sizeof *files);
    for (int i = 0; spares->certificates && i < SPARE_TLS_FILES; i++) {
        if (snprintf(path, sizeof path, "%s/%s", spares->certificates, names[i]) >=
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

static bool certificates_changed(const struct spares *spares)
{
    struct stat now[SPARE_TLS_FILES];

    look_at_certificates(spares, now);
    for (int i = 0; i < SPARE_TLS_FILES; i++) {
        if (!same_file(&now[i], &spares->files[i]))
            return true;
    }
    return false;
}

static void forget(struct spares *spares, unsigned i)
{
    close(spares->list[i].control);
    spares->count--;
    memmove(&spares->list[i], &spares->list[i + 1], (spares->count - i) * sizeof spares->list[0]);
}

void spares_discard(struct spares *spares)
{
    for (unsigned i = 0; i < spares->count; i++) {
        kill(spares->list[i].pid, SIGKILL); /* it has no client */
        close(spares->list[i].control);
    }
    spares->count = 0;
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

pid_t spares_take(struct spares *spares, int fd)
{
    if (spares->count > 0 && certificates_changed(spares))
        spares_discard(spares);
    while (spares->count > 0) {
        pid_t pid = spares->list[0].pid;
        bool given = hand_over(spares->list[0].control, fd);

        forget(spares, 0);
        if (given)
            return pid;
    }
    return -1;
}

int64_t spares_due(const struct spares *spares)
{
    return spares->count < spares->wanted ? spares->not_before_ms : INT64_MAX;
}

void spares_add(struct spares *spares, struct children *children)
{
    CLEANUP_ERROR struct error *err = NULL;
    int pair[2];
    pid_t pid;

    if (spares->count == 0)
        look_at_certificates(spares, spares->files);
    spares->not_before_ms = now_ms() + BACK_OFF_MS;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    pid = children_spawn(children, spares->argv, pair[1], true, &err);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return; /* a client will be told, if there still is a reason then */
    }
    spares->list[spares->count++] = (struct spare){ .pid = pid, .control = pair[0] };
    spares->not_before_ms = 0;
}

bool spares_ended(struct spares *spares, pid_t pid, int status)
{
    for (unsigned i = 0; i < spares->count; i++) {
        if (spares->list[i].pid != pid)
            continue;
        forget(spares, i);
        spares->not_before_ms = now_ms() + BACK_OFF_MS;
        if (WIFSIGNALED(status))
            log_line("an nbdkit that stood by (process %d) was ended by signal %d, %s", (int)pid,
                     WTERMSIG(status), strsignal(WTERMSIG(status)));
        else
            log_line("an nbdkit that stood by (process %d) ended with exit status %d", (int)pid,
                     WEXITSTATUS(status));
        return true;
    }
    return false;
}
