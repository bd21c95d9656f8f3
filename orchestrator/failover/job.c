/* The files and locks of failovers; see job.h. */
#include "failover/job.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define VM_LOCK_PATIENCE_MS 20000
#define VM_LOCK_POLL_MS     20

static void join(char path[PATH_MAX], const char *state_dir, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The state directory's path leaves room for what is below it: it was opened. */
static void join(char path[PATH_MAX], const char *state_dir, const char *fmt, ...)
{
    int length = snprintf(path, PATH_MAX, "%s/failovers", state_dir);
    va_list args;

    if (length < 0 || length >= PATH_MAX)
        return;
    va_start(args, fmt);
    vsnprintf(path + length, (size_t)(PATH_MAX - length), fmt, args);
    va_end(args);
}

void failover_root(const char *state_dir, char path[PATH_MAX])
{
    join(path, state_dir, "%s", "");
}

void failover_directory(const char *state_dir, int64_t id, char path[PATH_MAX])
{
    join(path, state_dir, "/%lld", (long long)id);
}

void failover_overlay(const char *state_dir, int64_t id, int key, char path[PATH_MAX])
{
    join(path, state_dir, "/%lld/disk-%d" FAILOVER_OVERLAY_ENDING, (long long)id, key);
}

const char *failover_kept_name(int64_t id, char name[FAILOVER_KEPT_NAME])
{
    snprintf(name, FAILOVER_KEPT_NAME, "live-%lld", (long long)id);
    return name;
}

void failover_kept(const char *state_dir, int64_t id, int key, char path[PATH_MAX])
{
    join(path, state_dir, "/%lld/disk-%d" FAILOVER_KEPT_ENDING, (long long)id, key);
}

void failover_console(const char *state_dir, int64_t id, char path[PATH_MAX])
{
    join(path, state_dir, "/%lld/console.log", (long long)id);
}

void failover_conversion_log(const char *state_dir, int64_t id, char path[PATH_MAX])
{
    join(path, state_dir, "/%lld/convert.log", (long long)id);
}

void failover_screen(const char *state_dir, int64_t id, char path[PATH_MAX])
{
    join(path, state_dir, "/%lld/screen.png", (long long)id);
}

static int make_directory(const char *path, struct error **err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", path);
    return 0;
}

static int open_lock(const char *path, struct error **err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    return fd >= 0 ? fd : error_set_errno(err, errno, "opening %s", path);
}

int failover_lock_vm(const char *state_dir, const struct store_vm *vm, struct error **err)
{
    const struct timespec pause = { .tv_nsec = VM_LOCK_POLL_MS * 1000000L };
    CLEANUP_CLOSE int fd = -1;
    char path[PATH_MAX];

    failover_root(state_dir, path);
    if (make_directory(path, err) < 0)
        return -1;
    join(path, state_dir, "/%s.lock", vm->uuid);
    fd = open_lock(path, err);
    if (fd < 0)
        return -1;
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += VM_LOCK_POLL_MS) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return error_set_errno(err, errno, "locking %s", path);
        if (waited >= VM_LOCK_PATIENCE_MS)
            return error_set(err,
                             "another vmferry is choosing a failover of %s, and takes long; "
                             "try again later",
                             vm->name);
        nanosleep(&pause, NULL);
    }
    return steal_fd(fd);
}

static void lock_path(const char *state_dir, int64_t id, char path[PATH_MAX])
{
    join(path, state_dir, "/%lld/lock", (long long)id);
}

int failover_lock(const char *state_dir, int64_t id, struct error **err)
{
    CLEANUP_CLOSE int fd = -1;
    char path[PATH_MAX];

    failover_directory(state_dir, id, path);
    if (make_directory(path, err) < 0)
        return -1;
    lock_path(state_dir, id, path);
    fd = open_lock(path, err);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err,
                         "another vmferry works on failover %" PRId64 "; wait for it or end it, "
                         "then try again",
                         id);
    return steal_fd(fd);
}

void failover_host(char host[STORE_NAME])
{
    if (gethostname(host, STORE_NAME) < 0)
        host[0] = '\0';
    host[STORE_NAME - 1] = '\0';
}

bool failover_is_here(const struct store_failover *failover)
{
    char host[STORE_NAME];

    failover_host(host);
    return !failover->host[0] || strcmp(failover->host, host) == 0;
}

bool failover_is_standing(const char *state_dir, int64_t id)
{
    char path[PATH_MAX];

    lock_path(state_dir, id, path);
    return access(path, F_OK) == 0;
}

void failover_lock_remove(const char *state_dir, int64_t id)
{
    char path[PATH_MAX];

    lock_path(state_dir, id, path);
    unlink(path);
}

int failover_take(struct store *store, const char *state_dir, const struct store_vm *vm, int64_t id,
                  const char *what, struct store_failover *failover, struct error **err)
{
    CLEANUP_CLOSE int vm_lock = failover_lock_vm(state_dir, vm, err);
    CLEANUP_CLOSE int lock = -1;

    if (vm_lock < 0 || store_failover_get(store, id, failover, err) < 0)
        return -1;
    if (!failover_is_here(failover))
        return error_set(err, "it was made on host %s; %s there", failover->host, what);
    lock = failover_lock(state_dir, id, err);
    if (lock < 0 || store_failover_get(store, id, failover, err) < 0)
        return -1;
    return steal_fd(lock);
}
