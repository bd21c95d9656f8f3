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

/* What is built into that kernel, by the modules of whichever volume has them; on `volume` they
 * are below `base`. */
static void add_builtin(const struct guest_files *files, const struct volume *volume,
                        const char *base, const char *version, struct initramfs_drivers *drivers)
{
    for (size_t i = 0; *version && i < files->count; i++) {
        CLEANUP_FCLOSE FILE *file = NULL;
        char path[LOOK_VERSION + LOOK_DIRECTORY + 64];

        if (!files->volumes[i].type[0] || strcmp(files->volumes[i].type, "fat") == 0)
            continue;
        snprintf(path, sizeof path, "%s/lib/modules/%s/modules.builtin",
                 strcmp(files->volumes[i].name, volume->name) == 0 ? base : "", version);
        file = files_open_file(files, &files->volumes[i], path);
        if (file)
            initramfs_scan_builtin(file, drivers);
    }
}

/* Returns whether it is one: a link that leads to another volume, as /initrd.img does where /boot
 * is one of its own, is none. */
static bool check_initramfs(const struct guest_files *files, const struct volume *volume,
                            const char *base, const char *directory, const char *name,
                            const char *bus, struct look *look)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FCLOSE FILE *file = NULL;
    struct initramfs_drivers drivers = { 0 };
    char path[512], version[LOOK_VERSION];

    snprintf(path, sizeof path, "%s%s", directory, name);
    file = files_open_file(files, volume, path);
    look_version(name, version);
    if (!file && !version[0])
        return false;
    if (!file || initramfs_scan(file, &drivers, &err) < 0) {
        look_add(look, LOOK_UNKNOWN, "%s can't be read cheaply%s%s", path, err ? ": " : "",
                 err ? error_message(err) : "");
        return true;
    }
    if (!initramfs_can(&drivers, bus))
        add_builtin(files, volume, base, version, &drivers);
    if (!initramfs_can(&drivers, bus))
        look_add(look, LOOK_NEEDED, "%s has no %s driver", path,
                 !drivers.pci               ? "virtio_pci"
                 : strcmp(bus, "scsi") == 0 ? "virtio_scsi"
                                            : "virtio_blk");
    return true;
}

/* Returns whether there was one in `directory`. Of several systems the first one counts: it is what
 * the machine boots. */
static int check_directory(const struct guest_files *files, const struct volume *volume,
                           const char *base, const char *directory, const char *bus,
                           struct look *look, struct error **err)
{
    CLEANUP_NAMES char **names = NULL;
    int found = 0;

    if (files_list(files, volume, directory, &names, err) < 0)
        return -1;
    for (char **name = names; *name; name++) {
        if (!look_is_initramfs(*name) ||
            !check_initramfs(files, volume, base, directory, *name, bus, look))
            continue;
        found = 1;
        strcpy(look->os, "linux");
        if (look->boot.name[0])
            continue;
        look->boot = *volume;
        snprintf(look->boot_directory, sizeof look->boot_directory, "%s", directory);
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
                        const char *base, struct look *look)
{
    static const char *const loaders[] = { "/boot/grub/grub.cfg",         "/grub/grub.cfg",
                                           "/boot/grub2/grub.cfg",        "/grub2/grub.cfg",
                                           "/boot/grub2/grubenv",         "/grub2/grubenv",
                                           "/boot/extlinux/extlinux.conf" };
    char path[LOOK_DIRECTORY + 64];
    CLEANUP_FCLOSE FILE *fstab = NULL;

    snprintf(path, sizeof path, "%s/etc/fstab", base);
    fstab = files_open_file(files, volume, path);
    if (fstab)
        check_fstab(fstab, look);
    for (size_t i = 0; i < sizeof loaders / sizeof loaders[0]; i++) {
        CLEANUP_FCLOSE FILE *loader = NULL;

        snprintf(path, sizeof path, "%s%s", base, loaders[i]);
        loader = files_open_file(files, volume, path);
        if (loader)
            check_loader(loader, look);
    }
}

/* Whether the system's configuration is there. */
static int find_root(const struct guest_files *files, const struct volume *volume, const char *base,
                     struct look *look, struct error **err)
{
    CLEANUP_NAMES char **names = NULL;
    char path[LOOK_DIRECTORY + 8];
    int found = 0;

    snprintf(path, sizeof path, "%s/etc/", base);
    if (files_list(files, volume, path, &names, err) < 0)
        return -1;
    for (char **name = names; *name; name++)
        found |= strcmp(*name, "fstab") == 0 || strcmp(*name, "os-release") == 0;
    if (found && !look->root.name[0]) {
        look->root = *volume;
        strcpy(look->root_directory, base);
        strcpy(look->os, "linux");
    }
    return found;
}

/* A system whose root is the directory `base` of the volume, or its /boot. 1: it is there. */
static int look_at(const struct guest_files *files, const struct volume *volume, const char *base,
                   const char *bus, struct look *look, struct error **err)
{
    char directory[LOOK_DIRECTORY + 8];
    int found, root;

    snprintf(directory, sizeof directory, "%s/boot/", base);
    found = check_directory(files, volume, base, directory, bus, look, err);
    if (found == 0 && !*base)
        found = check_directory(files, volume, base, "/", bus, look, err);
    if (found < 0 || (root = find_root(files, volume, base, look, err)) < 0)
        return -1;
    /* On virtio-scsi the names stay. */
    if (strcmp(bus, "scsi") != 0)
        check_names(files, volume, base, look);
    return found || root;
}

/* Its name becomes an option of a mount. */
static bool is_plain(const char *name)
{
    return *name != '.' && name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789@._-")] == '\0';
}

/* The system's root is often a subvolume: @, @rootfs, root. Deeper ones, of snapshots, are not
 * looked for. */
static int look_at_subvolumes(const struct guest_files *files, const struct volume *volume,
                              const char *bus, struct look *look, struct error **err)
{
    CLEANUP_NAMES char **names = NULL;
    int found = 0;

    if (files_list(files, volume, "/", &names, err) < 0)
        return -1;
    for (char **name = names; found == 0 && *name; name++) {
        size_t length = strlen(*name);
        char base[LOOK_DIRECTORY];

        if (length < 2 || length > LOOK_DIRECTORY - 16 || (*name)[length - 1] != '/')
            continue;
        snprintf(base, sizeof base, "/%.*s", (int)length - 1, *name);
        if (!is_plain(base + 1))
            continue;
        found = look_at(files, volume, base, bus, look, err);
        look->hidden |= **name == '@';
    }
    return found;
}

int look_linux(const struct guest_files *files, const struct volume *volume, const char *bus,
               struct look *look, struct error **err)
{
    int found = look_at(files, volume, "", bus, look, err);

    if (found == 0 && strcmp(volume->type, "btrfs") == 0)
        found = look_at_subvolumes(files, volume, bus, look, err);
    return found < 0 ? -1 : 0;
}

int look_linux_bare(const struct guest_files *files, const char *bus, struct look *look,
                    struct error **err)
{
    CLEANUP_NAMES char **versions = NULL;
    char path[LOOK_DIRECTORY + 16];
    bool ready = false;

    snprintf(path, sizeof path, "%s/lib/modules/", look->root_directory);
    if (files_list(files, &look->root, path, &versions, err) < 0)
        return -1;
    for (char **version = versions; *version; version++) {
        struct initramfs_drivers drivers = { 0 };

        if (**version == '.')
            continue;
        (*version)[strcspn(*version, "/")] = '\0';
        add_builtin(files, &look->root, look->root_directory, *version, &drivers);
        ready = initramfs_can(&drivers, bus);
        if (!ready)
            break;
    }
    if (!ready)
        look_add(look, LOOK_UNKNOWN, "no initramfs of its Linux was found");
    return 0;
}
