/* The writers' lock of one export; see lease.h. */
#include "lease.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "exportmap-file.h"

#define RETRY_NS 3000000L

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* 1: locked, 0: somebody else's lock is in the way, -1: error. Never waits, so
 * that a stopped process can't make us wait for ever. */
static int try_lock(int fd, int how)
{
    for (;;) {
        if (flock(fd, how | LOCK_NB) == 0)
            return 1;
        if (errno != EINTR)
            return errno == EWOULDBLOCK ? 0 : -1;
    }
}

static bool content_is(int fd, const char *terms)
{
    size_t length = strlen(terms);
    char buf[4096];
    struct stat st;

    if (fstat(fd, &st) < 0 || (size_t)st.st_size != length)
        return false;
    for (size_t done = 0; done < length;) {
        ssize_t n = pread(fd, buf, sizeof buf, (off_t)done);

        if (n <= 0 || (size_t)n > length - done || memcmp(buf, terms + done, (size_t)n) != 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static int replace_content(int fd, const char *terms)
{
    size_t length = strlen(terms);

    if (ftruncate(fd, 0) < 0)
        return -1;
    for (size_t done = 0; done < length;) {
        ssize_t n = pwrite(fd, terms + done, length - done, (off_t)done);

        if (n < 0 && errno != EINTR)
            return -1;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* One step: 1 when the lock is held under TERMS, 0 to try again, -1 on error.
 *
 * Changing a flock from shared to exclusive or back is not atomic: it is dropped
 * in between, and lost when the change fails. So the content counts only when it
 * is read under the lock that is then kept. */
static int step(int fd, const char *terms)
{
    int r = try_lock(fd, LOCK_SH);

    if (r <= 0)
        return r;
    if (content_is(fd, terms))
        return 1;
    r = try_lock(fd, LOCK_EX);
    if (r <= 0)
        return r;
    if (replace_content(fd, terms) < 0)
        return -1;
    r = try_lock(fd, LOCK_SH);
    if (r <= 0)
        return r;
    return content_is(fd, terms);
}

/* It is not removed while it is locked. */
static bool has_name(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

int lease_acquire(int state_fd, const char *name, const char *terms, int timeout_ms,
                  struct error **err)
{
    char file[EXPORTMAP_NAME_MAX + 8];
    CLEANUP_CLOSE int fd = -1;
    int64_t deadline = now_ms() + timeout_ms;

    snprintf(file, sizeof file, EXPORTMAP_LOCK, name);
    for (;;) {
        int r;

        if (fd < 0)
            fd = openat(state_fd, file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return error_set_errno(err, errno, "opening lock file %s", file);
        r = step(fd, terms);
        if (r < 0)
            return error_set_errno(err, errno, "locking %s", file);
        if (r > 0 && has_name(fd))
            return steal_fd(fd);
        if (r > 0) { /* swept, as nobody held it: whoever comes next has another one */
            close(steal_fd(fd));
            continue;
        }
        if (now_ms() >= deadline)
            break;
        nanosleep(&(struct timespec){ .tv_nsec = RETRY_NS }, NULL);
    }
    error_set(err, "still held by a writer under another lease");
    (*err)->errnum = EBUSY;
    return -1;
}
