/* The engine native for Linux: the guest's root is mounted, and its own tools make each
 * initramfs anew that lacks the drivers. Needs root. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "convert/confine.h"
#include "convert/diskname.h"
#include "convert/guestroot.h"
#include "convert/initramfs.h"
#include "convert/view.h"
#include "process.h"

#define MOUNT_MS   120000
#define REBUILD_MS 1200000

/* A guest's Linux while it is mounted. */
struct linux_guest {
    const struct work *work;
    struct view view;
    char root[PATH_MAX + 8];
    bool root_mounted, boot_mounted;
    int fd;           /* of root */
    const char *boot; /* where each initramfs is, seen from the guest's root */
};

static bool same_volume(const struct volume *a, const struct volume *b)
{
    return strcmp(a->name, b->name) == 0;
}

/* `view`: its disk. `directory`: of the system on a Btrfs, whose default subvolume may be another
 * one. */
static int mount_volume(const struct volume *volume, const char *directory, const char *view,
                        const char *target, struct error **err)
{
    char options[LOOK_DIRECTORY + 128];
    const char *type = volume->type;
    const char *const argv[] = { "mount", "-t",    strncmp(type, "ext", 3) == 0 ? "ext4" : type,
                                 "-o",    options, view,
                                 target,  NULL };

    int length = snprintf(options, sizeof options, "loop,nodev,nosuid");

    if (volume->size)
        length += sprintf(options + length, ",offset=%" PRIu64 ",sizelimit=%" PRIu64, volume->start,
                          volume->size);
    if (strcmp(type, "xfs") == 0)
        strcat(options, ",nouuid");
    else if (strcmp(type, "btrfs") == 0)
        sprintf(options + length, ",subvol=%s", *directory ? directory : "/");
    return process_run(argv, MOUNT_MS, NULL, err) < 0
               ? error_append(err, "this host's kernel does not mount it: convert the guest with "
                                   "--conversion=v2v")
               : 0;
}

static int mount_boot(struct linux_guest *guest, struct error **err)
{
    const struct look *look = guest->work->look;
    CLEANUP_CLOSE int boot = guestroot_open(guest->fd, "/boot", O_PATH | O_DIRECTORY, 0);
    char target[64];

    if (boot < 0)
        return error_set_errno(err, errno, "the guest's /boot");
    snprintf(target, sizeof target, "/proc/%d/fd/%d", (int)getpid(), boot);
    if (mount_volume(&look->boot, "", guest->view.paths[look->boot.disk != look->root.disk], target,
                     err) < 0)
        return error_prefix(err, "the guest's /boot");
    guest->boot_mounted = true;
    return 0;
}

static int open_guest(struct linux_guest *guest, struct error **err)
{
    const struct look *look = guest->work->look;
    bool two = !same_volume(&look->root, &look->boot);
    const struct view_window windows[] = { { .disk = (size_t)look->root.disk },
                                           { .disk = (size_t)look->boot.disk } };

    snprintf(guest->root, sizeof guest->root, "%s/root", guest->work->directory);
    if (mkdir(guest->root, 0700) < 0)
        return error_set_errno(err, errno, "%s", guest->root);
    if (view_open(guest->work->request->disks, guest->work->request->disk_count, windows,
                  look->boot.disk == look->root.disk ? 1 : 2, true, guest->work->directory, "write",
                  &guest->view, err) < 0 ||
        mount_volume(&look->root, look->root_directory, guest->view.paths[0], guest->root, err) < 0)
        return *err ? error_prefix(err, "the guest's file system") : -1;
    guest->root_mounted = true;
    guest->fd = open(guest->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (guest->fd < 0)
        return error_set_errno(err, errno, "%s", guest->root);
    guest->boot = two ? "/boot/" : look->boot_directory + strlen(look->root_directory);
    return two ? mount_boot(guest, err) : 0;
}

/* All that was written is in the image after it. */
static int finish_guest(struct linux_guest *guest, struct error **err)
{
    char boot[PATH_MAX + 16];

    if (guest->fd >= 0 && syncfs(guest->fd) < 0)
        return error_set_errno(err, errno, "writing the guest's file system");
    cleanup_close(&guest->fd);
    guest->fd = -1;
    snprintf(boot, sizeof boot, "%s/boot", guest->root);
    if (guest->boot_mounted && umount2(boot, UMOUNT_NOFOLLOW) < 0)
        return error_set_errno(err, errno, "unmounting the guest's /boot");
    guest->boot_mounted = false;
    if (guest->root_mounted && umount2(guest->root, UMOUNT_NOFOLLOW) < 0)
        return error_set_errno(err, errno, "unmounting the guest's file system");
    guest->root_mounted = false;
    return view_finish(&guest->view, err);
}

static void drop_guest(struct linux_guest *guest)
{
    char boot[PATH_MAX + 16];

    cleanup_close(&guest->fd);
    snprintf(boot, sizeof boot, "%s/boot", guest->root);
    if (guest->boot_mounted)
        umount2(boot, MNT_DETACH | UMOUNT_NOFOLLOW);
    if (guest->root_mounted)
        umount2(guest->root, MNT_DETACH | UMOUNT_NOFOLLOW);
    view_close(&guest->view);
}

/* What makes its initramfs. */
static const struct maker {
    const char *program; /* in the guest */
    const char *conf;    /* its file that names drivers */
    const char *drivers; /* what stands there then; the guest keeps it for its next kernels */
} makers[] = {
    { "/usr/sbin/update-initramfs", "/etc/initramfs-tools/modules",
      "\n# by vmferry: disks on virtio\nvirtio_pci\nvirtio_blk\nvirtio_scsi\nvirtio_net\n" },
    { "/usr/bin/dracut", "/etc/dracut.conf.d/vmferry-virtio.conf",
      "# by vmferry: disks on virtio\n"
      "add_drivers+=\" virtio_pci virtio_blk virtio_scsi virtio_net \"\n" },
};

/* MODULES=dep would take the drivers of this host. Where it is said, it is outdone for now. */
#define MOST_CONF "/etc/initramfs-tools/conf.d/zz-vmferry"

static bool depends_on_host(const struct linux_guest *guest)
{
    static const char *const files[] = { "/etc/initramfs-tools/initramfs.conf",
                                         "/etc/initramfs-tools/conf.d/driver-policy" };
    bool dep = false;

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t length;
        CLEANUP_FREE char *text = guestroot_read(guest->fd, files[i], &length);

        dep |= text && (strncmp(text, "MODULES=dep", 11) == 0 || strstr(text, "\nMODULES=dep"));
    }
    return dep;
}

static const struct maker *find_maker(const struct linux_guest *guest)
{
    for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++) {
        if (guestroot_has(guest->fd, makers[i].program))
            return &makers[i];
    }
    return NULL;
}

static bool can(const struct linux_guest *guest, const char *path, struct error **err)
{
    int fd = guestroot_open(guest->fd, path, O_RDONLY, 0);
    CLEANUP_FCLOSE FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
    struct initramfs_drivers drivers = { 0 };

    if (!file) {
        error_set_errno(err, errno, "the guest's %s", path);
        return false;
    }
    return initramfs_scan(file, &drivers, err) == 0 &&
           initramfs_can(&drivers, guest->work->request->bus);
}

/* An error that says that the disk is full says what to do. */
static int explain_room(const struct linux_guest *guest, struct error **err)
{
    CLEANUP_CLOSE int fd = guestroot_open(guest->fd, guest->boot, O_RDONLY | O_DIRECTORY, 0);
    struct statvfs st;

    if (!strstr(error_message(*err), CONFINE_NO_ROOM) || fd < 0 || fstatvfs(fd, &st) < 0)
        return -1;
    return error_append(err,
                        "the guest's %s has %llu MiB free: remove old kernels from it, or give "
                        "it more room",
                        guest->boot, (unsigned long long)st.f_bfree * st.f_frsize >> 20);
}

static int make_anew(const struct linux_guest *guest, const struct maker *maker, const char *path,
                     const char *version, struct error **err)
{
    const char *const update[] = { maker->program, "-u", "-k", version, NULL };
    const char *const dracut[] = { maker->program,
                                   "--force",
                                   "--no-hostonly",
                                   "--add-drivers",
                                   "virtio_pci virtio_blk virtio_scsi virtio_net",
                                   path,
                                   version,
                                   NULL };

    work_say(guest->work, "native: making %s anew", path);
    if (work_go_on(err) < 0)
        return -1;
    if (confine_run(guest->work, guest->root, maker == makers ? update : dracut, REBUILD_MS, err) <
        0)
        return explain_room(guest, err);
    if (can(guest, path, err))
        return 0;
    return *err ? -1
                : error_set(err,
                            "the guest's %s made %s without the virtio drivers: has its kernel "
                            "got them?",
                            maker->program, path);
}

/* The kernel of what is left from one that was removed does not boot. */
static bool has_modules(const struct linux_guest *guest, const char *version)
{
    char path[LOOK_VERSION + 32];

    snprintf(path, sizeof path, "/lib/modules/%s", version);
    return guestroot_has(guest->fd, path);
}

/* Counts those that are well then. */
static int mend_initramfs(const struct linux_guest *guest, const struct maker *maker,
                          const char *name, size_t *well, struct error **err)
{
    CLEANUP_ERROR struct error *unreadable = NULL;
    char path[PATH_MAX], version[LOOK_VERSION];

    snprintf(path, sizeof path, "%s%s", guest->boot, name);
    look_version(name, version);
    if (!can(guest, path, &unreadable)) {
        if (!version[0])
            return error_set(err,
                             "the guest's %s names no kernel version: convert it with "
                             "--conversion=v2v",
                             path);
        if (!has_modules(guest, version)) {
            work_say(guest->work, "native: %s stays as it is: its kernel's modules are gone", path);
            return 0;
        }
        if (make_anew(guest, maker, path, version, err) < 0)
            return -1;
    }
    (*well)++;
    return 0;
}

/* Not all file systems say it in their directories: XFS of old does not. */
static bool is_file(DIR *entries, const struct dirent *entry)
{
    struct stat st;

    return fstatat(dirfd(entries), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode);
}

static int mend_all(const struct linux_guest *guest, const struct maker *maker, struct error **err)
{
    int fd = guestroot_open(guest->fd, guest->boot, O_RDONLY | O_DIRECTORY, 0);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    size_t well = 0;
    int r = 0;

    if (!entries) {
        cleanup_close(&fd);
        return error_set_errno(err, errno, "the guest's %s", guest->boot);
    }
    while (r == 0 && (entry = readdir(entries)) != NULL) {
        if (look_is_initramfs(entry->d_name) && is_file(entries, entry))
            r = mend_initramfs(guest, maker, entry->d_name, &well, err);
    }
    closedir(entries);
    if (r == 0 && well == 0)
        return error_set(err, "the guest's %s has no initramfs of a kernel that is there",
                         guest->boot);
    return r;
}

static int make_initramfs(const struct linux_guest *guest, struct error **err)
{
    const struct maker *maker = find_maker(guest);
    bool dep = maker == makers && depends_on_host(guest);
    int r;

    if (!maker)
        return error_set(err, "the guest has neither update-initramfs nor dracut: convert it with "
                              "--conversion=v2v");
    if (guestroot_append(guest->fd, maker->conf, maker->drivers, err) < 0 ||
        (dep && guestroot_write(guest->fd, MOST_CONF, "MODULES=most\n", err) < 0))
        return -1;
    r = mend_all(guest, maker, err);
    if (dep) {
        CLEANUP_CLOSE int directory =
            guestroot_open(guest->fd, "/etc/initramfs-tools/conf.d", O_RDONLY | O_DIRECTORY, 0);

        if (directory >= 0)
            unlinkat(directory, "zz-vmferry", 0);
    }
    return r;
}

/* In place: owner, mode and labels stay, and grubenv its length. */
static int change_names(const struct linux_guest *guest, const char *path, struct error **err)
{
    size_t length, count;
    CLEANUP_FREE char *text = guestroot_read(guest->fd, path, &length);
    CLEANUP_CLOSE int fd = -1;

    if (!text || strlen(text) != length)
        return 0;
    count = diskname_change(text);
    if (count == 0)
        return 0;
    fd = guestroot_open(guest->fd, path, O_WRONLY, 0);
    if (fd < 0 || pwrite(fd, text, length, 0) != (ssize_t)length)
        return error_set_errno(err, errno, "writing the guest's %s", path);
    work_say(guest->work, "native: %zu disk name%s changed in %s", count, count == 1 ? "" : "s",
             path);
    return 0;
}

static int change_all_names(const struct linux_guest *guest, struct error **err)
{
    static const char *const files[] = {
        "/etc/fstab",
        "/etc/default/grub",
        "/etc/kernel/cmdline",
        "/boot/grub/grub.cfg",
        "/boot/grub2/grub.cfg",
        "/boot/grub2/grubenv",
        "/boot/grub/grubenv",
        "/boot/extlinux/extlinux.conf",
        "/etc/initramfs-tools/conf.d/resume",
    };

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (change_names(guest, files[i], err) < 0)
            return -1;
    }
    return 0;
}

int engine_native_linux(const struct work *work, struct error **err)
{
    CLEANUP(drop_guest)
    struct linux_guest guest = { .work = work, .fd = -1, .view = { .pid = -1 } };
    bool rename_disks = strcmp(work->request->bus, "virtio") == 0;

    if (open_guest(&guest, err) < 0 || (rename_disks && change_all_names(&guest, err) < 0) ||
        make_initramfs(&guest, err) < 0 || work_go_on(err) < 0)
        return -1;
    return finish_guest(&guest, err);
}
