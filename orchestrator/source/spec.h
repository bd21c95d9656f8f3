/* The description of a VM: what a source offers now, and what the store keeps of
 * it. Its JSON form (vmferry-source(1) explains each member):
 *
 *   { "uuid": "…", "name": "app01", "path": "/DC/vm/app01", "firmware": "bios",
 *     "cpus": 2, "memory": 1073741824,
 *     "nics": [ { "mac": "52:54:00:12:34:56", "network": "LAN", "model": "virtio" } ],
 *     "disks": [ { "key": 2000, "unit": 0, "capacity": 1073741824, "backing_uuid": "…",
 *                  "uri": "nbd+unix:///vda?socket=/run/vda.sock",    or "file": "vda.img",
 *                  "change_id": "a1/7",
 *                  "changes": { "since": "a1/6", "map": "vda.map" } } ] }
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

#define SPEC_UUID  37
#define SPEC_TEXT  256
#define SPEC_PLACE PATH_MAX

struct spec_nic {
    char mac[18]; /* lower case, colons */
    char network[SPEC_TEXT];
    char model[32]; /* "" when not given */
};

struct spec_disk {
    int key;
    int unit;
    uint64_t capacity; /* bytes, a multiple of 512 */
    char backing_uuid[SPEC_TEXT];
    char place[SPEC_PLACE];    /* an NBD URI or an absolute path: what the copy engine takes */
    bool is_file;              /* place is a path */
    char change_id[SPEC_TEXT]; /* the moment of the data offered now; "": the source can't say */
    char since[SPEC_TEXT];     /* the change map starts at this moment; "": there is none */
    char changes[SPEC_PLACE];  /* absolute path of a change map, or a metadata context */
    bool changes_is_file;
};

struct vm_spec {
    char uuid[SPEC_UUID]; /* lower case */
    char name[SPEC_TEXT];
    char path[1024]; /* in the source's inventory, or "" */
    bool uefi;
    unsigned cpus;
    uint64_t memory; /* bytes */
    struct spec_nic *nics;
    size_t nic_count;
    struct spec_disk *disks; /* in unit order */
    size_t disk_count;
};

/* `text` is the JSON, `origin` names it in errors; relative paths in it start at
 * `folder`. An error leaves *spec alone. */
int spec_parse(const char *text, const char *origin, const char *folder, struct vm_spec *spec,
               struct error **err);
/* Read and parse a file. */
int spec_load(const char *path, struct vm_spec *spec, struct error **err);
/* The same JSON again, on one line; the caller's to free. NULL only without memory. */
char *spec_to_json(const struct vm_spec *spec);
void spec_free(struct vm_spec *spec);
#define CLEANUP_SPEC CLEANUP(spec_free)

const struct spec_disk *spec_disk_by_key(const struct vm_spec *spec, int key);

#endif
