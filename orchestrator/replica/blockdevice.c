/* Block devices and which is which; see blockdevice.h. */
#include "replica/blockdevice.h"

#include <dirent.h>
#include <fcntl.h>
#include <json.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "digest.h"
#include "partition-table.h"

#define BY_ID      "/dev/disk/by-id"
#define NAMES_KEPT 4
#define SAMPLES    256

static void cleanup_closedir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}
#define CLEANUP_CLOSEDIR CLEANUP(cleanup_closedir)

/* ---- what is written down ---- */

/* How good a name is: those from the device itself first. Names from what is on it are none. */
static int rank_name(const char *name)
{
    static const char *const prefixes[] = { "wwn-", "nvme-eui.", "dm-uuid-", "scsi-" };
    static const char *const content[] = { "lvm-pv-uuid-", "md-uuid-", "md-name-", "dm-name-" };

    for (size_t i = 0; i < sizeof content / sizeof content[0]; i++) {
        if (strncmp(name, content[i], strlen(content[i])) == 0)
            return -1;
    }
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return (int)i;
    }
    return (int)(sizeof prefixes / sizeof prefixes[0]);
}

/* Call `found` for each name of this device. */
static void each_name(dev_t number, void (*found)(void *opaque, const char *name), void *opaque)
{
    CLEANUP_CLOSEDIR DIR *dir = opendir(BY_ID);
    const struct dirent *entry;
    struct stat st;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.' && rank_name(entry->d_name) >= 0 &&
            fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISBLK(st.st_mode) &&
            st.st_rdev == number)
            found(opaque, entry->d_name);
    }
}

static void add_name(void *opaque, const char *name)
{
    json_object *names = opaque;

    if (json_object_array_length(names) < NAMES_KEPT && strlen(name) < 200)
        json_object_array_add(names, json_object_new_string(name));
}

static void choose_name(void *opaque, const char *name)
{
    char *best = opaque;

    if (!best[0] || rank_name(name) < rank_name(best))
        snprintf(best, NAME_MAX + 1, "%s", name);
}

void blockdevice_stable_name(const struct blockdevice *device, char name[PATH_MAX])
{
    char best[NAME_MAX + 1] = "";

    each_name(device->number, choose_name, best);
    if (best[0])
        snprintf(name, PATH_MAX, BY_ID "/%s", best);
    else
        snprintf(name, PATH_MAX, "%s", device->path);
}

/* The disk that a partition is on. */
static int open_parent(dev_t number)
{
    char link[64], target[PATH_MAX], path[PATH_MAX];
    const char *name;
    char *slash;
    ssize_t n;

    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(number), minor(number));
    n = readlink(link, target, sizeof target - 1);
    if (n < 0)
        return -1;
    target[n] = '\0';
    slash = strrchr(target, '/'); /* …/block/sda/sda1 */
    if (!slash)
        return -1;
    *slash = '\0';
    name = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
    if (snprintf(path, sizeof path, "/dev/%s", name) >= (int)sizeof path)
        return -1;
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static void add_partition(json_object *record, dev_t number, const char *partition)
{
    CLEANUP_CLOSE int fd = open_parent(number);
    char name[PARTITION_TABLE_TEXT];

    if (fd >= 0 && partition_name(fd, (unsigned)strtoul(partition, NULL, 10), name))
        json_object_object_add(record, "partition", json_object_new_string(name));
}

json_object *blockdevice_record(int fd, const struct exportmap_disk *disk)
{
    json_object *record = json_object_new_object();
    json_object *names = json_object_new_array();
    const char *partition = disk->identity.value[EXPORTMAP_PARTITION];
    char name[PARTITION_TABLE_TEXT];
    struct stat st;

    if (!record || !names || fstat(fd, &st) < 0) {
        json_object_put(record);
        json_object_put(names);
        return NULL;
    }
    each_name(st.st_rdev, add_name, names);
    json_object_object_add(record, "by_id", names);
    if (partition_table_name(fd, name))
        json_object_object_add(record, "table", json_object_new_string(name));
    if (partition)
        add_partition(record, st.st_rdev, partition);
    return record;
}

/* ---- what is there ---- */

static bool probe(const char *path, struct blockdevice *device)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    CLEANUP_ERROR struct error *ignored = NULL;
    struct stat st;

    *device = (struct blockdevice){ 0 };
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISBLK(st.st_mode) ||
        exportmap_disk_probe(fd, &device->disk, &ignored) < 0)
        return false;
    if (device->disk.size > 0) {
        snprintf(device->path, sizeof device->path, "%s", path);
        device->number = st.st_rdev;
        device->record = blockdevice_record(fd, &device->disk);
    }
    if (!device->record)
        exportmap_disk_free(&device->disk);
    return device->record != NULL;
}

int blockdevices_scan(struct blockdevices *devices, struct error **err)
{
    CLEANUP_CLOSEDIR DIR *dir = opendir("/sys/class/block");
    const struct dirent *entry;

    *devices = (struct blockdevices){ 0 };
    if (!dir)
        return error_set_errno(err, errno, "/sys/class/block");
    while ((entry = readdir(dir))) {
        struct blockdevice *more;
        char path[sizeof "/dev/" + NAME_MAX];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        for (char *bang = strchr(path, '!'); bang; bang = strchr(bang, '!'))
            *bang = '/'; /* as sysfs writes cciss/c0d0 */
        more = reallocarray(devices->list, devices->count + 1, sizeof *more);
        if (!more)
            return error_set_errno(err, ENOMEM, "looking at block devices");
        devices->list = more;
        if (probe(path, &more[devices->count]))
            devices->count++;
    }
    return 0;
}

void blockdevices_free(struct blockdevices *devices)
{
    for (size_t i = 0; i < devices->count; i++) {
        exportmap_disk_free(&devices->list[i].disk);
        json_object_put(devices->list[i].record);
    }
    free(devices->list);
    *devices = (struct blockdevices){ 0 };
}

/* ---- which is which ---- */

static const char *member(json_object *record, const char *name)
{
    json_object *value = NULL;

    return json_object_object_get_ex(record, name, &value) ? json_object_get_string(value) : NULL;
}

static bool both_and_equal(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static bool both_and_different(const char *a, const char *b)
{
    return a && b && strcmp(a, b) != 0;
}

static bool share_name(json_object *a, json_object *b)
{
    json_object *x = NULL, *y = NULL;

    if (!json_object_object_get_ex(a, "by_id", &x) || !json_object_object_get_ex(b, "by_id", &y))
        return false;
    for (size_t i = 0; i < json_object_array_length(x); i++) {
        for (size_t j = 0; j < json_object_array_length(y); j++) {
            if (both_and_equal(json_object_get_string(json_object_array_get_idx(x, i)),
                               json_object_get_string(json_object_array_get_idx(y, j))))
                return true;
        }
    }
    return false;
}

/* The file may have been renamed: its place in its file system is the same. */
static bool same_backing(const struct exportmap_identity *a, const struct exportmap_identity *b)
{
    static const enum exportmap_key keys[] = { EXPORTMAP_BACKING_DEV, EXPORTMAP_BACKING_INODE,
                                               EXPORTMAP_BACKING_OFFSET };

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (!both_and_equal(a->value[keys[i]], b->value[keys[i]]))
            return false;
    }
    return true;
}

enum blockdevice_match blockdevice_match(const struct blockdevice_wanted *wanted,
                                         const struct blockdevice *device)
{
    static const enum exportmap_key telling[] = { EXPORTMAP_SERIAL, EXPORTMAP_WWID,
                                                  EXPORTMAP_PARTITION };
    const struct exportmap_identity *found = &device->disk.identity;
    CLEANUP_ERROR struct error *differs = NULL;

    if (device->disk.size != wanted->size)
        return BLOCKDEVICE_OTHER;
    if (exportmap_identity_check(wanted->identity, &device->disk, true, &differs) == 0)
        return BLOCKDEVICE_SURE;
    for (size_t i = 0; i < sizeof telling / sizeof telling[0]; i++) {
        if (both_and_different(wanted->identity->value[telling[i]], found->value[telling[i]]))
            return BLOCKDEVICE_OTHER;
    }
    if (share_name(wanted->record, device->record) ||
        both_and_equal(member(wanted->record, "partition"), member(device->record, "partition")) ||
        same_backing(wanted->identity, found))
        return BLOCKDEVICE_LIKELY;
    return BLOCKDEVICE_UNKNOWN;
}

/* ---- what is on it ---- */

static bool is_zero(const struct digest *leaf)
{
    static const struct digest zero;

    return digest_equal(leaf, &zero);
}

/* Leaf `i`; what is missing at the end of the file is zero. */
static int read_leaf(int fd, uint64_t i, struct digest *leaf)
{
    ssize_t n = pread(fd, leaf, sizeof *leaf, (off_t)(i * sizeof *leaf));

    if (n < 0)
        return -1;
    if ((size_t)n < sizeof *leaf)
        memset(leaf, 0, sizeof *leaf);
    return 0;
}

/* Leaves that are not zero; holes are not read. */
static int64_t count_data(int fd, uint64_t blocks)
{
    struct digest leaf;
    int64_t count = 0;
    off_t at = 0;

    while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && (uint64_t)at / sizeof leaf < blocks) {
        off_t hole = lseek(fd, at, SEEK_HOLE);

        for (uint64_t i = (uint64_t)at / sizeof leaf; (off_t)(i * sizeof leaf) < hole; i++) {
            if (read_leaf(fd, i, &leaf) < 0)
                return -1;
            count += !is_zero(&leaf);
        }
        at = hole;
    }
    return count;
}

/* 1, 0 or -1, as blockdevice_holds. */
static int compare_block(int device, uint64_t i, uint64_t capacity, const struct digest *leaf,
                         void *buf)
{
    uint64_t offset = i * DIGEST_BLOCK;
    size_t length = capacity - offset < DIGEST_BLOCK ? (size_t)(capacity - offset) : DIGEST_BLOCK;
    struct digest found;

    for (size_t done = 0; done < length;) {
        ssize_t n = pread(device, (char *)buf + done, length - done, (off_t)(offset + done));

        if (n <= 0) {
            errno = n < 0 ? errno : EIO;
            return -1;
        }
        done += (size_t)n;
    }
    found = digest_leaf(buf, length);
    return digest_equal(&found, leaf);
}

static int compare(int device, int leaves, uint64_t capacity, uint64_t step, bool all)
{
    uint64_t blocks = (capacity + DIGEST_BLOCK - 1) / DIGEST_BLOCK, data = 0;
    CLEANUP_FREE void *buf = malloc(DIGEST_BLOCK);
    struct digest leaf;
    int r = buf ? 1 : -1;

    for (uint64_t i = 0; i < blocks && r > 0; i++) {
        bool wanted = all;

        if (read_leaf(leaves, i, &leaf) < 0)
            return -1;
        if (!is_zero(&leaf))
            wanted = data++ % step == 0 || all;
        if (wanted)
            r = compare_block(device, i, capacity, &leaf, buf);
    }
    return r;
}

int blockdevice_holds(const char *path, const char *leaves, uint64_t capacity, bool all,
                      struct error **err)
{
    CLEANUP_CLOSE int device = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    CLEANUP_CLOSE int fd = open(leaves, O_RDONLY | O_CLOEXEC);
    int64_t data;
    int r;

    if (device < 0)
        return error_set_errno(err, errno, "%s", path);
    if (fd < 0)
        return error_set_errno(err, errno, "%s", leaves);
    data = count_data(fd, (capacity + DIGEST_BLOCK - 1) / DIGEST_BLOCK);
    if (data == 0)
        return 0;
    r = data < 0 ? -1
                 : compare(device, fd, capacity, ((uint64_t)data + SAMPLES - 1) / SAMPLES, all);
    return r < 0 ? error_set_errno(err, errno, "reading %s", path) : r;
}
