/* Waiting for a client; see standby.h. */
#include "standby.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define VARIABLE "EXPORTMAP_STANDBY"
#define COPIES   8 /* of one descriptor, at most; nbdkit makes two */

static ino_t inode; /* of our end of the socket pair; 0: we were started for a client */

bool standby_init(void)
{
    const char *text = getenv(VARIABLE);

    inode = text ? (ino_t)strtoull(text, NULL, 10) : 0;
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

int standby_wait(struct error **err)
{
    CLEANUP_CLOSE int client = -1;
    int copies[COPIES];
    int n = find_copies(copies, err);

    if (n < 0)
        return -1;
    client = receive(copies[0]);
    if (client < 0)
        _exit(EXIT_SUCCESS); /* nothing was opened, nobody waits for us */
    for (int i = 0; i < n; i++) {
        if (dup3(client, copies[i], O_CLOEXEC) < 0)
            return error_set_errno(err, errno, "standing by: taking the connection");
    }
    return 0;
}
