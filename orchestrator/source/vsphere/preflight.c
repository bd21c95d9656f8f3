/* Preflight of a VM; see preflight.h. */
#include "source/vsphere/preflight.h"

#include <string.h>
#include <strings.h>

#include "source/vsphere/privileges.h"

#define TRACKING_HARDWARE 7

static int ok(struct findings *findings, const char *check, const char *text)
{
    return findings_add(findings, FINDING_OK, check, NULL, "%s", text);
}

static int judge_state(const struct vm_facts *facts, struct findings *findings)
{
    const struct vsphere_vm *vm = &facts->vm;

    if (vm->is_template)
        return findings_add(findings, FINDING_BLOCKER, "state", "deploy a VM from it",
                            "it is a template");
    if (vm->connection[0] && strcmp(vm->connection, "connected") != 0)
        return findings_add(findings, FINDING_BLOCKER, "state", "reconnect its host",
                            "vSphere calls the VM '%s'", vm->connection);
    if (strcmp(vm->spec.inventory.power, "suspended") == 0)
        return findings_add(findings, FINDING_WARNING, "state", "resume it, or power it off",
                            "the VM is suspended: what its memory holds is not replicated");
    return findings_add(findings, FINDING_OK, "state", NULL, "the VM is powered %s",
                        vm->spec.inventory.power[0] ? vm->spec.inventory.power : "on or off");
}

/* "vmx-19" → 19; 0: not known. */
static unsigned hardware_version(const char *text)
{
    unsigned version = 0;

    return sscanf(text, "vmx-%3u", &version) == 1 ? version : 0;
}

static int judge_tracking(const struct vm_facts *facts, struct findings *findings)
{
    const struct spec_inventory *vm = &facts->vm.spec.inventory;
    unsigned version = hardware_version(vm->hardware);

    if (version && version < TRACKING_HARDWARE)
        return findings_add(findings, FINDING_WARNING, "change tracking",
                            "upgrade the VM's hardware (it has to be powered off for it)",
                            "hardware version %u has none, it came with %d: each sync compares "
                            "whole disks",
                            version, TRACKING_HARDWARE);
    if (facts->tracking_unsupported)
        return findings_add(findings, FINDING_WARNING, "change tracking",
                            "look at the storage and the version of its host",
                            "this VM does not support it: each sync compares whole disks");
    if (strcmp(vm->tracking, "on") == 0)
        return findings_add(findings, FINDING_OK, "change tracking", NULL, "on (%s)", vm->hardware);
    return findings_add(findings, FINDING_WARNING, "change tracking",
                        facts->snapshots.count
                            ? "remove the VM's snapshots, then `vmferry replicate --enable-cbt`"
                            : "`vmferry replicate --enable-cbt` turns it on",
                        "off: each sync compares whole disks");
}

static int judge_snapshots(const struct vm_facts *facts, struct findings *findings)
{
    const struct snapshots *snapshots = &facts->snapshots;
    const struct snapshot *first = snapshots->list;
    bool tracked = strcmp(facts->vm.spec.inventory.tracking, "on") == 0;
    bool ours = snapshots->count && strncmp(first->name, "vmferry-", 8) == 0;

    if (snapshots->count == 0)
        ok(findings, "snapshots", "none");
    else if (findings_add(findings, FINDING_WARNING, "snapshots",
                          ours ? "`vmferry recover` removes what a job left behind"
                               : "remove them where they are not needed",
                          "the VM has %zu, '%s'%s: disks with snapshots can only be read by the "
                          "vddk transport%s",
                          snapshots->count, first->name, snapshots->count > 1 ? " first" : "",
                          tracked ? "" : ", and change tracking can't be turned on") < 0)
        return -1;
    if (!facts->consolidation_needed)
        return 0;
    return findings_add(findings, FINDING_WARNING, "consolidation",
                        "Snapshots > Consolidate in the vSphere client",
                        "files of removed snapshots have not been merged yet");
}

/* Where each is from:
 * KB 2090639 (now article 310751): ESXi 4.x and 5.x answer wrongly about disks that were grown
 * past a multiple of 128 GiB while tracking was on; patched in 5.x, not in 4.x. vmferry
 * itself copies a grown disk anew, but can't know of growth before its first sync.
 * KB 2136854 (now article 317933): ESXi 6.0 loses changes made while a snapshot is
 * consolidated, which each sync does; fixed in ESXi600-201511001, build 3247720. */
#define BUILD_600_201511001 3247720UL

static int judge_host(const struct vm_facts *facts, struct findings *findings)
{
    unsigned major = 0, minor = 0;

    if (sscanf(facts->host_version, "%3u.%3u", &major, &minor) < 1)
        return findings_add(findings, FINDING_WARNING, "host",
                            "see that the user may read the VM's host",
                            "its version is not known: whether its change tracking has known "
                            "faults, neither");
    if (major < 6)
        return findings_add(findings, FINDING_WARNING, "host",
                            major < 5 ? "move the VM to a newer host"
                                      : "see that the host has the patch; for disks that were "
                                        "grown before, turn change tracking off and on again",
                            "%s: change tracking is wrong for disks that were grown past a "
                            "multiple of 128 GiB (VMware KB 2090639)",
                            facts->host_product);
    if (major == 6 && minor == 0 && facts->host_build < BUILD_600_201511001)
        return findings_add(findings, FINDING_BLOCKER, "host",
                            "install ESXi600-201511001 or later on the host, or move the VM; then "
                            "turn change tracking off and on again",
                            "%s: change tracking loses what is written while a snapshot is "
                            "removed (VMware KB 2136854)",
                            facts->host_product);
    return findings_add(findings, FINDING_OK, "host", NULL, "%s, %s", facts->host_name,
                        facts->host_product);
}

static void list_missing(privilege_mask granted, privilege_mask of, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < privilege_count && used < size; i++) {
        if ((of & 1u << i) && !(granted & 1u << i))
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
                                     privileges[i].name);
    }
}

static privilege_mask needed_for(enum privilege_need need)
{
    privilege_mask mask = 0;

    for (size_t i = 0; i < privilege_count; i++) {
        if (privileges[i].need == need)
            mask |= 1u << i;
    }
    return mask;
}

static int judge_need(const struct vm_facts *facts, enum privilege_need need,
                      enum finding_level level, const char *what, bool *complete,
                      struct findings *findings)
{
    char missing[360], remedy[512];

    list_missing(facts->granted, needed_for(need), missing, sizeof missing);
    if (!missing[0])
        return 0;
    *complete = false;
    snprintf(remedy, sizeof remedy, "grant on the VM: %s", missing);
    return findings_add(findings, level, "privileges", remedy, "%s: missing %s", what, missing);
}

static int judge_rights(const struct vm_facts *facts, enum preflight_reader reader,
                        struct findings *findings)
{
    bool tracked = strcmp(facts->vm.spec.inventory.tracking, "on") == 0;
    bool complete = true;

    if (!facts->rights_known)
        return findings_add(findings, FINDING_WARNING, "privileges",
                            "compare the user's role with the list in docs/vsphere.md",
                            "this user's privileges can't be read");
    if (judge_need(facts, NEED_ALWAYS, FINDING_BLOCKER, "replication is not possible", &complete,
                   findings) < 0)
        return -1;
    if (!tracked && judge_need(facts, NEED_TRACKING, FINDING_WARNING,
                               "change tracking can't be turned on", &complete, findings) < 0)
        return -1;
    if (reader != READER_FILES &&
        judge_need(facts, NEED_LIBRARY,
                   reader == READER_LIBRARY ? FINDING_BLOCKER : FINDING_WARNING,
                   "the vddk transport can't read", &complete, findings) < 0)
        return -1;
    if (judge_need(facts, NEED_FAILOVER, FINDING_WARNING,
                   "a live failover can't power the VM off and on", &complete, findings) < 0 ||
        judge_need(facts, NEED_RETIRE, FINDING_WARNING,
                   "a committed failover can't rename the VM and leave a note", &complete,
                   findings) < 0)
        return -1;
    return complete ? ok(findings, "privileges", "all that are needed on the VM") : 0;
}

static int judge_tools(const struct vm_facts *facts, struct findings *findings)
{
    const struct spec_inventory *vm = &facts->vm.spec.inventory;

    if (strcmp(vm->power, "on") != 0)
        return ok(findings, "tools", "the VM does not run: its snapshots are consistent");
    if (strcmp(vm->tools, "running") == 0)
        return ok(findings, "tools", "running: snapshots can be quiesced");
    return findings_add(findings, FINDING_WARNING, "tools",
                        strcmp(vm->tools, "not installed") == 0
                            ? "install VMware Tools (open-vm-tools) in the guest"
                            : "start VMware Tools (open-vm-tools) in the guest",
                        "%s: snapshots can't be quiesced, a replica is as after a power cut",
                        vm->tools[0] ? vm->tools : "not known");
}

static bool starts_with_any(const char *text, const char *const *starts)
{
    for (; *starts; starts++) {
        if (strncasecmp(text, *starts, strlen(*starts)) == 0)
            return true;
    }
    return false;
}

static int judge_guest(const struct vm_facts *facts, struct findings *findings)
{
    static const char *const linuxes[] = { "debian", "ubuntu",     "rhel",    "centos", "sles",
                                           "suse",   "opensuse",   "fedora",  "oracle", "rocky",
                                           "alma",   "asianux",    "amazon",  "coreos", "photon",
                                           "linux",  "otherlinux", "other2",  "other3", "other4",
                                           "other5", "other6",     "mandrak", NULL };
    static const char *const windows[] = { "win", NULL };
    const char *name = facts->vm.spec.inventory.guest;

    if (starts_with_any(facts->guest_id, windows))
        return findings_add(findings, FINDING_WARNING, "guest",
                            "install the virtio drivers (viostor, vioscsi, NetKVM) in it before",
                            "%s: the replica's disks are virtio", name);
    if (starts_with_any(facts->guest_id, linuxes))
        return ok(findings, "guest", name);
    return findings_add(findings, FINDING_WARNING, "guest",
                        "see that it has drivers for virtio disks and network cards",
                        "%s: nobody has tried whether it boots from virtio disks",
                        name[0] ? name : "of an unknown kind");
}

static int judge_machine(const struct vm_facts *facts, struct findings *findings)
{
    if (ok(findings, "firmware", facts->vm.spec.uefi ? "UEFI" : "BIOS") < 0)
        return -1;
    if (facts->secure_boot &&
        findings_add(findings, FINDING_WARNING, "secure boot", "expect it off in the replica",
                     "on: the replica boots with fresh UEFI variables, without Secure Boot") < 0)
        return -1;
    if (facts->vm.devices.tpm &&
        findings_add(findings, FINDING_WARNING, "vtpm",
                     "have the recovery key of encrypted volumes (BitLocker, LUKS) at hand",
                     "the VM has a virtual TPM: what is sealed in it stays behind") < 0)
        return -1;
    if (facts->vm.devices.passthrough &&
        findings_add(findings, FINDING_WARNING, "passthrough",
                     "remove it, or power the VM off for each sync",
                     "the VM uses a PCI device of its host: it can't have snapshots while it runs, "
                     "and the replica has no such device") < 0)
        return -1;
    return 0;
}

static int judge_nics(const struct vm_facts *facts, struct findings *findings)
{
    static const char *const kept[] = { "vmxnet3", "e1000", "e1000e" };

    for (size_t i = 0; i < facts->vm.devices.nic_count; i++) {
        const struct vsphere_nic *nic = &facts->vm.devices.nics[i];
        const char *network = nic->network[0] ? nic->network : nic->portgroup;
        bool same = false;
        char check[48];

        for (size_t k = 0; k < sizeof kept / sizeof kept[0]; k++)
            same = same || strcmp(nic->model, kept[k]) == 0;
        snprintf(check, sizeof check, "nic-%d", nic->key);
        if (findings_add(findings, same ? FINDING_OK : FINDING_WARNING, check,
                         same ? NULL : "see that the guest has the driver of virtio network cards",
                         same ? "%s on %s" : "%s on %s: the replica gets a virtio card", nic->model,
                         network[0] ? network : "no network") < 0)
            return -1;
    }
    return 0;
}

static int judge_datastore(const struct datastore_facts *datastore, enum preflight_reader reader,
                           struct findings *findings)
{
    char check[48], missing[360], remedy[512];
    const char *name = datastore->name[0] ? datastore->name : datastore->ref.id;

    snprintf(check, sizeof check, "datastore %.30s", name);
    if (!datastore->is_known)
        return findings_add(findings, FINDING_WARNING, check, "grant System.Read on it",
                            "this user can't see the datastore");
    if (!datastore->accessible)
        return findings_add(findings, FINDING_BLOCKER, check, "mend the storage first",
                            "vSphere can't reach the datastore");
    if (datastore->maintenance[0] && strcmp(datastore->maintenance, "normal") != 0)
        return findings_add(findings, FINDING_WARNING, check, "end its maintenance",
                            "it is in maintenance mode: a snapshot may not be possible");
    list_missing(datastore->granted, needed_for(NEED_FILES), missing, sizeof missing);
    if (reader == READER_LIBRARY || !datastore->rights_known || !missing[0])
        return ok(findings, check, "accessible");
    snprintf(remedy, sizeof remedy, "grant on the datastore: %s", missing);
    return findings_add(findings, FINDING_WARNING, check, remedy,
                        "the https transport may be refused: missing %s", missing);
}

int preflight_judge(const struct vm_facts *facts, enum preflight_reader reader,
                    struct findings *findings)
{
    if (judge_state(facts, findings) < 0 || judge_tracking(facts, findings) < 0 ||
        judge_snapshots(facts, findings) < 0 || preflight_disks(facts, reader, findings) < 0 ||
        judge_host(facts, findings) < 0 || judge_rights(facts, reader, findings) < 0 ||
        judge_tools(facts, findings) < 0 || judge_guest(facts, findings) < 0 ||
        judge_machine(facts, findings) < 0 || judge_nics(facts, findings) < 0)
        return -1;
    for (size_t i = 0; i < facts->datastore_count; i++) {
        if (judge_datastore(&facts->datastores[i], reader, findings) < 0)
            return -1;
    }
    return 0;
}

int preflight_vm(struct session *session, const struct moref *ref, enum preflight_reader reader,
                 struct findings *findings, struct error **err)
{
    CLEANUP_FACTS struct vm_facts facts = { 0 };

    if (facts_gather(session, ref, &facts, err) < 0)
        return error_prefix(err, "preflight of %s", ref->id);
    return preflight_judge(&facts, reader, findings) < 0
               ? error_set_errno(err, ENOMEM, "preflight of %s", ref->id)
               : 0;
}
