/* What a Linux file system says; see look.h. A system is ready when each initramfs that may be
 * booted has the drivers, and when it does not name its disks as sda. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "convert/diskname.h"
#include "convert/initramfs.h"
#include "convert/look.h"

bool look_is_initramfs(const char *name)
{
    static const char *const others[] = { "kdump", "rescue", "fallback", ".old",    ".bak",
                                          "~",     "/",      ".dpkg-",   ".pre-v2v" };

    if (strncmp(name, "initrd", 6) != 0 && strncmp(name, "initramfs", 9) != 0)
        return false;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strstr(name, others[i]))
            return false;
    }
    return true;
}

void look_version(const char *name, char version[LOOK_VERSION])
{
    const char *dash = strchr(name, '-');
    size_t length;

    snprintf(version, LOOK_VERSION, "%s", dash ? dash + 1 : "");
    length = strlen(version);
    if (length > 4 && strcmp(version + length - 4, ".img") == 0)
        version[length - 4] = '\0';
}

/* What is built into that kernel, by the modules of whichever volume has them. */
static void add_builtin(const struct guest_files *files, const char *version,
                        struct initramfs_drivers *drivers)
{
    for (size_t i = 0; *version && i < files->count; i++) {
        CLEANUP_FCLOSE FILE *file = NULL;
        char path[LOOK_VERSION + 64];

        if (!files->volumes[i].type[0] || strcmp(files->volumes[i].type, "fat") == 0)
            continue;
        snprintf(path, sizeof path, "/lib/modules/%s/modules.builtin", version);
        file = files_open_file(files, &files->volumes[i], path);
        if (file)
            initramfs_scan_builtin(file, drivers);
    }
}

static void check_initramfs(const struct guest_files *files, const struct volume *volume,
                            const char *directory, const char *name, const char *bus,
                            struct look *look)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FCLOSE FILE *file = NULL;
    struct initramfs_drivers drivers = { 0 };
    char path[512], version[LOOK_VERSION];

    snprintf(path, sizeof path, "%s%s", directory, name);
    file = files_open_file(files, volume, path);
    if (!file || initramfs_scan(file, &drivers, &err) < 0) {
        look_add(look, LOOK_UNKNOWN, "%s can't be read cheaply%s%s", path, err ? ": " : "",
                 err ? error_message(err) : "");
        return;
    }
    look_version(name, version);
    if (!initramfs_can(&drivers, bus))
        add_builtin(files, version, &drivers);
    if (!initramfs_can(&drivers, bus))
        look_add(look, LOOK_NEEDED, "%s has no %s driver", path,
                 !drivers.pci               ? "virtio_pci"
                 : strcmp(bus, "scsi") == 0 ? "virtio_scsi"
                                            : "virtio_blk");
}

/* Returns whether there was one in `directory`. */
static int check_directory(const struct guest_files *files, const struct volume *volume,
                           const char *directory, const char *bus, struct look *look,
                           struct error **err)
{
    CLEANUP_NAMES char **names = NULL;
    int found = 0;

    if (files_list(files, volume, directory, &names, err) < 0)
        return -1;
    for (char **name = names; *name; name++) {
        if (!look_is_initramfs(*name))
            continue;
        found = 1;
        strcpy(look->os, "linux");
        look->boot = *volume;
        snprintf(look->boot_directory, sizeof look->boot_directory, "%s", directory);
        check_initramfs(files, volume, directory, *name, bus, look);
    }
    return found;
}

/* The mounts of an fstab. */
static void check_fstab(FILE *file, struct look *look)
{
    char line[1024];

    while (fgets(line, sizeof line, file)) {
        char *device = line + strspn(line, " \t");

        device[strcspn(device, " \t\n")] = '\0';
        if (*device != '#' && diskname_find(device))
            look_add(look, LOOK_NEEDED, "its fstab names %s, which is another one on virtio",
                     device);
    }
}

/* The root device on a boot loader's command lines. */
static void check_loader(FILE *file, struct look *look)
{
    CLEANUP_FREE char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, file) >= 0) {
        char *root = line;

        while (line[strspn(line, " \t")] != '#' && (root = strstr(root, "root=/dev/")) != NULL) {
            root += 5;
            if (diskname_find(root) == root && strcspn(root, " \t\n\"'") < 32)
                look_add(look, LOOK_NEEDED,
                         "its boot loader names %.*s, which is another one on virtio",
                         (int)strcspn(root, " \t\n\"'"), root);
        }
    }
}

static void check_names(const struct guest_files *files, const struct volume *volume,
                        struct look *look)
{
    static const char *const loaders[] = { "/boot/grub/grub.cfg",         "/grub/grub.cfg",
                                           "/boot/grub2/grub.cfg",        "/grub2/grub.cfg",
                                           "/boot/grub2/grubenv",         "/grub2/grubenv",
                                           "/boot/extlinux/extlinux.conf" };
    CLEANUP_FCLOSE FILE *fstab = files_open_file(files, volume, "/etc/fstab");

    if (fstab)
        check_fstab(fstab, look);
    for (size_t i = 0; i < sizeof loaders / sizeof loaders[0]; i++) {
        CLEANUP_FCLOSE FILE *loader = files_open_file(files, volume, loaders[i]);

        if (loader)
            check_loader(loader, look);
    }
}

/* The volume with the system's configuration. */
static int find_root(const struct guest_files *files, const struct volume *volume,
                     struct look *look, struct error **err)
{
    CLEANUP_NAMES char **names = NULL;

    if (files_list(files, volume, "/etc/", &names, err) < 0)
        return -1;
    for (char **name = names; *name; name++) {
        if (strcmp(*name, "fstab") == 0 || strcmp(*name, "os-release") == 0) {
            look->root = *volume;
            strcpy(look->os, "linux");
        }
    }
    return 0;
}

int look_linux(const struct guest_files *files, const struct volume *volume, const char *bus,
               struct look *look, struct error **err)
{
    static const char *const directories[] = { "/boot/", "/", "/@/boot/" };
    int found = 0;

    for (size_t i = 0; found == 0 && i < sizeof directories / sizeof directories[0]; i++)
        found = check_directory(files, volume, directories[i], bus, look, err);
    if (found < 0 || find_root(files, volume, look, err) < 0)
        return -1;
    /* On virtio-scsi the names stay. */
    if (strcmp(bus, "scsi") != 0)
        check_names(files, volume, look);
    return 0;
}
