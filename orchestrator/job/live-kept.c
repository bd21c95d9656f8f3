/* Parting what was kept from its points; see live-kept.h. */
#include "job/live-kept.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "failover/job.h"
#include "process.h"
#include "replica/images-lock.h"
#include "say.h"

/* qemu-img names the new backing file last, so that a crash leaves the image as it was. */
static int part_image(const char *path, atomic_int *cancel, struct error **err)
{
    const char *const argv[] = { "qemu-img", "rebase", "-f", "qcow2", "-b", "", path, NULL };
    const struct process_watch watch = { .stop = cancel };

    if (access(path, F_OK) < 0)
        return errno == ENOENT ? 0 : error_set_errno(err, errno, "%s", path);
    return process_run_watched(argv, &watch, err);
}

static int part(struct store *store, const char *state_dir, struct store_failover *failover,
                atomic_int *cancel, struct error **err)
{
    CLEANUP_FREE struct store_disk *disks = NULL;
    char path[PATH_MAX];
    size_t count;

    if (!failover_is_here(failover))
        return error_set(err, "it was made on host %s, and has to be discarded there",
                         failover->host);
    if (store_disks(store, failover->vm_id, &disks, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        failover_kept(state_dir, failover->id, disks[i].key, path);
        if (part_image(path, cancel, err) < 0)
            return -1;
    }
    failover->point_id = 0;
    return store_failover_update(store, failover, err);
}

int live_kept_part(struct store *store, const char *state_dir, const struct store_vm *vm,
                   atomic_int *cancel, void (*say)(const char *line), struct error **err)
{
    CLEANUP_FREE struct store_failover *list = NULL;
    CLEANUP_CLOSE int images = -1;
    size_t count;

    if (store_failovers(store, vm->id, false, &list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].state, FAILOVER_KEPT) != 0 || !list[i].point_id)
            continue;
        say_line(say, "what failover %" PRId64 " kept gets disks that stand alone", list[i].id);
        if ((images < 0 && images_lock(state_dir, vm, IMAGES_READ, &images, err) < 0) ||
            part(store, state_dir, &list[i], cancel, err) < 0)
            return error_prefix(err,
                                "what failover %" PRId64 " kept (`vmferry failover rollback %s "
                                "--id=%" PRId64 " --discard` drops it)",
                                list[i].id, vm->name, list[i].id);
    }
    return 0;
}
