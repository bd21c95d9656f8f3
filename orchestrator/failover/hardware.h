/* What a domain is made of. What comes in is a VM's spec; what goes out are choices, each
 * of which an operator's override may change before the domain's XML is made of them. */
#ifndef VMFERRY_FAILOVER_HARDWARE_H
#define VMFERRY_FAILOVER_HARDWARE_H

#include "source/spec.h"

#define HARDWARE_WORD 64

/* More virtio-blk disks than this, or more PCI devices in all, and the disks go to
 * virtio-scsi controllers: each virtio-blk disk takes a PCI port of its own. */
#define HARDWARE_MOST_BLK 24
#define HARDWARE_MOST_PCI 32

struct hardware {
    char name[SPEC_TEXT]; /* the domain's; "": the caller's */
    unsigned vcpus;
    unsigned cores;  /* of one socket; 0: all of them in one */
    uint64_t memory; /* bytes */
    bool uefi, secure_boot, tpm;
    char cpu[HARDWARE_WORD];       /* mode or model; "": what suits the virt type */
    char clock[HARDWARE_WORD];     /* utc, localtime: what the hardware clock shows */
    bool windows;                  /* with the timers that it wants */
    char disk_bus[HARDWARE_WORD];  /* virtio, scsi, sata */
    char nic_model[HARDWARE_WORD]; /* of all NICs; "": each as the source's */
    char video[HARDWARE_WORD];
    char graphics[HARDWARE_WORD]; /* none, vnc */
    int boot_key;                 /* only this disk boots; -1: by the source's boot order */
};

/* `disks` and `nics` are how many the domain will have. */
void hardware_choose(const struct vm_spec *spec, size_t disks, size_t nics,
                     struct hardware *hardware);

/* CPUs and memory are known, and fit each other. */
int hardware_check(const struct hardware *hardware, struct error **err);

/* Each disk's place in the boot order, 0: it does not boot. `keys` are the domain's disks in
 * unit order: the source's order where it has one of them, else the first one alone. */
void hardware_boot_order(const struct hardware *hardware, const struct vm_spec *spec,
                         const int *keys, size_t count, unsigned *order);

/* The source's model where QEMU has it, else virtio. Static storage, or the override's. */
const char *hardware_nic_model(const struct hardware *hardware, const char *source_model);

/* A domain name of a VM's: libvirt takes no '/', and QEMU and files want no more than 200
 * bytes; UTF-8 stays whole. */
void hardware_domain_name(const char *vm_name, char name[SPEC_TEXT]);

#endif
