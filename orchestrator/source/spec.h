/* The description of a VM: what a source offers now, and what the store keeps of
 * it. Its JSON form (vmferry-source(1) explains each member):
 *
 *   { "uuid": "…", "name": "app01", "path": "/DC/vm/app01", "firmware": "bios",
 *     "cpus": 2, "cores": 2, "memory": 1073741824,
 *     "secure_boot": false, "tpm": false, "os": "linux",
 *     "nics": [ { "mac": "52:54:00:12:34:56", "network": "LAN", "model": "virtio" } ],
 *     "disks": [ { "key": 2000, "unit": 0, "capacity": 1073741824, "backing_uuid": "…", "boot": 1,
 *                  "uri": "nbd+unix:///vda?socket=/run/vda.sock",    or "file": "vda.img",
 *                  "change_id": "a1/7",
 *                  "changes": { "since": "a1/6", "map": "vda.map" },
 *                  "inventory": { "label": "Hard disk 1", "controller": "pvscsi",
 *                                 "address": "scsi0:0", "backing": "[ds1] app01/app01.vmdk",
 *                                 "mode": "persistent" } } ],
 *     "inventory": { "id": "vm-62", "power": "on", "used": 536870912, "tracking": "on",
 *                    "tools": "running", "guest": "…", "hardware": "vmx-19", "host": "esx1" } }
 *
 * The parser is strict: unknown members, wrong types, duplicates and values out
 * of range are errors that name the file and the JSON path. */
#ifndef VMFERRY_SPEC_H
#define VMFERRY_SPEC_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct json_object;

#define SPEC_UUID     37
#define SPEC_UNIT_MAX INT32_MAX
#define SPEC_TEXT     256
#define SPEC_PLACE    PATH_MAX

/* What an inventory says besides, for people to read: never identity, and nothing is
 * decided by it. Each may be "" or 0: not known. */
struct spec_inventory {
    char id[128];      /* the source's own name of the VM: "vm-62" */
    char power[16];    /* "on", "off", "suspended" */
    char tracking[8];  /* change tracking: "on", "off" */
    char tools[32];    /* "running", "not running", "not installed" */
    char guest[128];   /* "Debian GNU/Linux 12 (64-bit)" */
    char hardware[32]; /* "vmx-19" */
    char host[128];    /* where it runs: "esx1 (VMware ESXi 7.0.3 build-19193900)" */
    uint64_t used;     /* bytes of storage */
};
struct spec_disk_inventory {
    char label[64];      /* "Hard disk 1" */
    char controller[32]; /* its type: "pvscsi" */
    char address[32];    /* "scsi0:1": controller and the unit on it */
    char backing[1024];  /* "[ds1] app01/app01.vmdk" */
    char mode[32];       /* "persistent", "independent_persistent" … */
};

struct spec_nic {
    char mac[18]; /* lower case, colons; "" in a stored one: it has none yet */
    char network[SPEC_TEXT];
    char model[32]; /* "" when not given */
};

struct spec_disk {
    int key;
    int unit;          /* of this disk alone in its VM, and always the same: it names the export */
    uint64_t capacity; /* bytes, a multiple of 512 */
    char backing_uuid[SPEC_TEXT]; /* "" : the source has none, and the disk can't be replicated */
    char place[SPEC_PLACE];       /* an NBD URI or an absolute path: what the copy engine takes;
                                     "": it is readable only while the source serves it */
    bool is_file;                 /* place is a path */
    char change_id[SPEC_TEXT];    /* the moment of the data offered now; "": the source can't say */
    char since[SPEC_TEXT];        /* the change map starts at this moment; "": there is none */
    char changes[SPEC_PLACE];     /* absolute path of a change map, or a metadata context */
    bool changes_is_file;
    int boot; /* place in the firmware's boot order, from 1; 0: not in it, or not known */
    struct spec_disk_inventory inventory;
};

struct vm_spec {
    char uuid[SPEC_UUID]; /* lower case; "" only in a list: the source can't say it now */
    char name[SPEC_TEXT];
    char path[1024]; /* in the source's inventory, or "" */
    bool uefi;
    bool secure_boot; /* only with uefi */
    bool tpm;
    char os[16]; /* "windows", "linux", "other"; "": not known */
    unsigned cpus;
    unsigned cores;  /* of one socket; 0: not known */
    uint64_t memory; /* bytes */
    struct spec_nic *nics;
    size_t nic_count;
    struct spec_disk *disks; /* in unit order */
    size_t disk_count;
    struct spec_inventory inventory;
};

/* `text` is the JSON, `origin` names it in errors; relative paths in it start at
 * `folder`. An error leaves *spec alone. */
int spec_parse(const char *text, const char *origin, const char *folder, struct vm_spec *spec,
               struct error **err);
/* What spec_to_json() made of any source's VM: it may lack places, backing uuids, MACs,
 * disks, and the amounts of a VM whose host does not answer; capacities may be odd. */
int spec_parse_stored(const char *text, const char *origin, struct vm_spec *spec,
                      struct error **err);
/* Read and parse a file. */
int spec_load(const char *path, struct vm_spec *spec, struct error **err);
/* The same JSON again, on one line; the caller's to free. NULL only without memory. */
char *spec_to_json(const struct vm_spec *spec);
void spec_free(struct vm_spec *spec);
#define CLEANUP_SPEC CLEANUP(spec_free)

/* Disks in unit order, as the rest of us wants them. An error when two of them have the
 * same key or unit. */
int spec_sort_disks(struct vm_spec *spec, const char *origin, struct error **err);

const struct spec_disk *spec_disk_by_key(const struct vm_spec *spec, int key);

#endif
