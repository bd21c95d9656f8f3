/* Choosing hardware; see hardware.h. */
#include "failover/hardware.h"

#include <string.h>

#define NAME_MOST 200

void hardware_choose(const struct vm_spec *spec, size_t disks, size_t nics,
                     struct hardware *hardware)
{
    bool many = disks > HARDWARE_MOST_BLK || disks + nics > HARDWARE_MOST_PCI;

    *hardware = (struct hardware){
        .vcpus = spec->cpus,
        .cores = spec->cores,
        .memory = spec->memory,
        .uefi = spec->uefi,
        .secure_boot = spec->uefi && spec->secure_boot,
        .tpm = spec->tpm,
        .windows = strcmp(spec->os, "windows") == 0,
        .video = "vga",
        .graphics = "none",
        .boot_key = -1,
    };
    strcpy(hardware->clock, hardware->windows ? "localtime" : "utc");
    strcpy(hardware->disk_bus, many ? "scsi" : "virtio");
}

int hardware_check(const struct hardware *hardware, struct error **err)
{
    static const char remedy[] = "run `vmferry source refresh` when its source answers, or say it "
                                 "in an override";

    if (!hardware->vcpus)
        return error_set(err, "it is not known how many CPUs the VM has; %s: vcpus = 2", remedy);
    if (hardware->memory < 1 << 20)
        return error_set(err, "it is not known how much memory the VM has; %s: memory = 2G",
                         remedy);
    if (hardware->cores && hardware->vcpus % hardware->cores)
        return error_set(err, "%u CPUs do not make whole sockets of %u cores", hardware->vcpus,
                         hardware->cores);
    return 0;
}

/* 0: not in the source's boot order. */
static int source_place(const struct vm_spec *spec, int key)
{
    const struct spec_disk *disk = spec_disk_by_key(spec, key);

    return disk ? disk->boot : 0;
}

void hardware_boot_order(const struct hardware *hardware, const struct vm_spec *spec,
                         const int *keys, size_t count, unsigned *order)
{
    bool any = false;

    for (size_t i = 0; i < count; i++) {
        int place = source_place(spec, keys[i]);

        order[i] = hardware->boot_key == keys[i] ? 1 : 0;
        if (hardware->boot_key >= 0 || !place)
            continue;
        order[i] = 1; /* places count without the disks that this point does not have */
        for (size_t j = 0; j < count; j++)
            order[i] += source_place(spec, keys[j]) && source_place(spec, keys[j]) < place;
        any = true;
    }
    if (!any && hardware->boot_key < 0 && count)
        order[0] = 1;
}

const char *hardware_nic_model(const struct hardware *hardware, const char *source_model)
{
    static const char *const known[] = { "e1000", "e1000e", "rtl8139", "vmxnet3", "pcnet" };

    if (hardware->nic_model[0])
        return hardware->nic_model;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(source_model, known[i]) == 0)
            return known[i];
    }
    return "virtio";
}

void hardware_domain_name(const char *vm_name, char name[SPEC_TEXT])
{
    size_t length = strlen(vm_name);

    if (length > NAME_MOST) {
        length = NAME_MOST;
        while (length && ((unsigned char)vm_name[length] & 0xc0) == 0x80)
            length--;
    }
    memcpy(name, vm_name, length);
    name[length] = '\0';
    for (char *p = name; *p; p++) {
        if (*p == '/' || (unsigned char)*p < ' ' || *p == 0x7f)
            *p = '-';
    }
    if (name[strspn(name, " ")] == '\0')
        strcpy(name, "unnamed");
}
