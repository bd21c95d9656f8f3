/* Files in a guest's disks, read by GRUB's own file system code in a process of its own:
 * ext2 to ext4, XFS, Btrfs, NTFS, FAT, ISO 9660, and through LVM and MD, without a mount and
 * without root. What comes in are raw views; only reads. */
#ifndef VMFERRY_CONVERT_FILES_H
#define VMFERRY_CONVERT_FILES_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"

#define VOLUME_NAME 128

/* A partition, a logical volume, or a whole disk. */
struct volume {
    char name[VOLUME_NAME]; /* GRUB's: loop0,gpt3; lvm/vg-root */
    char type[32];          /* GRUB's: ext*, xfs, ntfs …; "": no file system that it knows */
    char uuid[64];
    int disk;             /* from 0; -1: it is not of one disk */
    uint64_t start, size; /* bytes; size 0: the whole disk */
};

struct guest_files {
    const char (*views)[PATH_MAX];
    size_t view_count;
    const char *directory; /* for files that are taken out */
    struct volume *volumes;
    size_t count;
};

/* `views` and `directory` stay the caller's. */
int files_open(const char (*views)[PATH_MAX], size_t count, const char *directory,
               struct guest_files *files, struct error **err);
void files_close(struct guest_files *files);
#define CLEANUP_FILES CLEANUP(files_close)

/* Names in a directory, those of directories with a slash behind; none when it is not there.
 * NULL ends the list; files_free_names() frees it. */
int files_list(const struct guest_files *files, const struct volume *volume, const char *directory,
               char ***names, struct error **err);
void files_free_names(char ***names);
#define CLEANUP_NAMES CLEANUP(files_free_names)

/* The path as it is spelled on the volume, of one whose case is not known, as in Windows.
 * False: it is not there. */
bool files_spell(const struct guest_files *files, const struct volume *volume, const char *path,
                 char *spelled);

/* The first bytes of a file; the rest of `head` is zeroes. False: as below. */
bool files_head(const struct guest_files *files, const struct volume *volume, const char *path,
                char *head, size_t size);

/* Copy a file out; `local` is its new name, PATH_MAX long, unlinked by the caller. False: it is
 * not there, or can't be read. */
bool files_take(const struct guest_files *files, const struct volume *volume, const char *path,
                char *local);
/* The same, opened for reading and unlinked. NULL: as above. */
FILE *files_open_file(const struct guest_files *files, const struct volume *volume,
                      const char *path);

#endif
