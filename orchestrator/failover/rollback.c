/* Rolling back, and the files of a failover; see failover.h and job.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "failover/domain.h"
#include "failover/job.h"
#include "failover/network.h"

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

void failover_directory(const char *state_dir, int64_t id, char path[PATH_MAX])
{
    join(path, state_dir, "/%lld", (long long)id);
}

void failover_overlay(const char *state_dir, int64_t id, int key, char path[PATH_MAX])
{
    join(path, state_dir, "/%lld/disk-%d.qcow2", (long long)id, key);
}

void failover_console(const char *state_dir, int64_t id, char path[PATH_MAX])
{
    join(path, state_dir, "/%lld/console.log", (long long)id);
}

int failover_lock(const char *state_dir, const struct store_vm *vm, struct error **err)
{
    CLEANUP_CLOSE int fd = -1;
    char path[PATH_MAX];

    join(path, state_dir, "%s", "");
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", path);
    join(path, state_dir, "/%s.lock", vm->uuid);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, errno, "opening %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err,
                         "another vmferry works on a failover of %s; wait for it or end it, "
                         "then try again",
                         vm->name);
    return steal_fd(fd);
}

static bool is_overlay(const char *name)
{
    size_t length = strlen(name);

    return length > 6 && strcmp(name + length - 6, ".qcow2") == 0;
}

static int remove_overlays(const char *state_dir, int64_t id, struct error **err)
{
    char path[PATH_MAX];
    DIR *directory;
    int status = 0;

    failover_directory(state_dir, id, path);
    directory = opendir(path);
    if (!directory)
        return errno == ENOENT ? 0 : error_set_errno(err, errno, "opening %s", path);
    for (struct dirent *entry; status == 0 && (entry = readdir(directory));) {
        if (is_overlay(entry->d_name) && unlinkat(dirfd(directory), entry->d_name, 0) < 0)
            status = error_set_errno(err, errno, "removing %s/%s", path, entry->d_name);
    }
    closedir(directory);
    return status;
}

static int remove_machine(virConnectPtr connection, const struct store_failover *failover,
                          struct error **err)
{
    if (domain_remove(connection, failover->domain_uuid, err) < 0)
        return -1;
    return failover->network[0] ? network_remove(connection, failover->network, err) : 0;
}

static int say_rolled_back(struct store *store, struct store_failover *failover, struct error **err)
{
    CLEANUP_ROLLBACK struct store *transaction = NULL;
    char subject[64];

    if (store_begin(store, err) < 0)
        return -1;
    transaction = store;
    strcpy(failover->state, FAILOVER_ROLLED_BACK);
    failover->completed_ms = store_now_ms();
    snprintf(subject, sizeof subject, "failover %lld", (long long)failover->id);
    if (store_failover_update(store, failover, err) < 0 ||
        store_vm_change_state(store, failover->vm_id, "failed_over_test", "ready_for_failover",
                              err) < 0 ||
        store_audit_vm(store, failover->vm_id, "failover rollback", subject, failover->domain_name,
                       FAILOVER_ROLLED_BACK, err) < 0 ||
        store_commit(store, err) < 0)
        return -1;
    transaction = NULL;
    return 0;
}

int failover_undo(struct store *store, const char *state_dir, struct store_failover *failover,
                  struct error **err)
{
    CLEANUP_CONNECTION virConnectPtr connection = NULL;

    strcpy(failover->state, FAILOVER_ROLLING_BACK);
    if (store_failover_update(store, failover, err) < 0 || libvirt_connect(&connection, err) < 0 ||
        remove_machine(connection, failover, err) < 0 ||
        remove_overlays(state_dir, failover->id, err) < 0)
        return -1;
    /* libvirt may have been at work for a vmferry that is dead by now: what it made after
     * the first look can't start any more without its disks, and goes now. */
    if (remove_machine(connection, failover, err) < 0)
        return -1;
    return say_rolled_back(store, failover, err);
}

/* libvirt goes on with what a dead vmferry asked of it, for minutes when it is slow: what it made
 * after the rollback is removed by the next one. */
static int remove_late(struct store *store, const struct store_vm *vm, struct error **err)
{
    CLEANUP_CONNECTION virConnectPtr connection = NULL;
    CLEANUP_FREE struct store_failover *all = NULL;
    CLEANUP_ERROR struct error *ignored = NULL;
    size_t count;

    if (store_failovers(store, vm->id, false, &all, &count, err) < 0)
        return -1;
    /* Without libvirt there is nothing that could be removed. */
    if (count == 0 || libvirt_connect(&connection, &ignored) < 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(all[i].state, FAILOVER_ROLLED_BACK) == 0 &&
            remove_machine(connection, &all[i], err) < 0)
            return error_prefix(err, "what is left of failover %lld", (long long)all[i].id);
    }
    return 0;
}

int failover_rollback(struct store *store, const char *state_dir, const struct store_vm *vm,
                      size_t *count, struct error **err)
{
    CLEANUP_FREE struct store_failover *open = NULL;
    CLEANUP_CLOSE int lock = failover_lock(state_dir, vm, err);

    if (lock < 0 || store_failovers(store, vm->id, true, &open, count, err) < 0)
        return -1;
    for (size_t i = 0; i < *count; i++) {
        if (failover_undo(store, state_dir, &open[i], err) < 0)
            return error_prefix(err, "rolling back failover %lld of %s", (long long)open[i].id,
                                vm->name);
    }
    return remove_late(store, vm, err);
}
