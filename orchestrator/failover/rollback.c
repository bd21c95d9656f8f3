/* Rolling back; see failover.h and job.h. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "convert/convert.h"
#include "failover/domain.h"
#include "failover/job.h"
#include "failover/network.h"
#include "failover/storage.h"

#define LATE_MS (INT64_C(24) * 3600 * 1000)

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);

    return length > tail && strcmp(name + length - tail, ending) == 0;
}

/* "disk-2000.qcow2" becomes "disk-2000.kept": no domain finds it by its old name. */
static int keep_overlay(int directory, const char *name, struct error **err)
{
    char kept[NAME_MAX + 1];

    snprintf(kept, sizeof kept, "%.*s" FAILOVER_KEPT_ENDING,
             (int)(strlen(name) - strlen(FAILOVER_OVERLAY_ENDING)), name);
    return renameat(directory, name, directory, kept) < 0
               ? error_set_errno(err, errno, "renaming %s", name)
               : 0;
}

static int remove_file(int directory, const char *name, struct error **err)
{
    return unlinkat(directory, name, 0) < 0 ? error_set_errno(err, errno, "removing %s", name) : 0;
}

/* All that have this ending, in the failover's directory. */
static int for_overlays(const char *state_dir, int64_t id, const char *ending,
                        int (*act)(int directory, const char *name, struct error **err),
                        struct error **err)
{
    char path[PATH_MAX];
    DIR *directory;
    int status = 0;

    failover_directory(state_dir, id, path);
    directory = opendir(path);
    if (!directory)
        return errno == ENOENT ? 0 : error_set_errno(err, errno, "opening %s", path);
    for (struct dirent *entry; status == 0 && (entry = readdir(directory));) {
        if (ends_with(entry->d_name, ending))
            status = act(dirfd(directory), entry->d_name, err);
    }
    closedir(directory);
    convert_sweep(path);
    return status < 0 ? error_prefix(err, "%s", path) : 0;
}

int failover_discard(const char *state_dir, int64_t id, struct error **err)
{
    return for_overlays(state_dir, id, FAILOVER_KEPT_ENDING, remove_file, err);
}

static int remove_machine(virConnectPtr connection, const struct store_failover *failover,
                          struct error **err)
{
    if (domain_remove(connection, failover->domain_uuid, err) < 0)
        return -1;
    if (libvirt_is_remote(connection) &&
        storage_remove_pools(connection, failover->domain_uuid, err) < 0)
        return -1;
    return failover->network[0] ? network_remove(connection, failover->network, err) : 0;
}

/* The VM is ready again when none of its other failovers is open. */
static int write_end(struct store *store, void *opaque, struct error **err)
{
    struct store_failover *failover = opaque;
    CLEANUP_FREE struct store_failover *open = NULL;
    const char *state;
    char subject[64];
    size_t count;

    failover->completed_ms = store_now_ms();
    snprintf(subject, sizeof subject, "failover %" PRId64, failover->id);
    if (store_failover_update(store, failover, err) < 0 ||
        store_failovers(store, failover->vm_id, true, &open, &count, err) < 0)
        return -1;
    state = count ? "failed_over_test" : "ready_for_failover";
    if (store_vm_change_state(store, failover->vm_id, "failed_over_live", state, err) < 0 ||
        (count == 0 &&
         store_vm_change_state(store, failover->vm_id, "failed_over_test", state, err) < 0))
        return -1;
    return store_audit_vm(store, failover->vm_id, "failover rollback", subject,
                          failover->domain_name, failover->state, err);
}

int failover_remove(struct store *store, const char *state_dir, struct store_failover *failover,
                    bool keep, struct error **err)
{
    CLEANUP_CONNECTION virConnectPtr connection = NULL;

    strcpy(failover->state, FAILOVER_ROLLING_BACK);
    if (store_failover_update(store, failover, err) < 0 ||
        libvirt_connect(failover->uri, &connection, err) < 0 ||
        remove_machine(connection, failover, err) < 0 ||
        for_overlays(state_dir, failover->id, FAILOVER_OVERLAY_ENDING,
                     keep ? keep_overlay : remove_file, err) < 0)
        return -1;
    /* libvirt may have been at work for a vmferry that is dead by now: what it made after
     * the first look can't start any more without its disks, and goes now. */
    return remove_machine(connection, failover, err);
}

int failover_close(struct store *store, const char *state_dir, struct store_failover *failover,
                   const char *state, struct error **err)
{
    snprintf(failover->state, sizeof failover->state, "%s", state);
    if (store_transaction(store, write_end, failover, err) < 0)
        return -1;
    failover_lock_remove(state_dir, failover->id);
    return 0;
}

int failover_undo(struct store *store, const char *state_dir, struct store_failover *failover,
                  struct error **err)
{
    return failover_remove(store, state_dir, failover, false, err) < 0
               ? -1
               : failover_close(store, state_dir, failover, FAILOVER_ROLLED_BACK, err);
}

static bool was_rolled_back(const struct store_failover *failover)
{
    return strcmp(failover->state, FAILOVER_ROLLED_BACK) == 0 ||
           strcmp(failover->state, FAILOVER_KEPT) == 0;
}

static bool may_be_late(const struct store_failover *failover)
{
    return was_rolled_back(failover) && failover_is_here(failover) &&
           store_now_ms() - failover->completed_ms < LATE_MS;
}

/* Of those by this libvirt, from `first` on. */
static int remove_late_of(struct store_failover *list, size_t count, size_t first,
                          struct error **err)
{
    CLEANUP_CONNECTION virConnectPtr connection = NULL;
    CLEANUP_ERROR struct error *ignored = NULL;

    /* Without libvirt there is nothing that could be removed. */
    if (libvirt_connect(list[first].uri, &connection, &ignored) < 0)
        return 0;
    for (size_t i = first; i < count; i++) {
        if (may_be_late(&list[i]) && strcmp(list[i].uri, list[first].uri) == 0 &&
            remove_machine(connection, &list[i], err) < 0)
            return error_prefix(err, "what is left of failover %" PRId64, list[i].id);
    }
    return 0;
}

static bool is_first(const struct store_failover *list, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (may_be_late(&list[i]) && strcmp(list[i].uri, list[index].uri) == 0)
            return false;
    }
    return true;
}

/* libvirt goes on with what a dead vmferry asked of it, for minutes when it is slow: what it made
 * after the rollback is removed by the next one. Each libvirt is asked once, as a host that is
 * gone takes its time. */
static int remove_late(struct store *store, const struct store_vm *vm, struct error **err)
{
    CLEANUP_FREE struct store_failover *all = NULL;
    size_t count;

    if (store_failovers(store, vm->id, false, &all, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (may_be_late(&all[i]) && is_first(all, i) && remove_late_of(all, count, i, err) < 0)
            return -1;
    }
    return 0;
}

/* Under its lock, and as it is by then. */
static int undo_locked(struct store *store, const char *state_dir, const struct store_vm *vm,
                       int64_t id, struct error **err)
{
    struct store_failover failover;
    CLEANUP_CLOSE int lock =
        failover_take(store, state_dir, vm, id, "run the rollback", &failover, err);

    if (lock < 0)
        return -1;
    if (failover.completed_ms) {
        failover_lock_remove(state_dir, id);
        return 0;
    }
    return failover_undo(store, state_dir, &failover, err);
}

int failover_rollback(struct store *store, const char *state_dir, const struct store_vm *vm,
                      int64_t id, size_t *count, struct error **err)
{
    CLEANUP_FREE struct store_failover *open = NULL;
    CLEANUP_ERROR struct error *first = NULL;
    size_t all;

    *count = 0;
    if (store_failovers(store, vm->id, true, &open, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all; i++) {
        CLEANUP_ERROR struct error *one = NULL;

        if ((id && open[i].id != id) || strcmp(open[i].kind, "test") != 0)
            continue;
        if (undo_locked(store, state_dir, vm, open[i].id, &one) == 0) {
            ++*count;
            continue;
        }
        error_prefix(&one, "rolling back failover %" PRId64 " of %s", open[i].id, vm->name);
        if (!first)
            first = steal_ptr(one);
    }
    if (first)
        return error_move(err, &first);
    return remove_late(store, vm, err);
}

/* Nobody is at it any more, or its time is over. */
static bool is_left(const struct store_failover *failover)
{
    bool has_verdict = strcmp(failover->state, FAILOVER_BOOTED) == 0 ||
                       strcmp(failover->state, FAILOVER_CHECK_FAILED) == 0 ||
                       strcmp(failover->state, FAILOVER_NOT_BOOTED) == 0;

    if (strcmp(failover->kind, "test") != 0 || !failover_is_here(failover))
        return false;
    return !has_verdict || (failover->keep_until_ms && failover->keep_until_ms <= store_now_ms());
}

static int recover_one(struct store *store, const char *state_dir, const struct store_vm *vm,
                       const struct store_failover *failover, bool *done, struct error **err)
{
    CLEANUP_ERROR struct error *busy = NULL;
    int lock;

    *done = false;
    if (!is_left(failover))
        return 0;
    lock = failover_lock(state_dir, failover->id, &busy);
    if (lock < 0)
        return 0;
    close(lock);
    if (undo_locked(store, state_dir, vm, failover->id, err) < 0)
        return error_prefix(err, "failover %" PRId64 " of %s", failover->id, vm->name);
    *done = true;
    return 0;
}

int failover_recover(struct store *store, const char *state_dir, const struct store_vm *only,
                     size_t *count, struct error **err)
{
    CLEANUP_FREE struct store_failover *open = NULL;
    CLEANUP_FREE struct store_vm *vms = NULL;
    CLEANUP_ERROR struct error *last = NULL;
    size_t open_count, vm_count;

    *count = 0;
    if (store_vms(store, &vms, &vm_count, err) < 0 ||
        store_failovers(store, only ? only->id : 0, true, &open, &open_count, err) < 0)
        return -1;
    for (size_t i = 0; i < open_count; i++) {
        for (size_t j = 0; j < vm_count; j++) {
            CLEANUP_ERROR struct error *one = NULL;
            bool done = false;

            if (vms[j].id != open[i].vm_id)
                continue;
            if (recover_one(store, state_dir, &vms[j], &open[i], &done, &one) < 0) {
                error_clear(&last);
                last = steal_ptr(one);
            }
            *count += done;
        }
    }
    return last ? error_move(err, &last) : 0;
}
