/* Conversion: a guest that comes from another hypervisor gets what it needs to boot from
 * virtio disks. What comes in are all disks of one VM, images that may be written (overlays
 * of a restore point; never the point itself). What goes out: whether that was needed, why,
 * and, when it was, the disks converted in place.
 *
 * It is found out first, without writing and without the host's kernel mounting anything
 * of the guest's: a guest that has virtio drivers is left alone. All of it is done by a worker:
 * this program again, in namespaces of its own (processes, mounts, network) where it is run by
 * root. It dies with its parent, and everything that it started or mounted dies with it. */
#ifndef VMFERRY_CONVERT_H
#define VMFERRY_CONVERT_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"

#define CONVERT_TEXT 512

/* auto: virt-v2v when it is needed; v2v, native: that engine when it is needed; none: never. */
#define CONVERT_ENGINES "auto|v2v|native|none"

#define CONVERT_TIMEOUT_S 3600

struct convert_disk {
    char path[PATH_MAX];
    char format[8]; /* qcow2, raw: as the caller knows it, never guessed */
};

struct convert_request {
    const struct convert_disk *disks; /* in the guest's order */
    size_t disk_count;
    const char *name; /* the VM's, for messages */
    const char *engine;
    const char *bus; /* of the disks in the new machine: virtio, scsi; others need no driver */
    bool uefi;
    const char *virt_type;    /* kvm, qemu: what virt-v2v's appliance runs under */
    const char *virtio_win;   /* directory or ISO of virtio-win; "" or NULL: none */
    const char *virt_tools;   /* directory with rhsrvany.exe; "" or NULL: where virt-v2v has it */
    const char *directory;    /* for what is needed meanwhile; removed again */
    const char *log;          /* file that gets all that the engine says, appended */
    bool only_look;           /* write nothing */
    unsigned timeout_s;       /* 0: CONVERT_TIMEOUT_S */
    const atomic_int *cancel; /* not 0: stop; or NULL */
    void (*say)(void *opaque, const char *line); /* what happens, for people; or NULL */
    void *opaque;
};

struct convert_result {
    bool needed;
    char why[CONVERT_TEXT];
    char os[16];     /* linux, windows; "": not known */
    char engine[16]; /* that did it: v2v, native; none: nothing was done */
    double seconds;
};

/* An error leaves the disks in an unknown state, but for those whose kind is ERROR_USAGE: then
 * nothing was written. */
int convert_run(const struct convert_request *request, struct convert_result *result,
                struct error **err);

/* Remove what a worker whose machine died left in a request's `directory`. */
void convert_sweep(const char *directory);

/* The other end: reads a request from `in`, writes lines to `out`. For the command that
 * convert_run() starts. */
int convert_worker(FILE *in, FILE *out, struct error **err);

#endif
