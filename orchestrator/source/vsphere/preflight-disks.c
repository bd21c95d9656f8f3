/* Preflight, disk by disk; see preflight.h. */
#include <string.h>

#include "source/vsphere/preflight.h"

struct judging {
    struct findings *findings;
    enum preflight_reader reader;
    const struct vsphere_disk *disk;
    char check[48];
    bool fine; /* nothing was found yet */
    bool blocked;
};

static int found(struct judging *judging, enum finding_level level, const char *remedy,
                 const char *text)
{
    judging->fine = false;
    judging->blocked = judging->blocked || level == FINDING_BLOCKER;
    return findings_add(judging->findings, level, judging->check, remedy, "%s", text);
}

/* A blocker for those who read files, nothing for VMware's library. */
static int only_library(struct judging *judging, const char *text)
{
    enum finding_level level = judging->reader == READER_FILES ? FINDING_BLOCKER : FINDING_WARNING;

    if (judging->reader == READER_LIBRARY)
        return 0;
    return found(judging, level, "use the vddk transport", text);
}

static int judge_identity(struct judging *judging, const struct vsphere_devices *devices)
{
    const struct vsphere_disk *disk = judging->disk;

    if (!disk->uuid[0])
        return found(judging, FINDING_BLOCKER, "clone the disk (vmkfstools -i), which gives it one",
                     "has no uuid: it can't be told from another one");
    for (const struct vsphere_disk *other = devices->disks; other < disk; other++) {
        if (strcmp(other->uuid, disk->uuid) == 0)
            return found(judging, FINDING_BLOCKER,
                         "give one of them a new uuid (vmkfstools -J setuuid)",
                         "has the uuid of another disk of this VM: a copied file");
    }
    if (disk->capacity == 0 || disk->capacity % 512)
        return found(judging, FINDING_BLOCKER, "look at the VM's settings",
                     "has no size in whole sectors");
    return 0;
}

static int judge_mode(struct judging *judging)
{
    const struct vsphere_disk *disk = judging->disk;

    if (disk->backing == BACKING_MAPPING && disk->physical)
        return found(judging, FINDING_BLOCKER,
                     "turn it into a virtual-mode RDM or a virtual disk, or copy it by other means",
                     "is a physical-mode RDM: no snapshot holds it");
    if (disk->backing == BACKING_RAW)
        return found(judging, FINDING_BLOCKER, "move its data to a virtual disk",
                     "is a raw device: no snapshot holds it");
    if (disk_is_independent(disk))
        return found(judging, FINDING_BLOCKER,
                     "power the VM off and make the disk dependent, or copy it by other means",
                     "is independent: no snapshot holds it");
    if (disk->mode[0] && strcmp(disk->mode, "persistent") != 0)
        return found(judging, FINDING_WARNING, "make the disk persistent",
                     "forgets what is written to it when the VM is powered off");
    return 0;
}

static int judge_sharing(struct judging *judging)
{
    if (judging->disk->multi_writer)
        return found(judging, FINDING_BLOCKER,
                     "set its sharing to none, or copy it by the means of the cluster that uses it",
                     "is multi-writer: other VMs may write to it, and it can't be in a snapshot");
    if (judging->disk->shared_bus)
        return found(
            judging, FINDING_BLOCKER,
            "move it to a controller without bus sharing, or copy it by other means",
            "is on a shared bus: other VMs may write to it, and it can't be in a snapshot");
    return 0;
}

/* Deltas of ours go when their job is put in order. */
static unsigned own_snapshots(const struct vm_facts *facts)
{
    unsigned count = 0;

    for (size_t i = 0; i < facts->snapshots.count; i++)
        count += strncmp(facts->snapshots.list[i].name, "vmferry-", 8) == 0;
    return count;
}

static int judge_backing(const struct vm_facts *facts, struct judging *judging)
{
    const struct vsphere_disk *disk = judging->disk;

    if (disk->encrypted) {
        if (judging->reader == READER_LIBRARY)
            return found(judging, FINDING_WARNING,
                         "grant Cryptographer.Access and let vddk use nbdssl",
                         "is encrypted by vSphere; its replica will not be");
        return only_library(judging, "is encrypted by vSphere: its files hold no readable data");
    }
    if (disk->backing == BACKING_MAPPING) {
        if (found(judging, FINDING_WARNING, "see that the target has room for the whole LUN",
                  "is a virtual-mode RDM: its replica will be an ordinary volume") < 0)
            return -1;
        return only_library(judging, "is a virtual-mode RDM: its data is in no flat file");
    }
    if (disk->backing != BACKING_FLAT)
        return only_library(judging, "is of a format that has no flat file");
    if (disk->parents > own_snapshots(facts))
        return only_library(judging, "stands on a chain of delta files (the VM has snapshots): its "
                                     "data is in no flat file");
    return 0;
}

static int judge_disk(const struct vm_facts *facts, struct judging *judging)
{
    const struct vsphere_disk *disk = judging->disk;

    if (judge_identity(judging, &facts->vm.devices) < 0 || judge_mode(judging) < 0 ||
        judge_sharing(judging) < 0 || (!judging->blocked && judge_backing(facts, judging) < 0))
        return -1;
    if (!judging->fine)
        return 0;
    return findings_add(judging->findings, FINDING_OK, judging->check, NULL, "%s, %s, %s",
                        disk->address[0] ? disk->address : disk->label,
                        disk->mode[0] ? disk->mode : "persistent", disk->file);
}

int preflight_disks(const struct vm_facts *facts, enum preflight_reader reader,
                    struct findings *findings)
{
    const struct vsphere_devices *devices = &facts->vm.devices;

    if (devices->disk_count == 0)
        return findings_add(findings, FINDING_BLOCKER, "disks", "there is nothing to replicate",
                            "the VM has no disk");
    for (size_t i = 0; i < devices->disk_count; i++) {
        struct judging judging = {
            .findings = findings, .reader = reader, .disk = &devices->disks[i], .fine = true
        };

        snprintf(judging.check, sizeof judging.check, "disk-%d", devices->disks[i].key);
        if (judge_disk(facts, &judging) < 0)
            return -1;
    }
    return 0;
}
