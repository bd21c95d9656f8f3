/* The lock of a replica's images; see images-lock.h. */
#include "replica/images-lock.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>

#include "replica/volume.h"

int images_lock(const char *state_dir, const struct store_vm *vm, enum images_use use, int *fd,
                struct error **err)
{
    CLEANUP_CLOSE int lock = -1;
    char relative[128], path[PATH_MAX];

    snprintf(relative, sizeof relative, "locks/%.40s.images", vm->uuid);
    if (volume_path(state_dir, relative, path, err) < 0 || volume_make_folder(path, err) < 0)
        return -1;
    lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return error_set_errno(err, errno, "opening %s", path);
    if (flock(lock, (use == IMAGES_READ ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) {
        *fd = steal_fd(lock);
        return 0;
    }
    if (errno != EWOULDBLOCK)
        return error_set_errno(err, errno, "locking %s", path);
    error_set(err,
              use == IMAGES_READ
                  ? "restore points of '%s' are just being merged or repaired: wait for that to end"
                  : "restore points of '%s' are just being read by `vmferry verify`, or merged or "
                    "repaired: wait for that to end, or end it",
              vm->name);
    (*err)->errnum = EAGAIN;
    return -1;
}
