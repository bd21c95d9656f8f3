/* A VM's virtual hardware: what comes in is the value of config.hardware.device, of a VM
 * or of a snapshot; what goes out are its disks and network cards. Devices of types that
 * are not known here are passed over. */
#ifndef VMFERRY_VSPHERE_DEVICE_H
#define VMFERRY_VSPHERE_DEVICE_H

#include "source/spec.h"
#include "source/vsphere/soap.h"

enum vsphere_backing {
    BACKING_OTHER,   /* of a type that is not known here */
    BACKING_FLAT,    /* NAME-flat.vmdk beside a descriptor: thin or thick */
    BACKING_SPARSE,  /* a delta or another sparse format: not readable without a library */
    BACKING_MAPPING, /* RDM: a LUN behind a pointer file */
    BACKING_RAW,     /* a local device or partition */
};

struct vsphere_disk {
    int key;
    int unit; /* of this disk alone in its VM; see device_unit() */
    int controller_key;
    int unit_number; /* on its controller; -1: none */
    int bus;         /* the controller's number among those of its class; -1: unknown */
    char label[64];
    char controller[32]; /* type: "pvscsi"; "" when it is not in the list */
    char address[32];    /* "scsi0:1", as in a .vmx file */
    char type[64];       /* of the backing: "VirtualDiskFlatVer2BackingInfo" */
    enum vsphere_backing backing;
    char file[1024];     /* "[ds1] app01/app01.vmdk" */
    char datastore[256]; /* "ds1" */
    char uuid[SPEC_TEXT];
    char change_id[SPEC_TEXT];
    char mode[32];
    uint64_t capacity; /* bytes; 0: not told */
    bool physical;     /* BACKING_MAPPING in physical mode: no snapshots */
    bool multi_writer; /* other VMs may write to it */
    bool shared_bus;   /* the controller's bus is shared with other VMs */
    bool encrypted;
    unsigned parents; /* length of the chain below this file: 0: a base */
};

struct vsphere_nic {
    int key;
    char mac[18]; /* "": it has none yet */
    char network[SPEC_TEXT];
    char portgroup[SPEC_TEXT]; /* of a distributed switch: its key; network is "" then */
    char model[32];
};

struct vsphere_devices {
    struct vsphere_disk *disks; /* as they came */
    size_t disk_count;
    struct vsphere_nic *nics;
    size_t nic_count;
    bool tpm;
    unsigned passthrough; /* PCI devices of the host */
};

/* *devices is empty before. */
int devices_parse(const xmlNode *array, struct vsphere_devices *devices, struct error **err);
void devices_free(struct vsphere_devices *devices);
#define CLEANUP_DEVICES CLEANUP(devices_free)

/* NULL: none of this key. */
const struct vsphere_disk *devices_disk(const struct vsphere_devices *devices, int key);

/* "independent_persistent" and "independent_nonpersistent". */
bool disk_is_independent(const struct vsphere_disk *disk);
/* No snapshot holds it. */
bool disk_is_outside_snapshots(const struct vsphere_disk *disk);

/* Fill the disks and nics of a spec, which has none yet. Change ids are taken over when
 * the devices are a snapshot's. */
int devices_to_spec(const struct vsphere_devices *devices, bool of_snapshot, struct vm_spec *spec,
                    struct error **err);

#endif
