/* The engine native for Linux: the guest's root is mounted, and its own tools make each
 * initramfs anew that lacks the drivers. Needs root. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

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

static int mount_volume(const struct volume *volume, const char *view, const char *target,
                        struct error **err)
{
    bool xfs = strcmp(volume->type, "xfs") == 0;
    const char *const argv[] = { "mount",
                                 "-t",
                                 xfs ? "xfs" : "ext4,ext3,ext2,btrfs",
                                 "-o",
                                 xfs ? "loop,nodev,nosuid,nouuid" : "loop,nodev,nosuid",
                                 view,
                                 target,
                                 NULL };

    return process_run(argv, MOUNT_MS, NULL, err);
}

static int mount_boot(struct linux_guest *guest, struct error **err)
{
    CLEANUP_CLOSE int boot = guestroot_open(guest->fd, "/boot", O_PATH | O_DIRECTORY, 0);
    char target[64];

    if (boot < 0)
        return error_set_errno(err, errno, "the guest's /boot");
    snprintf(target, sizeof target, "/proc/%d/fd/%d", (int)getpid(), boot);
    if (mount_volume(&guest->work->look->boot, guest->view.paths[1], target, err) < 0)
        return error_prefix(err, "the guest's /boot");
    guest->boot_mounted = true;
    return 0;
}

static int open_guest(struct linux_guest *guest, struct error **err)
{
    const struct look *look = guest->work->look;
    bool two = !same_volume(&look->root, &look->boot);
    const struct view_window windows[] = {
        { (size_t)look->root.disk, look->root.start, look->root.size },
        { (size_t)look->boot.disk, look->boot.start, look->boot.size },
    };

    snprintf(guest->root, sizeof guest->root, "%s/root", guest->work->directory);
    if (mkdir(guest->root, 0700) < 0)
        return error_set_errno(err, errno, "%s", guest->root);
    if (view_open(guest->work->request->disks, guest->work->request->disk_count, windows,
                  two ? 2 : 1, true, guest->work->directory, "write", &guest->view, err) < 0 ||
        mount_volume(&look->root, guest->view.paths[0], guest->root, err) < 0)
        return -1;
    guest->root_mounted = true;
    guest->fd = open(guest->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (guest->fd < 0)
        return error_set_errno(err, errno, "%s", guest->root);
    guest->boot = two ? "/boot/" : look->boot_directory;
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
    if (work_go_on(err) < 0 || confine_run(guest->work, guest->root,
                                           maker == makers ? update : dracut, REBUILD_MS, err) < 0)
        return -1;
    if (can(guest, path, err))
        return 0;
    return *err ? -1
                : error_set(err,
                            "the guest's %s made %s without the virtio drivers: has its kernel "
                            "got them?",
                            maker->program, path);
}

static int mend_initramfs(const struct linux_guest *guest, const struct maker *maker,
                          const char *name, struct error **err)
{
    CLEANUP_ERROR struct error *unreadable = NULL;
    char path[PATH_MAX], version[LOOK_VERSION];

    snprintf(path, sizeof path, "%s%s", guest->boot, name);
    if (can(guest, path, &unreadable))
        return 0;
    look_version(name, version);
    if (!version[0])
        return error_set(err,
                         "the guest's %s names no kernel version: convert it with "
                         "--conversion=v2v",
                         path);
    return make_anew(guest, maker, path, version, err);
}

static int mend_all(const struct linux_guest *guest, const struct maker *maker, struct error **err)
{
    int fd = guestroot_open(guest->fd, guest->boot, O_RDONLY | O_DIRECTORY, 0);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    int r = 0;

    if (!entries) {
        cleanup_close(&fd);
        return error_set_errno(err, errno, "the guest's %s", guest->boot);
    }
    while (r == 0 && (entry = readdir(entries)) != NULL) {
        if (entry->d_type == DT_REG && look_is_initramfs(entry->d_name))
            r = mend_initramfs(guest, maker, entry->d_name, err);
    }
    closedir(entries);
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
