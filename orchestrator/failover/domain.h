/* A test domain: made of a VM's spec and its disks, started, removed. What comes in
 * is the spec and the images of each disk; what goes out is a running libvirt domain
 * that outlives this process and is found again by its uuid.
 *
 * libvirt gets the disks as open file descriptors (virDomainFDAssociate). So QEMU runs
 * as libvirt's own unprivileged user, needs no permission on the state directory or
 * on any image, can't write what was opened for reading, and libvirt changes no
 * file's owner or mode. Only bases that are devices or RBD images are named to it. */
#ifndef VMFERRY_FAILOVER_DOMAIN_H
#define VMFERRY_FAILOVER_DOMAIN_H

#include <limits.h>

#include "failover/libvirt.h"
#include "replica/point.h"
#include "source/spec.h"

struct domain_disk {
    int key;                           /* the guest sees serial "disk-KEY" */
    char overlay[PATH_MAX];            /* qcow2, written by the guest */
    const struct replica_image *chain; /* below it, never written; the last one is the base */
    size_t chain_length;
};

struct domain_plan {
    const struct vm_spec *spec;
    const char *uuid; /* the domain's own, not the VM's: the source may run beside it */
    const char *name;
    const char *title;
    const char *virt_type;           /* kvm, qemu */
    const char *network;             /* libvirt network of all NICs */
    const char *console;             /* file that gets the serial console */
    const struct domain_disk *disks; /* in unit order: the first one boots */
    size_t disk_count;
};

/* The domain's XML; the caller's to free. NULL only without memory. */
char *domain_xml(const struct domain_plan *plan);

/* Define it and boot it. An error may leave the definition behind. */
int domain_start(virConnectPtr connection, const struct domain_plan *plan, virDomainPtr *domain,
                 struct error **err);

/* Stop it at once and remove it with its NVRAM. Nothing to do when there is none. */
int domain_remove(virConnectPtr connection, const char *uuid, struct error **err);

#endif
