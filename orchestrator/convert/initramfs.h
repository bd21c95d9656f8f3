/* What drivers an initramfs has. What comes in is the file as the boot loader reads it:
 * cpio archives, one behind the other, plain or compressed. Only reads. */
#ifndef VMFERRY_CONVERT_INITRAMFS_H
#define VMFERRY_CONVERT_INITRAMFS_H

#include <stdbool.h>
#include <stdio.h>

#include "error.h"

struct initramfs_drivers {
    bool pci, blk, scsi; /* virtio_pci, virtio_blk, virtio_scsi: as module, or built in */
    size_t files;        /* that were seen */
};

/* Adds what is found to *drivers. An error: it is no initramfs that can be read. */
int initramfs_scan(FILE *file, struct initramfs_drivers *drivers, struct error **err);

/* The same for a modules.builtin of the kernel's. */
void initramfs_scan_builtin(FILE *file, struct initramfs_drivers *drivers);

/* Disks on this bus (virtio, scsi) can be found with them. */
bool initramfs_can(const struct initramfs_drivers *drivers, const char *bus);

#endif
