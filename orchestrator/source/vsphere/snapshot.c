/* Snapshots; see snapshot.h. */
#include "source/vsphere/snapshot.h"

#include <string.h>

#include "say.h"
#include "source/vsphere/pending.h"
#include "source/vsphere/read.h"

#define REMOVE_TRIES    3
#define REMOVE_PAUSE_MS 1000U

void snapshots_free(struct snapshots *snapshots)
{
    free(snapshots->list);
    *snapshots = (struct snapshots){ 0 };
}

static int add_snapshot(struct snapshots *snapshots, const xmlNode *tree, struct error **err)
{
    struct snapshot *grown;
    struct snapshot one = { 0 };

    if (moref_read(xml_child(tree, "snapshot"), &one.ref) < 0)
        return error_set(err, "a snapshot in the VM's list has no id");
    read_text(tree, "name", one.name, sizeof one.name);
    grown = reallocarray(snapshots->list, snapshots->count + 1, sizeof *grown);
    if (!grown)
        return error_set_errno(err, ENOMEM, "reading snapshots");
    snapshots->list = grown;
    snapshots->list[snapshots->count++] = one;
    return 0;
}

/* As deep as the parser lets a document be. */
static int add_tree(struct snapshots *snapshots, const xmlNode *tree, struct error **err)
{
    for (; tree; tree = xml_next(tree)) {
        if (add_snapshot(snapshots, tree, err) < 0 ||
            add_tree(snapshots, xml_child(tree, "childSnapshotList"), err) < 0)
            return -1;
    }
    return 0;
}

int snapshots_parse(const xmlNode *val, struct snapshots *snapshots, struct error **err)
{
    return add_tree(snapshots, xml_child(val, "rootSnapshotList"), err);
}

static int snapshot_property(void *opaque, const struct moref *object, const char *name,
                             xmlNode *val, struct error **err)
{
    (void)object, (void)name;
    return snapshots_parse(val, opaque, err);
}

int snapshots_list(const struct snapshot_vm *vm, struct snapshots *snapshots, struct error **err)
{
    return session_properties(vm->session, &vm->ref, "snapshot", snapshot_property, snapshots,
                              err) < 0
               ? error_prefix(err, "reading the snapshots of VM %s", vm->name)
               : 0;
}

int snapshot_find(const struct snapshot_vm *vm, const char *name, struct moref *ref,
                  struct error **err)
{
    CLEANUP_SNAPSHOTS struct snapshots snapshots = { 0 };

    *ref = (struct moref){ 0 };
    if (snapshots_list(vm, &snapshots, err) < 0)
        return -1;
    for (size_t i = 0; i < snapshots.count; i++) {
        if (strcmp(snapshots.list[i].name, name) != 0)
            continue;
        if (ref->id[0])
            return error_set(err, "VM %s has two snapshots named '%s': remove them", vm->name,
                             name);
        *ref = snapshots.list[i].ref;
    }
    return 0;
}

static int run_task(const struct snapshot_vm *vm, const struct moref *self, const char *op,
                    const char *arguments, struct moref *result, struct error **err)
{
    char what[512];

    snprintf(what, sizeof what, "%s on VM %s", op, vm->name);
    return session_run_task(vm->session, self, op, arguments, what, vm->settings->task,
                            vm->settings->opaque, result, err);
}

/* *unknown: the answer was lost, and nobody knows whether it was done. */
static int remove_one(const struct snapshot_vm *vm, const struct moref *ref, bool *unknown,
                      struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;

    /* consolidate is newer than the rest, and comes last. */
    if (run_task(vm, ref, "RemoveSnapshot_Task",
                 "<removeChildren>false</removeChildren><consolidate>true</consolidate>", NULL,
                 &problem) == 0 ||
        strcmp(vm->session->fault, "ManagedObjectNotFound") == 0)
        return 0;
    *unknown = (!vm->session->fault[0] && problem->kind == ERROR_PAUSED) ||
               strcmp(vm->session->fault, "TaskInProgress") == 0;
    return error_move(err, &problem);
}

/* It may have been heard: then a task of it is running, and vSphere may have taken the snapshot
 * out of the list long before its files are merged. */
static int wait_for_merge(const struct snapshot_vm *vm, struct error **err)
{
    return pending_removals_wait(vm, err) < 0
               ? error_prefix(err, "waiting for a removal whose answer was lost")
               : 0;
}

/* What vSphere couldn't merge it takes out of the list all the same. */
static int remove_all(const struct snapshot_vm *vm, const char *name, bool *unknown,
                      struct error **err)
{
    CLEANUP_SNAPSHOTS struct snapshots before = { 0 };
    CLEANUP_SNAPSHOTS struct snapshots after = { 0 };
    CLEANUP_ERROR struct error *problem = NULL;

    *unknown = false;
    if (snapshots_list(vm, &before, err) < 0)
        return -1;
    for (size_t i = 0; i < before.count && !problem; i++) {
        if (strcmp(before.list[i].name, name) == 0 &&
            remove_one(vm, &before.list[i].ref, unknown, &problem) < 0)
            break;
    }
    if (*unknown && wait_for_merge(vm, err) < 0)
        return -1;
    if (before.count && snapshots_list(vm, &after, err) < 0)
        return problem ? (error_clear(err), error_move(err, &problem)) : -1;
    for (size_t i = 0; i < after.count; i++) {
        if (strcmp(after.list[i].name, name) == 0)
            return problem ? error_move(err, &problem)
                           : error_set(err, "vSphere says that it was removed, and still lists it");
    }
    if (problem && !*unknown)
        say_with(vm->settings,
                 "snapshot '%s' of VM %s is gone, but vSphere could not merge its files: "
                 "consolidate the VM's disks (%.300s)",
                 name, vm->name, error_message(problem));
    return 0;
}

/* A removal may be asked for twice, as it names one snapshot: when the first one was heard, the
 * second finds it gone, or another task in progress. */
static int remove_surely(const struct snapshot_vm *vm, const char *name, struct error **err)
{
    for (int tries = 1;; tries++) {
        CLEANUP_ERROR struct error *problem = NULL;
        bool unknown;

        if (remove_all(vm, name, &unknown, &problem) == 0)
            return 0;
        if (!unknown || tries == REMOVE_TRIES ||
            soap_pause(vm->session->soap, REMOVE_PAUSE_MS, err) < 0)
            return error_clear(err), error_move(err, &problem);
    }
}

int snapshot_remove(const struct snapshot_vm *vm, const char *name, struct error **err)
{
    bool was = session_ignore_cancel(vm->session, true);
    int r = remove_surely(vm, name, err);

    session_ignore_cancel(vm->session, was);
    return r < 0 ? error_prefix(err, "removing snapshot '%s' of VM %s", name, vm->name) : 0;
}

/* After a failure that *err holds: remove the snapshot, or say that it stands. Returns -1. */
static int put_in_order(const struct snapshot_vm *vm, const char *name, struct error **err)
{
    CLEANUP_ERROR struct error *failed = *err;
    CLEANUP_ERROR struct error *problem = NULL;

    *err = NULL;
    if (snapshot_remove(vm, name, &problem) == 0 && failed->kind != ERROR_PAUSED)
        return error_move(err, &failed);
    return error_set_kind(err, failed->kind,
                          "%s\nSnapshot '%s' of VM %s may stand: see that it is removed "
                          "(`vmferry recover`)%s%s",
                          error_message(failed), name, vm->name, problem ? ": " : "",
                          problem ? error_message(problem) : "");
}

static int start_create(const struct snapshot_vm *vm, const struct freeze_wishes *wishes,
                        bool quiesce, struct moref *snapshot, struct error **err)
{
    CLEANUP_XML_WRITER struct xml_writer arguments = { 0 };

    *snapshot = (struct moref){ 0 };
    xml_element(&arguments, "name", wishes->snapshot);
    if (wishes->description)
        xml_element(&arguments, "description", wishes->description);
    xml_element(&arguments, "memory", "false");
    xml_element(&arguments, "quiesce", quiesce ? "true" : "false");
    return xml_writer_check(&arguments, "the snapshot's name", err) < 0
               ? -1
               : run_task(vm, &vm->ref, "CreateSnapshot_Task", arguments.text, snapshot, err);
}

static bool is_quiesce_failure(const struct snapshot_vm *vm, const struct error *problem)
{
    static const char *const faults[] = { "ApplicationQuiesceFault", "FilesystemQuiesceFault",
                                          "ToolsUnavailable", "ToolsUpgradeInProgress" };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (strcmp(vm->session->fault, faults[i]) == 0)
            return true;
    }
    return vm->session->fault[0] && strcasestr(error_message(problem), "quiesc");
}

/* The quiesced one failed: another one without, when that is wished. */
static int fall_back(const struct snapshot_vm *vm, const struct freeze_wishes *wishes,
                     struct moref *snapshot, struct error **problem, struct error **err)
{
    if (wishes->quiesce != QUIESCE_AUTO || !is_quiesce_failure(vm, *problem))
        return error_move(err, problem);
    say_with(vm->settings,
             "the guest of VM %s could not be quiesced (%.400s): the snapshot is taken without, as "
             "after a power cut",
             vm->name, error_message(*problem));
    return snapshot_remove(vm, wishes->snapshot, err) < 0
               ? -1
               : start_create(vm, wishes, false, snapshot, err);
}

static int create(const struct snapshot_vm *vm, const struct freeze_wishes *wishes,
                  struct moref *snapshot, bool *quiesced, struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;

    *quiesced = wishes->quiesce != QUIESCE_NO;
    if (start_create(vm, wishes, *quiesced, snapshot, &problem) < 0) {
        if (!*quiesced)
            return error_move(err, &problem);
        *quiesced = false;
        if (fall_back(vm, wishes, snapshot, &problem, err) < 0)
            return -1;
    }
    if (snapshot->id[0])
        return 0;
    if (snapshot_find(vm, wishes->snapshot, snapshot, err) < 0)
        return -1;
    return snapshot->id[0]
               ? 0
               : error_set(err, "vSphere says that the snapshot was made, and doesn't list it");
}

int snapshot_create(const struct snapshot_vm *vm, const struct freeze_wishes *wishes,
                    struct moref *snapshot, bool *quiesced, struct error **err)
{
    if (create(vm, wishes, snapshot, quiesced, err) == 0)
        return 0;
    error_prefix(err, "snapshot '%s' of VM %s", wishes->snapshot, vm->name);
    return put_in_order(vm, wishes->snapshot, err);
}

struct found_devices {
    struct vsphere_devices *devices;
    bool found;
};

static int device_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                           struct error **err)
{
    struct found_devices *found = opaque;

    (void)object, (void)name;
    found->found = true;
    return devices_parse(val, found->devices, err);
}

int snapshot_devices(struct session *session, const struct moref *snapshot,
                     struct vsphere_devices *devices, struct error **err)
{
    struct found_devices found = { .devices = devices };

    if (session_properties(session, snapshot, "config.hardware.device", device_property, &found,
                           err) < 0)
        return error_prefix(err, "reading snapshot %s", snapshot->id);
    return found.found ? 0
                       : error_set(err, "snapshot %s shows no hardware: may this user read it?",
                                   snapshot->id);
}

int snapshot_change_ids(const struct vsphere_devices *devices, struct vm_spec *spec,
                        struct error **err)
{
    if (devices->disk_count != spec->disk_count)
        return error_set(err, "VM %s had %zu disks a moment ago, and its snapshot has %zu",
                         spec->name, spec->disk_count, devices->disk_count);
    for (size_t i = 0; i < spec->disk_count; i++) {
        struct spec_disk *disk = &spec->disks[i];
        const struct vsphere_disk *frozen = devices_disk(devices, disk->key);

        if (!frozen || strcmp(frozen->uuid, disk->backing_uuid) != 0 ||
            frozen->capacity != disk->capacity || frozen->unit != disk->unit)
            return error_set(err,
                             "disk-%d of VM %s is not the same in its snapshot: its disks were "
                             "changed a moment ago; start again",
                             disk->key, spec->name);
        strcpy(disk->change_id, frozen->change_id);
    }
    return 0;
}
