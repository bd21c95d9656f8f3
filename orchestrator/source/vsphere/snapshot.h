/* Snapshots of one VM: made, found by name, looked into, removed; and change tracking, which
 * only begins with one. Whatever fails here leaves no snapshot behind without naming it. */
#ifndef VMFERRY_VSPHERE_SNAPSHOT_H
#define VMFERRY_VSPHERE_SNAPSHOT_H

#include "source/source.h"
#include "source/vsphere/device.h"
#include "source/vsphere/session.h"

/* Of which VM all of these speak. */
struct snapshot_vm {
    struct session *session;
    const struct source_settings *settings; /* whom to tell: say, task */
    struct moref ref;
    const char *name;
};

struct snapshot {
    struct moref ref;
    char name[SOURCE_SNAPSHOT];
};
struct snapshots {
    struct snapshot *list; /* parents before their children */
    size_t count;
};
void snapshots_free(struct snapshots *snapshots);
#define CLEANUP_SNAPSHOTS CLEANUP(snapshots_free)

/* All of the VM's. *snapshots is empty before. */
int snapshots_list(const struct snapshot_vm *vm, struct snapshots *snapshots, struct error **err);
/* The value of the property "snapshot". */
int snapshots_parse(const xmlNode *val, struct snapshots *snapshots, struct error **err);

/* One of all disks, without memory. *quiesced: the guest's file systems were made quiet. */
int snapshot_create(const struct snapshot_vm *vm, const struct freeze_wishes *wishes,
                    struct moref *snapshot, bool *quiesced, struct error **err);
/* Its moref; ref->id is "" when there is none of this name, an error when there are two. */
int snapshot_find(const struct snapshot_vm *vm, const char *name, struct moref *ref,
                  struct error **err);
/* All of this name, and wait until they are gone. 0 also when there is none. A cancel is not
 * looked at: what was begun is put in order. */
int snapshot_remove(const struct snapshot_vm *vm, const char *name, struct error **err);

/* The hardware as it was, with the disks' change ids and the chains below them. */
int snapshot_devices(struct session *session, const struct moref *snapshot,
                     struct vsphere_devices *devices, struct error **err);
/* Take the change ids into a spec that was read before: the same disks, or an error. */
int snapshot_change_ids(const struct vsphere_devices *devices, struct vm_spec *spec,
                        struct error **err);

/* Turn change tracking on, and see a change id of every disk that snapshots hold. `name` is that
 * of the snapshots that it takes. Refused while the VM has snapshots: its answers could be
 * wrong without an error. */
int snapshot_enable_tracking(const struct snapshot_vm *vm, const char *name, struct error **err);

#endif
