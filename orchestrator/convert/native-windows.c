/* The engine native for Windows: ntfs-3g, which is no part of the kernel, opens its volume;
 * the driver of its disks goes in, and the registry starts it at boot. The other virtio drivers are
 * put where Windows looks when it finds its new devices. */
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include "convert/drivers.h"
#include "convert/guestroot.h"
#include "convert/view.h"
#include "convert/windows.h"
#include "convert/work.h"
#include "process.h"

#define MOUNT_MS 60000
#define END_MS   120000
#define LOOK_NS  5000000L

#define DEVICE_PATH_KEY "Microsoft\\Windows\\CurrentVersion"
#define DRIVER_PLACE    "%SystemRoot%\\Drivers\\VirtIO"

/* All that a machine of QEMU may have, and virtio-win a driver for. */
static const char *const more_drivers[] = { "viostor",   "vioscsi", "NetKVM",    "Balloon",
                                            "vioserial", "viorng",  "vioinput",  "viogpudo",
                                            "pvpanic",   "fwcfg",   "qemufwcfg", "qemupciserial" };

/* A guest's Windows while its volume is open. */
struct windows_guest {
    const struct work *work;
    struct view view;
    char root[PATH_MAX + 8];
    pid_t ntfs; /* of ntfs-3g */
    int fd;     /* of root */
};

static bool is_mounted(const struct windows_guest *guest)
{
    struct stat inner, outer;

    return stat(guest->root, &inner) == 0 && stat(guest->work->directory, &outer) == 0 &&
           inner.st_dev != outer.st_dev;
}

static int start_ntfs(struct windows_guest *guest, struct error **err)
{
    const char *log = *guest->work->request->log ? guest->work->request->log : "/dev/null";
    CLEANUP_CLOSE int output = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    const char *const argv[] = {
        "ntfs-3g", "-o", "rw,no_detach,nodev,nosuid", guest->view.paths[0], guest->root, NULL
    };
    struct process_options options = PROCESS_OPTIONS_INIT;

    options.stdout_fd = options.stderr_fd = output;
    options.die_with_parent = true;
    guest->ntfs = process_start(argv, &options, err);
    for (int64_t waited = 0; guest->ntfs > 0 && waited < (int64_t)MOUNT_MS * 1000000;
         waited += LOOK_NS) {
        CLEANUP_ERROR struct error *running = NULL;
        int status;

        if (is_mounted(guest))
            return 0;
        if (process_wait(guest->ntfs, 0, &status, &running) == 0) {
            guest->ntfs = -1;
            return error_set(err, "ntfs-3g can't open the volume of Windows for writing%s%s",
                             *guest->work->request->log ? "; what it said: " : "",
                             guest->work->request->log);
        }
        nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
    }
    return *err ? -1 : error_set(err, "ntfs-3g takes too long");
}

static int open_guest(struct windows_guest *guest, struct error **err)
{
    const struct volume *volume = &guest->work->look->root;
    const struct view_window window = { (size_t)volume->disk, volume->start, volume->size };

    snprintf(guest->root, sizeof guest->root, "%s/root", guest->work->directory);
    if (mkdir(guest->root, 0700) < 0)
        return error_set_errno(err, errno, "%s", guest->root);
    if (view_open(guest->work->request->disks, guest->work->request->disk_count, &window, 1, true,
                  guest->work->directory, "write", &guest->view, err) < 0 ||
        start_ntfs(guest, err) < 0)
        return -1;
    guest->fd = open(guest->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return guest->fd < 0 ? error_set_errno(err, errno, "%s", guest->root) : 0;
}

/* ntfs-3g writes the last when it ends, which is after the unmount. */
static int finish_guest(struct windows_guest *guest, struct error **err)
{
    pid_t pid = guest->ntfs;
    int status;

    cleanup_close(&guest->fd);
    guest->fd = -1;
    if (umount2(guest->root, UMOUNT_NOFOLLOW) < 0)
        return error_set_errno(err, errno, "closing the volume of Windows");
    if (process_wait(pid, END_MS, &status, err) < 0)
        return error_prefix(err, "ntfs-3g");
    guest->ntfs = -1;
    if (status != 0)
        return error_set(err, "ntfs-3g failed to write all (status %d)", status);
    return view_finish(&guest->view, err);
}

static void drop_guest(struct windows_guest *guest)
{
    cleanup_close(&guest->fd);
    if (guest->ntfs > 0) {
        umount2(guest->root, MNT_DETACH | UMOUNT_NOFOLLOW);
        process_stop(guest->ntfs, 2000);
    }
    view_close(&guest->view);
}

/* A hive is opened by its descriptor: no link leads elsewhere. */
static int load_hive(const struct windows_guest *guest, const char *name, char path[64], int *fd,
                     struct hive *hive, struct error **err)
{
    char file[64];

    snprintf(file, sizeof file, "Windows/System32/config/%s", name);
    *fd = guestroot_open_any_case(guest->fd, file, O_RDWR);
    if (*fd < 0)
        return error_set_errno(err, errno, "Windows' registry hive %s", name);
    snprintf(path, 64, "/proc/self/fd/%d", *fd);
    return hive_load(path, true, hive, err);
}

/* %SystemRoot%\Drivers\VirtIO, made where it is not there. */
static int open_place(const struct windows_guest *guest, struct error **err)
{
    static const char *const parts[] = { "Drivers", "VirtIO" };
    int at = guestroot_open_any_case(guest->fd, "Windows", O_RDONLY | O_DIRECTORY);

    for (size_t i = 0; at >= 0 && i < 2; i++) {
        int next = guestroot_open_any_case(at, parts[i], O_RDONLY | O_DIRECTORY);

        if (next < 0 && errno == ENOENT && mkdirat(at, parts[i], 0755) == 0)
            next = guestroot_open_any_case(at, parts[i], O_RDONLY | O_DIRECTORY);
        cleanup_close(&at);
        at = next;
    }
    return at < 0 ? error_set_errno(err, errno, "making Windows\\Drivers\\VirtIO") : at;
}

static int copy_disk_driver(const struct windows_guest *guest, const struct driver_store *store,
                            const struct windows_disk *disk, const struct windows_version *version,
                            struct error **err)
{
    CLEANUP_CLOSE int to =
        guestroot_open_any_case(guest->fd, "Windows/System32/drivers", O_RDONLY | O_DIRECTORY);
    char directory[PATH_MAX];
    int count;

    if (to < 0)
        return error_set_errno(err, errno, "Windows\\System32\\drivers");
    if (!drivers_find(store, disk->name, version, directory))
        return error_set(err, "%s has no driver %s for %s on %s: there is no directory %s/%s/%s",
                         store->place, disk->name, version->text, version->machine, disk->name,
                         version->names[0] ? version->names[0] : "?", version->machine);
    count = drivers_copy(store, directory, ".sys", to, err);
    if (count == 0)
        return error_set(err, "%s/%s holds no driver", store->place, directory);
    if (count > 0)
        work_say(guest->work, "native: %s gets %s of %s", version->text, disk->name, directory);
    return count < 0 ? -1 : 0;
}

static int copy_more_drivers(const struct windows_guest *guest, const struct driver_store *store,
                             const struct windows_version *version, struct error **err)
{
    CLEANUP_CLOSE int place = open_place(guest, err);

    if (place < 0)
        return -1;
    for (size_t i = 0; i < sizeof more_drivers / sizeof more_drivers[0]; i++) {
        char directory[PATH_MAX];

        if (drivers_find(store, more_drivers[i], version, directory) &&
            drivers_copy(store, directory, NULL, place, err) < 0)
            return -1;
    }
    return 0;
}

/* Where Windows looks for drivers: there, too. */
static int add_place(struct hive *software, struct error **err)
{
    CLEANUP_FREE char *before = hive_get_text(software, DEVICE_PATH_KEY, "DevicePath");
    CLEANUP_FREE char *after = NULL;

    if (before && strstr(before, DRIVER_PLACE))
        return 0;
    if (asprintf(&after, "%s;%s", before ? before : "%SystemRoot%\\inf", DRIVER_PLACE) < 0)
        return error_set_errno(err, ENOMEM, "DevicePath");
    return hive_set_text(software, DEVICE_PATH_KEY, "DevicePath", hive_t_expand_string, after, err);
}

static int change_guest(const struct windows_guest *guest, const struct driver_store *store,
                        struct error **err)
{
    const struct windows_disk *disk = windows_disk_of(guest->work->request->bus);
    CLEANUP_CLOSE int system_fd = -1;
    CLEANUP_CLOSE int software_fd = -1;
    CLEANUP_HIVE struct hive system = { 0 };
    CLEANUP_HIVE struct hive software = { 0 };
    char system_path[64], software_path[64];
    struct windows_version version;

    if (load_hive(guest, "SYSTEM", system_path, &system_fd, &system, err) < 0 ||
        load_hive(guest, "SOFTWARE", software_path, &software_fd, &software, err) < 0)
        return -1;
    windows_version_of(&system, &software, &version);
    if (copy_disk_driver(guest, store, disk, &version, err) < 0 ||
        copy_more_drivers(guest, store, &version, err) < 0 ||
        windows_add_disk(&system, disk, &version, err) < 0 || add_place(&software, err) < 0)
        return -1;
    return hive_save(&system, err) < 0 || hive_save(&software, err) < 0 ? -1 : 0;
}

int engine_native_windows(const struct work *work, struct error **err)
{
    CLEANUP(drop_guest)
    struct windows_guest guest = { .work = work, .ntfs = -1, .fd = -1, .view = { .pid = -1 } };
    CLEANUP_DRIVERS struct driver_store store = { 0 };

    if (drivers_open(work->request->virtio_win, work->directory, &store, err) < 0 ||
        open_guest(&guest, err) < 0 || change_guest(&guest, &store, err) < 0 || work_go_on(err) < 0)
        return -1;
    return finish_guest(&guest, err);
}
