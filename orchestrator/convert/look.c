/* Looking at all of a guest's disks; see look.h. */
#include "convert/look.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

void look_add(struct look *look, enum look_answer answer, const char *fmt, ...)
{
    va_list args;

    if (look->answer == LOOK_NEEDED || (look->answer == answer && look->why[0]))
        return;
    look->answer = answer;
    va_start(args, fmt);
    vsnprintf(look->why, sizeof look->why, fmt, args);
    va_end(args);
}

#define HIBERNATED "a hibernated system"

/* What holds a guest's files, but is not opened here. */
static const struct container {
    const char *name;
    uint64_t offset;
    const char *magic;
} containers[] = {
    { "LUKS", 0, "LUKS\xba\xbe" },
    { "LVM", 512, "LABELONE" },
    { "BitLocker", 3, "-FVE-FS-" },
    { "XFS", 0, "XFSB" },
    { "Btrfs", 0x10040, "_BHRfS_M" },
    { "ext4", 0x438, "\x53\xef" },
    { "NTFS", 3, "NTFS    " },
    { "Linux RAID", 4096, "\xfc\x4e\x2b\xa9" },
    { "a swap file system", 4086, "SWAPSPACE2" },
    { HIBERNATED, 4086, "S1SUSPEND" },
};

/* NULL: nothing that is known. */
static const char *container_of(const struct guest_files *files, const struct volume *volume)
{
    CLEANUP_CLOSE int fd = -1;

    if (volume->disk < 0 || (size_t)volume->disk >= files->view_count)
        return NULL;
    fd = open(files->views[volume->disk], O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; fd >= 0 && i < sizeof containers / sizeof containers[0]; i++) {
        size_t length = strlen(containers[i].magic);
        char found[16];

        if (pread(fd, found, length, (off_t)(volume->start + containers[i].offset)) ==
                (ssize_t)length &&
            memcmp(found, containers[i].magic, length) == 0)
            return containers[i].name;
    }
    return NULL;
}

static bool has_logical_volumes(const struct guest_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        if (strncmp(files->volumes[i].name, "lvm", 3) == 0)
            return true;
    }
    return false;
}

/* Its programs go on from memory at the next boot, and know nothing of what we change. */
static void check_hibernation(const struct guest_files *files, struct look *look)
{
    for (size_t i = 0; i < files->count; i++) {
        const struct volume *volume = &files->volumes[i];
        const char *name = volume->type[0] ? NULL : container_of(files, volume);

        if (name && strcmp(name, HIBERNATED) == 0)
            strcpy(look->blocker, "its Linux is hibernated: start it, shut it down, and take its "
                                  "disks then");
    }
}

/* A place where a system may be that we don't see. */
static const char *unseen(const struct guest_files *files, char place[CONVERT_TEXT])
{
    for (size_t i = 0; i < files->count; i++) {
        const struct volume *volume = &files->volumes[i];
        const char *name = volume->type[0] ? NULL : container_of(files, volume);

        if (!name || strncmp(name, "a ", 2) == 0 || /* swap */
            (strcmp(name, "LVM") == 0 && has_logical_volumes(files)))
            continue;
        snprintf(place, CONVERT_TEXT, "%s on disk %d can't be looked into cheaply", name,
                 volume->disk + 1);
        return place;
    }
    return NULL;
}

int look_disks(const struct guest_files *files, const char *bus, struct look *look,
               struct error **err)
{
    char place[CONVERT_TEXT];

    *look = (struct look){ .answer = LOOK_READY };
    for (size_t i = 0; i < files->count; i++) {
        const struct volume *volume = &files->volumes[i];
        int r = 0;

        if (strcmp(volume->type, "ntfs") == 0)
            r = look_windows(files, volume, bus, look, err);
        else if (volume->type[0] && strcmp(volume->type, "fat") != 0)
            r = look_linux(files, volume, bus, look, err);
        if (r < 0)
            return -1;
    }
    check_hibernation(files, look);
    if (strcmp(look->os, "linux") == 0 && look->root.name[0] && !look->boot.name[0] &&
        look_linux_bare(files, bus, look, err) < 0)
        return -1;
    if (look->why[0])
        return 0;
    if (look->os[0])
        snprintf(look->why, sizeof look->why, "its system has the drivers for disks on %s",
                 strcmp(bus, "scsi") == 0 ? "virtio-scsi" : "virtio");
    else if (unseen(files, place))
        look_add(look, LOOK_UNKNOWN, "%s", place);
    else if (look->hidden)
        look_add(look, LOOK_UNKNOWN, "the subvolumes of its Btrfs can't be looked into cheaply");
    else
        strcpy(look->why, "there is no system on its disks that is known");
    return 0;
}
