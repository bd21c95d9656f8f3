/* Whether a guest can boot from virtio disks as it is. What comes in are its disks; what goes
 * out: yes, no, or that it can't be told cheaply, with a reason, and where its system is. Only
 * reads. */
#ifndef VMFERRY_CONVERT_LOOK_H
#define VMFERRY_CONVERT_LOOK_H

#include "convert/convert.h"
#include "convert/files.h"

#define LOOK_DIRECTORY 96

enum look_answer { LOOK_READY, LOOK_NEEDED, LOOK_UNKNOWN };

struct look {
    enum look_answer answer;
    char why[CONVERT_TEXT];
    char blocker[CONVERT_TEXT]; /* it must not be converted, because; or "" */
    char os[16];                /* linux, windows; "": none was found */
    bool hidden;                /* a system may be in a subvolume where none is looked for */
    struct volume root;         /* of the system; name "": not found */
    struct volume boot;         /* where Linux has its initramfs */
    char boot_directory[LOOK_DIRECTORY]; /* there, with a slash behind */
    char root_directory[LOOK_DIRECTORY]; /* of the system on its volume: "", or a subvolume: /@ */
};

int look_disks(const struct guest_files *files, const char *bus, struct look *look,
               struct error **err);

/* For look_disks(): what one volume says. *look is only added to. */
int look_linux(const struct guest_files *files, const struct volume *volume, const char *bus,
               struct look *look, struct error **err);
int look_windows(const struct guest_files *files, const struct volume *volume, const char *bus,
                 struct look *look, struct error **err);

/* It can't be ready any more: the first reason stays. NEEDED counts more than UNKNOWN. */
void look_add(struct look *look, enum look_answer answer, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* When all volumes were seen: a Linux without an initramfs may have the drivers built in. */
int look_linux_bare(const struct guest_files *files, const char *bus, struct look *look,
                    struct error **err);

/* The names of Linux that are an initramfs which is booted from. */
bool look_is_initramfs(const char *name);
/* The kernel's, of initrd.img-VERSION, initramfs-VERSION.img, initrd-VERSION; "": it has none. */
#define LOOK_VERSION 128
void look_version(const char *name, char version[LOOK_VERSION]);

#endif
