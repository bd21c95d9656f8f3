/* A domain: made of chosen hardware, disks and NICs, started, removed. What goes out is a
 * running libvirt domain that outlives this process and is found again by its uuid.
 *
 * A libvirt on this host gets the disks as open file descriptors (virDomainFDAssociate). So
 * QEMU runs as libvirt's own unprivileged user, needs no permission on the state
 * directory or on any image, can't write what was opened for reading, and libvirt changes
 * no file's owner or mode. Only bases that are devices or RBD images are named to it.
 * To another host no descriptor can be sent: there QEMU opens the images by their paths,
 * and runs as the user whose they are. */
#ifndef VMFERRY_FAILOVER_DOMAIN_H
#define VMFERRY_FAILOVER_DOMAIN_H

#include <limits.h>

#include "failover/hardware.h"
#include "failover/libvirt.h"
#include "failover/override.h"
#include "replica/point.h"

struct domain_disk {
    int key;                           /* the guest sees serial "disk-KEY" */
    unsigned boot;                     /* place in the boot order, from 1; 0: it does not boot */
    char overlay[PATH_MAX];            /* qcow2, written by the guest */
    const struct replica_image *chain; /* below it, never written; the last one is the base */
    size_t chain_length;
};

struct domain_nic {
    char mac[18];      /* "": libvirt makes one */
    const char *model; /* QEMU's */
    bool bridge;       /* `network` is a bridge of the host, not a libvirt network */
    bool isolated;     /* `network` is made for this failover */
    char network[256];
};

struct domain_plan {
    const struct hardware *hardware;
    const char *uuid; /* the domain's own, not the VM's: the source may run beside it */
    const char *name;
    const char *title;
    const char *virt_type;           /* kvm, qemu */
    const char *console;             /* file that gets what the serial console says */
    const struct domain_disk *disks; /* in unit order */
    size_t disk_count;
    const struct domain_nic *nics;
    size_t nic_count;
    bool persistent; /* it is to be started again by others, after its host was: see by_path */
    bool by_path;    /* images are opened by libvirt, as this user and group */
    unsigned uid, gid;
    const struct override *override; /* what the operator changes in the XML; NULL: nothing */
};

/* The domain's XML, overrides applied; the caller's to free. */
int domain_xml(const struct domain_plan *plan, char **xml, struct error **err);

/* After overrides: the domain is still ours, and no image below an overlay can be written. */
int domain_guard(const struct domain_plan *plan, xmlDocPtr document, struct error **err);

/* The devices of it. */
void domain_add_devices(xmlNodePtr root, const struct domain_plan *plan);

#define DOMAIN_MACHINE "q35"
/* With UEFI: the file with its code. */
const char *domain_firmware(const struct hardware *hardware);

/* Whether what it needs is installed on this host. */
int domain_check(const struct domain_plan *plan, struct error **err);

/* Define it and boot it. An error may leave the definition behind. */
int domain_start(virConnectPtr connection, const struct domain_plan *plan, virDomainPtr *domain,
                 struct error **err);

/* Define it, with nothing that says it could start. */
int domain_define(virConnectPtr connection, const struct domain_plan *plan, virDomainPtr *domain,
                  struct error **err);

/* Whether libvirt has it, and it runs. */
int domain_look(virConnectPtr connection, const char *uuid, bool *exists, bool *active,
                struct error **err);

/* Ask its guest to shut down, and stop it at once when it has not done so by then. */
int domain_stop(virConnectPtr connection, const char *uuid, unsigned timeout_s, struct error **err);

/* Stop it at once and remove it with its NVRAM and TPM. Nothing to do when there is none. */
int domain_remove(virConnectPtr connection, const char *uuid, struct error **err);

/* It is a file: libvirt takes descriptors of nothing else. */
bool domain_gets_descriptor(const char *path);

/* The name under which domain_start() hands over the descriptor of one image: level 0 is the
 * overlay, 1 the image below it. */
#define DOMAIN_GROUP 32
void domain_fd_group(char group[DOMAIN_GROUP], int key, size_t level);

#endif
