/* What an NTFS volume says; see look.h. Windows is ready when the driver of its new disks
 * starts at boot, is there, and is bound to the device. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "convert/look.h"
#include "convert/ntfs.h"
#include "convert/registry.h"
#include "convert/windows.h"

static bool has_file(const struct guest_files *files, const struct volume *volume, const char *path)
{
    char spelled[PATH_MAX];

    return files_spell(files, volume, path, spelled);
}

/* Windows ≤ 7 and ≥ 8 know devices in different places. */
static bool is_bound(const struct hive *hive, const char *set, const struct windows_disk *disk)
{
    char key[256];

    for (size_t i = 0; i < 2; i++) {
        snprintf(key, sizeof key, "%s\\Control\\CriticalDeviceDatabase\\pci#%s", set,
                 disk->devices[i]);
        if (hive_find(hive, key))
            return true;
        snprintf(key, sizeof key, "DriverDatabase\\DeviceIds\\PCI\\%s", disk->devices[i]);
        if (hive_find(hive, key))
            return true;
    }
    return false;
}

static void check_driver(const struct guest_files *files, const struct volume *volume,
                         const char *hive_path, const char *bus, struct look *look)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_HIVE struct hive hive = { 0 };
    const struct windows_disk *disk = windows_disk_of(bus);
    char set[32], key[128], driver[128];
    uint32_t start = 0;

    if (hive_load(hive_path, false, &hive, &err) < 0) {
        look_add(look, LOOK_UNKNOWN, "its registry can't be read: %s", error_message(err));
        return;
    }
    windows_control_set(&hive, set);
    snprintf(key, sizeof key, "%s\\Services\\%s", set, disk->name);
    snprintf(driver, sizeof driver, "Windows/System32/drivers/%s.sys", disk->name);
    if (!hive_get_dword(&hive, key, "Start", &start))
        look_add(look, LOOK_NEEDED, "Windows has no driver %s", disk->name);
    else if (start != 0)
        look_add(look, LOOK_NEEDED, "Windows does not start its driver %s at boot", disk->name);
    else if (!has_file(files, volume, driver))
        look_add(look, LOOK_NEEDED, "Windows has no file %s.sys", disk->name);
    else if (!is_bound(&hive, set, disk))
        look_add(look, LOOK_NEEDED, "Windows does not know that %s drives its disks", disk->name);
}

/* What would be lost, or refuses to be written. */
static int check_state(const struct guest_files *files, const struct volume *volume,
                       struct look *look, struct error **err)
{
    char path[PATH_MAX], head[16];
    bool dirty;

    if (files_spell(files, volume, "hiberfil.sys", path) &&
        files_head(files, volume, path, head, sizeof head) && (strncasecmp(head, "hibr", 4) == 0))
        strcpy(
            look->blocker,
            "Windows is hibernated, or was shut down with fast startup: what it wrote last is in "
            "hiberfil.sys. In the guest, run `powercfg /h off`, shut it down or restart it, and "
            "replicate again");
    if (volume->disk < 0 || look->blocker[0])
        return 0;
    if (ntfs_is_dirty(files->views[volume->disk], volume->start, &dirty, err) < 0)
        return -1;
    if (dirty)
        strcpy(look->blocker,
               "the NTFS volume of Windows is marked dirty: it wants to be checked. In the guest, "
               "run `chkdsk C: /f`, restart it, and replicate again");
    return 0;
}

int look_windows(const struct guest_files *files, const struct volume *volume, const char *bus,
                 struct look *look, struct error **err)
{
    char path[PATH_MAX], local[PATH_MAX];

    if (!files_spell(files, volume, "Windows/System32/config/SYSTEM", path))
        return 0;
    strcpy(look->os, "windows");
    look->root = *volume;
    if (!files_take(files, volume, path, local)) {
        look_add(look, LOOK_UNKNOWN, "its registry can't be read cheaply");
    } else {
        check_driver(files, volume, local, bus, look);
        unlink(local);
    }
    return look->answer == LOOK_READY ? 0 : check_state(files, volume, look, err);
}
