/* What vmferry knows of Windows and its virtio disks. */
#ifndef VMFERRY_CONVERT_WINDOWS_H
#define VMFERRY_CONVERT_WINDOWS_H

#include "convert/registry.h"

/* The driver of disks on one bus. */
struct windows_disk {
    const char *name;       /* of driver, service, and files */
    const char *devices[2]; /* PCI names: transitional, modern */
};

const struct windows_disk *windows_disk_of(const char *bus);

#define WINDOWS_NAMES 12

struct windows_version {
    bool has_database;                /* 8 and later: drivers are in DriverDatabase */
    const char *machine;              /* as virtio-win names it: amd64, x86, ARM64 */
    const char *names[WINDOWS_NAMES]; /* as virtio-win names it, the best first; NULL ends them */
    char text[64];
};

/* By the hives SYSTEM and SOFTWARE. */
void windows_version_of(const struct hive *system, const struct hive *software,
                        struct windows_version *version);

/* The driver of disks `disk` is started at boot, and bound to its devices. The file of the
 * driver is there. */
int windows_add_disk(struct hive *system, const struct windows_disk *disk,
                     const struct windows_version *version, struct error **err);

/* The control set that is booted, as it is named in the SYSTEM hive: ControlSet001. */
void windows_control_set(const struct hive *hive, char set[32]);

#endif
