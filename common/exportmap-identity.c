/* Telling a disk from another one; see exportmap-identity.h. */
#include "exportmap-identity.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "rbd.h"

static const struct {
    const char *name;
    bool number;
} keys[EXPORTMAP_KEYS] = {
    [EXPORTMAP_DEV] = { "dev", false },
    [EXPORTMAP_INODE] = { "inode", true },
    [EXPORTMAP_BIRTH] = { "birth", false },
    [EXPORTMAP_SIZE] = { "size", true },
    [EXPORTMAP_SERIAL] = { "serial", false },
    [EXPORTMAP_WWID] = { "wwid", false },
    [EXPORTMAP_PARTITION] = { "partition", true },
    [EXPORTMAP_BACKING_FILE] = { "backing_file", false },
    [EXPORTMAP_BACKING_DEV] = { "backing_dev", false },
    [EXPORTMAP_BACKING_INODE] = { "backing_inode", true },
    [EXPORTMAP_BACKING_OFFSET] = { "backing_offset", true },
};

const char *exportmap_key_name(enum exportmap_key key)
{
    return keys[key].name;
}

bool exportmap_key_is_number(enum exportmap_key key)
{
    return keys[key].number;
}

enum exportmap_key exportmap_key_find(const char *name)
{
    enum exportmap_key key = 0;

    while (key < EXPORTMAP_KEYS && strcmp(keys[key].name, name) != 0)
        key++;
    return key;
}

void exportmap_identity_free(struct exportmap_identity *identity)
{
    for (int key = 0; key < EXPORTMAP_KEYS; key++)
        free(identity->value[key]);
    *identity = (struct exportmap_identity){ 0 };
}

void exportmap_disk_free(struct exportmap_disk *disk)
{
    exportmap_identity_free(&disk->identity);
}

static int __attribute__((format(printf, 3, 4)))
set_value(struct exportmap_identity *identity, enum exportmap_key key, const char *fmt, ...)
{
    va_list args;
    int r;

    va_start(args, fmt);
    r = vasprintf(&identity->value[key], fmt, args);
    va_end(args);
    if (r < 0)
        identity->value[key] = NULL;
    return r < 0 ? -1 : 0;
}

static int probe_file(int fd, const struct stat *st, struct exportmap_disk *disk,
                      struct error **err)
{
    struct exportmap_identity *id = &disk->identity;
    struct statx stx = { 0 };

    disk->size = (uint64_t)st->st_size;
    if (set_value(id, EXPORTMAP_DEV, "%u:%u", major(st->st_dev), minor(st->st_dev)) < 0 ||
        set_value(id, EXPORTMAP_INODE, "%" PRIu64, (uint64_t)st->st_ino) < 0)
        return error_set_errno(err, ENOMEM, "reading the file's identity");
    /* An inode number is used again after its file is deleted; the time of birth is not. */
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) == 0 && (stx.stx_mask & STATX_BTIME) &&
        set_value(id, EXPORTMAP_BIRTH, "%" PRId64 ".%09" PRIu32, (int64_t)stx.stx_btime.tv_sec,
                  stx.stx_btime.tv_nsec) < 0)
        return error_set_errno(err, ENOMEM, "reading the file's identity");
    return 0;
}

/* The first of these sysfs attributes that is there and not empty, without white
 * space around it. Stays NULL when none is. */
static int read_attribute(int sysfs, const char *const names[], struct exportmap_identity *id,
                          enum exportmap_key key)
{
    for (size_t i = 0; names[i] && !id->value[key]; i++) {
        CLEANUP_CLOSE int fd = openat(sysfs, names[i], O_RDONLY | O_CLOEXEC);
        char text[PATH_MAX + 1];
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        char *start = text;

        while (n > 0 && strchr(" \t\n", text[n - 1]))
            n--;
        if (n <= 0)
            continue;
        text[n] = '\0';
        start += strspn(start, " \t");
        if (set_value(id, key, "%s", start) < 0)
            return -1;
    }
    return 0;
}

static int probe_loop(int fd, int sysfs, struct exportmap_identity *id)
{
    static const char *const backing_file[] = { "loop/backing_file", NULL };
    struct loop_info64 info;
    dev_t dev;

    if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
        return 0; /* not a loop device, or nothing is attached to it */
    dev = (dev_t)info.lo_device;
    if (read_attribute(sysfs, backing_file, id, EXPORTMAP_BACKING_FILE) < 0 ||
        set_value(id, EXPORTMAP_BACKING_DEV, "%u:%u", major(dev), minor(dev)) < 0 ||
        set_value(id, EXPORTMAP_BACKING_INODE, "%" PRIu64, (uint64_t)info.lo_inode) < 0 ||
        set_value(id, EXPORTMAP_BACKING_OFFSET, "%" PRIu64, (uint64_t)info.lo_offset) < 0)
        return -1;
    return 0;
}

/* A partition's number is its own; serial and wwid are its disk's. */
static int probe_sysfs(int fd, const struct stat *st, struct exportmap_identity *id)
{
    static const char *const partition[] = { "partition", NULL };
    static const char *const serial[] = { "serial", "device/serial", "../serial",
                                          "../device/serial", NULL };
    static const char *const wwid[] = { "wwid",       "device/wwid", "dm/uuid",
                                        "md/uuid",    "../wwid",     "../device/wwid",
                                        "../dm/uuid", "../md/uuid",  NULL };
    CLEANUP_CLOSE int sysfs = -1;
    char path[64];
    bool part;

    snprintf(path, sizeof path, "/sys/dev/block/%u:%u", major(st->st_rdev), minor(st->st_rdev));
    sysfs = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sysfs < 0)
        return 0; /* no sysfs here: no stable key, and so no writing */
    if (read_attribute(sysfs, partition, id, EXPORTMAP_PARTITION) < 0)
        return -1;
    part = id->value[EXPORTMAP_PARTITION] != NULL;
    if (read_attribute(sysfs, part ? serial + 2 : serial, id, EXPORTMAP_SERIAL) < 0 ||
        read_attribute(sysfs, part ? wwid + 4 : wwid, id, EXPORTMAP_WWID) < 0)
        return -1;
    return probe_loop(fd, sysfs, id);
}

static int probe_block(int fd, const struct stat *st, struct exportmap_disk *disk,
                       struct error **err)
{
    struct exportmap_identity *id = &disk->identity;

    disk->block = true;
    if (ioctl(fd, BLKGETSIZE64, &disk->size) < 0)
        return error_set_errno(err, errno, "reading the block device's size");
    if (set_value(id, EXPORTMAP_DEV, "%u:%u", major(st->st_rdev), minor(st->st_rdev)) < 0 ||
        set_value(id, EXPORTMAP_SIZE, "%" PRIu64, disk->size) < 0 || probe_sysfs(fd, st, id) < 0)
        return error_set_errno(err, ENOMEM, "reading the block device's identity");
    return 0;
}

int exportmap_disk_probe(int fd, struct exportmap_disk *disk, struct error **err)
{
    struct stat st;
    int r;

    *disk = (struct exportmap_disk){ 0 };
    if (fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "fstat");
    if (S_ISREG(st.st_mode))
        r = probe_file(fd, &st, disk, err);
    else if (S_ISBLK(st.st_mode))
        r = probe_block(fd, &st, disk, err);
    else
        return error_set(err, "is neither a regular file nor a block device");
    if (r < 0)
        exportmap_disk_free(disk);
    return r;
}

int exportmap_rbd_probe(const char *path, struct exportmap_disk *disk, struct error **err)
{
    char id[RBD_ID];

    *disk = (struct exportmap_disk){ .block = true };
    if (rbd_stat(path, &disk->size, id, err) < 0)
        return -1;
    if (set_value(&disk->identity, EXPORTMAP_WWID, "rbd.%s", id) == 0 &&
        set_value(&disk->identity, EXPORTMAP_SIZE, "%" PRIu64, disk->size) == 0)
        return 0;
    exportmap_disk_free(disk);
    return error_set_errno(err, ENOMEM, "%s", path);
}

static int check_sufficient(const struct exportmap_identity *wanted,
                            const struct exportmap_disk *found, struct error **err)
{
    if (!found->block) {
        if (!wanted->value[EXPORTMAP_INODE] ||
            (!wanted->value[EXPORTMAP_DEV] && !wanted->value[EXPORTMAP_BIRTH]))
            return error_set(err, "the map's identity needs the file's inode, and its dev or "
                                  "birth, before the file may be written");
        return 0;
    }
    if (!wanted->value[EXPORTMAP_SERIAL] && !wanted->value[EXPORTMAP_WWID] &&
        !wanted->value[EXPORTMAP_BACKING_FILE])
        return error_set(err, "the map's identity needs the block device's serial, wwid or "
                              "backing_file before the device may be written");
    if (found->identity.value[EXPORTMAP_PARTITION] && !wanted->value[EXPORTMAP_PARTITION])
        return error_set(err, "the map's identity needs the partition's number before the "
                              "partition may be written");
    return 0;
}

int exportmap_identity_check(const struct exportmap_identity *wanted,
                             const struct exportmap_disk *found, bool for_writing,
                             struct error **err)
{
    for (enum exportmap_key key = 0; key < EXPORTMAP_KEYS; key++) {
        const char *want = wanted->value[key];
        const char *have = found->identity.value[key];

        if (key == EXPORTMAP_BACKING_OFFSET && !want && wanted->value[EXPORTMAP_BACKING_FILE])
            want = "0";
        if (want && (!have || strcmp(want, have) != 0))
            return error_set(err, "is not the disk that was mapped: its %s is %s, the map says %s",
                             keys[key].name, have ? have : "not to be had", want);
    }
    return for_writing ? check_sufficient(wanted, found, err) : 0;
}
