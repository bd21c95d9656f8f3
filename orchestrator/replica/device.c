/* Block devices for replicas; see device.h. */
#include "replica/device.h"

#include <dirent.h>
#include <fcntl.h>
#include <json.h>
#include <string.h>
#include <sys/stat.h>

#include "exportmap-identity.h"
#include "process.h"

#define BY_ID     "/dev/disk/by-id"
#define WIPEFS_MS 30000
#define END_BYTES ((uint64_t)1 << 20) /* looked at, at each end */

static int probe(const char *path, struct exportmap_disk *disk, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return error_set_errno(err, errno, "%s", path);
    if (exportmap_disk_probe(fd, disk, err) < 0)
        return error_prefix(err, "%s", path);
    if (disk->block)
        return 0;
    exportmap_disk_free(disk);
    return error_set_kind(err, ERROR_USAGE, "%s is no block device", path);
}

/* wwn- and nvme-eui. names come from the device itself; the others hold its serial. */
static int rank(const char *name)
{
    static const char *const prefixes[] = { "wwn-", "nvme-eui.", "dm-uuid-", "md-uuid-", "scsi-" };

    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return (int)i;
    }
    return (int)(sizeof prefixes / sizeof prefixes[0]);
}

/* Its best stable name; `path` where udev gave none. */
static void stable_name(const char *path, char name[PATH_MAX])
{
    DIR *dir = opendir(BY_ID);
    struct dirent *entry;
    struct stat device, st;
    int best = INT_MAX;

    snprintf(name, PATH_MAX, "%s", path);
    if (!dir)
        return;
    while (stat(path, &device) == 0 && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 ||
            !S_ISBLK(st.st_mode) || st.st_rdev != device.st_rdev || rank(entry->d_name) >= best)
            continue;
        best = rank(entry->d_name);
        snprintf(name, PATH_MAX, BY_ID "/%s", entry->d_name);
    }
    closedir(dir);
}

json_object *device_describe(const char *path, struct error **err)
{
    CLEANUP(exportmap_disk_free) struct exportmap_disk disk = { 0 };
    CLEANUP_FREE char *real = realpath(path, NULL);
    json_object *record, *identity;
    char name[PATH_MAX];

    if (!real) {
        error_set_errno(err, errno, "%s", path);
        return NULL;
    }
    if (probe(real, &disk, err) < 0)
        return NULL;
    /* Its number is given anew at each start… */
    free(disk.identity.value[EXPORTMAP_DEV]);
    disk.identity.value[EXPORTMAP_DEV] = NULL;
    free(disk.identity.value[EXPORTMAP_SIZE]); /* it may be grown */
    disk.identity.value[EXPORTMAP_SIZE] = NULL;
    if (exportmap_identity_check(&disk.identity, &disk, true, err) < 0) {
        error_clear(err);
        error_set(err,
                  "%s can't be told from another device: it has neither a serial number nor a "
                  "wwid",
                  path);
        return NULL;
    }
    stable_name(real, name);
    record = json_object_new_object();
    identity = json_object_new_object();
    json_object_object_add(record, "path", json_object_new_string(name));
    json_object_object_add(record, "size", json_object_new_uint64(disk.size));
    for (enum exportmap_key key = 0; key < EXPORTMAP_KEYS; key++) {
        if (disk.identity.value[key])
            json_object_object_add(identity, exportmap_key_name(key),
                                   json_object_new_string(disk.identity.value[key]));
    }
    json_object_object_add(record, "identity", identity);
    return record;
}

int device_check_unused(const char *path, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0)
        return 0;
    if (errno == EBUSY)
        return error_set(err, "%s is in use: mounted, swap, or a part of LVM or RAID", path);
    return error_set_errno(err, errno, "%s", path);
}

static int check_zero(int fd, const char *path, uint64_t from, uint64_t length, struct error **err)
{
    char block[65536];

    while (length > 0) {
        size_t want = length < sizeof block ? (size_t)length : sizeof block;
        ssize_t n = pread(fd, block, want, (off_t)from);

        if (n <= 0)
            return error_set_errno(err, n < 0 ? errno : EIO, "reading %s", path);
        for (ssize_t i = 0; i < n; i++) {
            if (block[i])
                return error_set(err, "%s holds data, of a kind that wipefs(8) does not know",
                                 path);
        }
        from += (uint64_t)n;
        length -= (uint64_t)n;
    }
    return 0;
}

static int check_ends(const char *path, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    uint64_t length;

    if (size < 0)
        return error_set_errno(err, errno, "%s", path);
    length = (uint64_t)size < END_BYTES ? (uint64_t)size : END_BYTES;
    if (check_zero(fd, path, 0, length, err) < 0)
        return -1;
    return check_zero(fd, path, (uint64_t)size - length, length, err);
}

/* "ext4", "dos, LVM2_member": what wipefs found. */
static void list_types(const char *text, char *list, size_t size)
{
    json_object *json = json_tokener_parse(text);
    json_object *found = json_object_object_get(json, "signatures");
    size_t used = 0;

    list[0] = '\0';
    for (size_t i = 0; found && i < json_object_array_length(found) && used < size; i++) {
        json_object *entry = json_object_array_get_idx(found, i);
        const char *type = json_object_get_string(json_object_object_get(entry, "type"));

        used +=
            (size_t)snprintf(list + used, size - used, "%s%s", used ? ", " : "", type ? type : "?");
    }
    json_object_put(json);
}

int device_check_blank(const char *path, struct error **err)
{
    const char *argv[] = { "wipefs", "--no-act", "--json", path, NULL };
    CLEANUP_FREE char *found = NULL;
    char types[256];

    if (device_check_unused(path, err) < 0 || process_run(argv, WIPEFS_MS, &found, err) < 0)
        return -1;
    list_types(found, types, sizeof types);
    if (types[0])
        return error_set(err, "%s holds data: %s", path, types);
    return check_ends(path, err);
}

/* 1: it is the recorded device. */
static int is_recorded(json_object *record, const char *path)
{
    CLEANUP(exportmap_disk_free) struct exportmap_disk disk = { 0 };
    CLEANUP_ERROR struct error *differs = NULL;
    json_object *identity = json_object_object_get(record, "identity");
    struct exportmap_identity wanted = { 0 };

    if (probe(path, &disk, &differs) < 0)
        return 0;
    for (enum exportmap_key key = 0; key < EXPORTMAP_KEYS; key++)
        wanted.value[key] = (char *)json_object_get_string(
            json_object_object_get(identity, exportmap_key_name(key)));
    return exportmap_identity_check(&wanted, &disk, true, &differs) == 0;
}

/* All devices that are the recorded one; `path` is the last of them. */
static int search(json_object *record, char path[PATH_MAX], struct error **err)
{
    DIR *dir = opendir("/sys/class/block");
    struct dirent *entry;
    int count = 0;

    if (!dir)
        return error_set_errno(err, errno, "/sys/class/block");
    while ((entry = readdir(dir))) {
        char candidate[300];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(candidate, sizeof candidate, "/dev/%s", entry->d_name);
        for (char *bang = strchr(candidate, '!'); bang; bang = strchr(bang, '!'))
            *bang = '/'; /* as sysfs writes cciss/c0d0 */
        if (!is_recorded(record, candidate))
            continue;
        count++;
        snprintf(path, PATH_MAX, "%s", candidate);
    }
    closedir(dir);
    return count;
}

int device_find(json_object *record, char path[PATH_MAX], struct error **err)
{
    const char *known = json_object_get_string(json_object_object_get(record, "path"));
    char found[PATH_MAX];
    int count = search(record, found, err);

    if (count < 0)
        return -1;
    if (count > 1)
        return error_set(err, "%d devices are the one that was given as %s: detach the copies",
                         count, known);
    if (known && is_recorded(record, known)) {
        snprintf(path, PATH_MAX, "%s", known);
        return 0;
    }
    if (count == 0)
        return error_set(err,
                         "the device that was given as %s is gone: attach it again, by any "
                         "name",
                         known ? known : "?");
    snprintf(path, PATH_MAX, "%s", found);
    return 0;
}
