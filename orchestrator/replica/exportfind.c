/* Finding a block device again that has another name now; see exportcheck.h. What comes in:
 * a mapping whose path leads elsewhere. What goes out: the one device that is its own. A
 * serial number, wwid or backing file is proof. A name from udev or of the partition is
 * believed when the blocks that are looked at are the replica's. Without any of them all
 * blocks have to be. Two devices that match, or a device that two mappings match, are
 * nobody's. */
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>

#include "replica/exportcheck-parts.h"
#include "replica/exportrow.h"
#include "replica/volume.h"

/* What the newest point says is on the device, when it is that point's image. */
struct proof {
    bool has;
    char leaves[PATH_MAX];
    uint64_t capacity;
};

static int scan(struct mappings *all, struct error **err)
{
    if (all->scanned)
        return 0;
    if (blockdevices_scan(&all->devices, err) < 0)
        return -1;
    all->scanned = true;
    return 0;
}

static enum blockdevice_match match(const struct mapping *mapping, const struct blockdevice *device)
{
    struct blockdevice_wanted wanted = { .identity = &mapping->wanted.identity,
                                         .record = mapping->record,
                                         .size = mapping->wanted.size };

    return blockdevice_match(&wanted, device);
}

/* A device that is being written has no leaves yet: a job that died left it in between. */
static int find_proof(const struct mappings *all, const struct mapping *mapping,
                      struct proof *proof, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *disks = NULL;
    CLEANUP_ERROR struct error *none = NULL;
    struct store_point point;
    size_t count;

    *proof = (struct proof){ 0 };
    if (mapping->row.active)
        return 0;
    if (store_point_find(all->store, mapping->row.vm_id, 0, &point, &none) < 0)
        return none->errnum == ENOENT ? 0 : error_move(err, &none);
    if (store_point_disks(all->store, point.id, &disks, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (disks[i].unit != mapping->row.unit || strcmp(disks[i].image, mapping->row.path) != 0)
            continue;
        proof->has = true;
        proof->capacity = disks[i].capacity;
        return volume_path(all->state_dir, disks[i].leaves, proof->leaves, err);
    }
    return 0;
}

/* The base of another disk, by the links in the state directory. */
static bool is_linked(const struct mappings *all, const struct mapping *mapping, dev_t number)
{
    char pattern[PATH_MAX], own[PATH_MAX];
    CLEANUP_ERROR struct error *long_path = NULL;
    glob_t found = { 0 };
    bool linked = false;
    struct stat st;

    if (volume_path(all->state_dir, mapping->row.path, own, &long_path) < 0 ||
        snprintf(pattern, sizeof pattern, "%s/replicas/*/disk-*/base.*", all->state_dir) >=
            (int)sizeof pattern)
        return false;
    if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && !linked; i++)
            linked = strcmp(found.gl_pathv[i], own) != 0 && stat(found.gl_pathv[i], &st) == 0 &&
                     S_ISBLK(st.st_mode) && st.st_rdev == number;
    }
    globfree(&found);
    return linked;
}

/* Another mapping's own, so that it can't be this one's. */
static bool is_taken(struct mappings *all, const struct mapping *mapping,
                     const struct blockdevice *device)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct mapping *other = &all->list[i];

        if (other != mapping && mapping_is_block(other) && match(other, device) == BLOCKDEVICE_SURE)
            return true;
    }
    return is_linked(all, mapping, device->number);
}

static bool is_used(const struct blockdevice *device)
{
    CLEANUP_CLOSE int fd = open(device->path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);

    return fd < 0;
}

/* Those that match as well as `level` says; *first is one of them. The names are for people. */
static size_t count_matches(struct mappings *all, const struct mapping *lost,
                            enum blockdevice_match level, const struct blockdevice **first,
                            char names[256])
{
    size_t count = 0, used = 0;

    for (size_t i = 0; i < all->devices.count; i++) {
        const struct blockdevice *device = &all->devices.list[i];

        if (match(lost, device) != level ||
            (level != BLOCKDEVICE_SURE && is_taken(all, lost, device)))
            continue;
        if (count++ == 0)
            *first = device;
        if (used < 256)
            used +=
                (size_t)snprintf(names + used, 256 - used, "%s%s", used ? ", " : "", device->path);
    }
    return count;
}

/* Another mapping has lost its device, too, and this could be that one. */
static const struct mapping *find_rival(struct mappings *all, const struct mapping *lost,
                                        const struct blockdevice *device,
                                        enum blockdevice_match level)
{
    for (size_t i = 0; i < all->count; i++) {
        struct mapping *other = &all->list[i];

        if (other == lost || !mapping_is_block(other))
            continue;
        mapping_look(other);
        if (other->state != DISK_SAME && match(other, device) >= level)
            return other;
    }
    return NULL;
}

static int check_rival(struct mappings *all, const struct mapping *lost,
                       const struct blockdevice *device, enum blockdevice_match level,
                       struct error **err)
{
    const struct mapping *rival = find_rival(all, lost, device, level);

    return rival ? error_set(err, "%s could be the device of %s as well", device->path,
                             rival->row.name)
                 : 0;
}

/* 1: it holds what the newest point says. */
static int holds(const struct proof *proof, const struct blockdevice *device, bool whole,
                 struct error **err)
{
    return blockdevice_holds(device->path, proof->leaves, proof->capacity, whole, err);
}

static const struct blockdevice *take_likely(struct mappings *all, const struct mapping *lost,
                                             const struct blockdevice *device,
                                             const struct proof *proof, struct error **err)
{
    int r = proof->has ? holds(proof, device, false, err) : 0;

    if (r < 0 || check_rival(all, lost, device, BLOCKDEVICE_LIKELY, err) < 0)
        return NULL;
    if (r > 0)
        return device;
    error_set(err, "%s has its name, but %s", device->path,
              proof->has ? "does not hold what the newest restore point says"
                         : "no restore point says what it should hold");
    return NULL;
}

/* Devices of this size that hold the replica, as far as `whole` says. */
static int count_holders(struct mappings *all, const struct mapping *lost,
                         const struct proof *proof, bool whole, const struct blockdevice **holder,
                         char names[256], struct error **err)
{
    size_t used = 0;
    int count = 0;

    for (size_t i = 0; i < all->devices.count; i++) {
        const struct blockdevice *device = &all->devices.list[i];
        int r;

        if (match(lost, device) != BLOCKDEVICE_UNKNOWN || is_taken(all, lost, device) ||
            is_used(device))
            continue;
        r = holds(proof, device, whole, err);
        if (r < 0)
            return -1;
        if (r == 0)
            continue;
        *holder = device;
        count++;
        if (used < 256)
            used +=
                (size_t)snprintf(names + used, 256 - used, "%s%s", used ? ", " : "", device->path);
    }
    return count;
}

/* Another lost mapping's data would fit as well. */
static int check_rival_content(struct mappings *all, const struct mapping *lost,
                               const struct blockdevice *device, struct error **err)
{
    for (size_t i = 0; i < all->count; i++) {
        struct mapping *other = &all->list[i];
        struct proof proof;
        int r;

        if (other == lost || !mapping_is_block(other))
            continue;
        mapping_look(other);
        if (other->state == DISK_SAME || match(other, device) == BLOCKDEVICE_OTHER)
            continue;
        if (find_proof(all, other, &proof, err) < 0)
            return -1;
        r = proof.has ? holds(&proof, device, false, err) : 0;
        if (r < 0)
            return -1;
        if (r > 0)
            return error_set(err, "%s could be the device of %s as well", device->path,
                             other->row.name);
    }
    return 0;
}

static const struct blockdevice *find_by_content(struct mappings *all, const struct mapping *lost,
                                                 const struct proof *proof, struct error **err)
{
    const struct blockdevice *holder = NULL;
    char names[256] = "";
    int count;

    if (!proof->has || !all->check->read_devices) {
        error_set(err, "no device has its serial number, wwid, name or backing file%s",
                  proof->has ? "; `vmferry export repair` also looks for its data" : "");
        return NULL;
    }
    count = count_holders(all, lost, proof, false, &holder, names, err);
    if (count > 1)
        error_set(err, "%d devices hold its data: %s; detach all but the right one", count, names);
    else if (count == 0)
        error_set(err, "no device has its serial number, wwid, name, backing file or data");
    if (count != 1 || check_rival_content(all, lost, holder, err) < 0)
        return NULL;
    count = holds(proof, holder, true, err);
    if (count == 0)
        error_set(err, "%s holds most of its data, but not all: an older copy?", holder->path);
    return count == 1 ? holder : NULL;
}

const struct blockdevice *mapping_find_device(struct mappings *all, struct mapping *lost,
                                              const char **how, struct error **err)
{
    const struct blockdevice *device = NULL;
    struct proof proof;
    char names[256] = "";
    size_t count;

    if (scan(all, err) < 0 || find_proof(all, lost, &proof, err) < 0)
        return NULL;
    *how = "its identity";
    count = count_matches(all, lost, BLOCKDEVICE_SURE, &device, names);
    if (count == 1)
        return check_rival(all, lost, device, BLOCKDEVICE_SURE, err) < 0 ? NULL : device;
    if (count == 0) {
        *how = "its name and data";
        count = count_matches(all, lost, BLOCKDEVICE_LIKELY, &device, names);
        if (count == 1)
            return take_likely(all, lost, device, &proof, err);
    }
    if (count > 1) {
        error_set(err, "%zu devices match: %s; detach all but the right one", count, names);
        return NULL;
    }
    *how = "its data";
    return find_by_content(all, lost, &proof, err);
}
