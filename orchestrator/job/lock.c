/* The lock of a VM; see lock.h. */
#include "job/lock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "replica/volume.h"

static int refuse(int fd, const struct store_vm *vm, struct error **err)
{
    char holder[64] = "";
    ssize_t n = pread(fd, holder, sizeof holder - 1, 0);

    holder[n > 0 ? n : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    return error_set(err, "'%s' is being replicated by process %s: wait for it to end", vm->name,
                     holder[0] ? holder : "(unknown)");
}

int job_lock(const char *state_dir, const struct store_vm *vm, int *fd, struct error **err)
{
    CLEANUP_CLOSE int lock = -1;
    char relative[128], path[PATH_MAX];

    snprintf(relative, sizeof relative, "locks/%s.lock", vm->uuid);
    if (volume_path(state_dir, relative, path, err) < 0 || volume_make_folder(path, err) < 0)
        return -1;
    lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return error_set_errno(err, errno, "opening %s", path);
    if (flock(lock, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? refuse(lock, vm, err)
                                    : error_set_errno(err, errno, "locking %s", path);
    if (ftruncate(lock, 0) < 0 || dprintf(lock, "%d\n", (int)getpid()) < 0)
        return error_set_errno(err, errno, "writing %s", path);
    *fd = steal_fd(lock);
    return 0;
}

static void read_line(const char *path, char *buf, size_t size)
{
    CLEANUP_FCLOSE FILE *file = fopen(path, "re");

    if (!file || !fgets(buf, (int)size, file))
        buf[0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
}

void job_owner(struct store_job *job)
{
    char stat[1024];
    const char *field;

    read_line("/proc/sys/kernel/random/boot_id", job->owner_boot, sizeof job->owner_boot);
    read_line("/proc/self/stat", stat, sizeof stat);
    job->owner_pid = getpid();
    /* Field 22; counting starts behind the name, which may hold anything. */
    field = strrchr(stat, ')');
    for (int i = 2; field && i < 22; i++)
        field = strchr(field + 1, ' ');
    job->owner_start = field ? strtoll(field, NULL, 10) : 0;
}
