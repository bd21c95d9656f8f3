/* Turning change tracking on; see snapshot.h. */
#include <string.h>

#include "source/vsphere/snapshot.h"

/* It begins when the VM is stunned, and with the first or the second snapshot the change
 * ids can be seen. */
#define STUN_CYCLES 2

static int refuse_snapshots(const struct snapshot_vm *vm, struct error **err)
{
    CLEANUP_SNAPSHOTS struct snapshots snapshots = { 0 };

    if (snapshots_list(vm, &snapshots, err) < 0)
        return -1;
    if (!snapshots.count)
        return 0;
    return error_set(
        err,
        "VM %s has %zu snapshot%s ('%s'%s): change tracking that is turned on now could "
        "miss changes without a word. Remove %s first",
        vm->name, snapshots.count, snapshots.count == 1 ? "" : "s", snapshots.list[0].name,
        snapshots.count == 1 ? "" : " …", snapshots.count == 1 ? "it" : "them");
}

/* "" when every disk that snapshots hold has a change id. */
static void list_untracked(const struct vsphere_devices *devices, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < devices->disk_count && used < size; i++) {
        const struct vsphere_disk *disk = &devices->disks[i];

        if (disk->change_id[0] || disk_is_outside_snapshots(disk))
            continue;
        used +=
            (size_t)snprintf(text + used, size - used, "%sdisk-%d", used ? ", " : "", disk->key);
    }
}

/* One snapshot, looked into and removed. */
static int stun(const struct snapshot_vm *vm, const char *name, char *untracked, size_t size,
                struct error **err)
{
    CLEANUP_DEVICES struct vsphere_devices devices = { 0 };
    CLEANUP_ERROR struct error *unread = NULL;
    struct freeze_wishes wishes = { .snapshot = name,
                                    .description = "vmferry: turns change tracking on",
                                    .quiesce = QUIESCE_NO };
    struct moref snapshot;
    bool quiesced;
    int r;

    if (snapshot_create(vm, &wishes, &snapshot, &quiesced, err) < 0)
        return -1;
    r = snapshot_devices(vm->session, &snapshot, &devices, &unread);
    if (snapshot_remove(vm, name, err) < 0)
        return -1;
    if (r < 0)
        return error_move(err, &unread);
    list_untracked(&devices, untracked, size);
    return 0;
}

int snapshot_enable_tracking(const struct snapshot_vm *vm, const char *name, struct error **err)
{
    char what[512], untracked[256] = "";

    snprintf(what, sizeof what, "ReconfigVM_Task on VM %s", vm->name);
    if (refuse_snapshots(vm, err) < 0 ||
        session_run_task(vm->session, &vm->ref, "ReconfigVM_Task",
                         "<spec><changeTrackingEnabled>true</changeTrackingEnabled></spec>", what,
                         vm->settings->task, vm->settings->opaque, NULL, err) < 0)
        return error_prefix(err, "turning change tracking on");
    for (int i = 0; i < STUN_CYCLES; i++) {
        if (stun(vm, name, untracked, sizeof untracked, err) < 0)
            return error_prefix(err, "turning change tracking on");
        if (!untracked[0])
            return 0;
    }
    return error_set(err,
                     "change tracking of VM %s is turned on, but vSphere names no change id of %s. "
                     "It needs hardware version 7; power the VM off and on once, and try again",
                     vm->name, untracked);
}
