/* Word to the server that started us; see opened.h. */
#include "opened.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#define VARIABLE "EXPORTMAP_OPENED_FD"

static atomic_int report_fd = -1;

void opened_init(void)
{
    const char *text = getenv(VARIABLE);
    int fd = text ? atoi(text) : -1;

    unsetenv(VARIABLE);
    if (fd > STDERR_FILENO && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
        report_fd = fd;
}

void opened_report(void)
{
    int fd = atomic_exchange(&report_fd, -1);
    pid_t pid = getpid();

    if (fd < 0)
        return;
    /* Atomic, being far shorter than PIPE_BUF. A server that has gone does not mind. */
    if (write(fd, &pid, sizeof pid) < 0) {
    }
    close(fd);
}
