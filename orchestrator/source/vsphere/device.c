/* Virtual hardware; see device.h. */
#include "source/vsphere/device.h"

#include <string.h>

#include "source/vsphere/read.h"

#define UNIT_NUMBERS 100  /* on one controller: PVSCSI has 65, NVMe 64, AHCI 30 */
#define BUSES        10   /* of one class: four, so far */
#define UNKNOWN_BASE 5000 /* above all of those */
#define KEY_MAX      (SPEC_UNIT_MAX - UNKNOWN_BASE)
#define PARENTS_MAX  256 /* vSphere's limit is 32 */

struct controller {
    int key;
    int bus;
    int base; /* of the units of its class */
    bool shared;
    const char *class; /* "scsi" */
    char name[32];
};

struct controllers {
    struct controller *list;
    size_t count;
};

static void controllers_free(struct controllers *controllers)
{
    free(controllers->list);
}

static const struct {
    const char *type, *name, *class;
    int base;
} controller_types[] = {
    { "ParaVirtualSCSIController", "pvscsi", "scsi", 0 },
    { "VirtualLsiLogicController", "lsilogic", "scsi", 0 },
    { "VirtualLsiLogicSASController", "lsisas", "scsi", 0 },
    { "VirtualBusLogicController", "buslogic", "scsi", 0 },
    { "VirtualSCSIController", "scsi", "scsi", 0 },
    { "VirtualAHCIController", "ahci", "sata", 1000 },
    { "VirtualSATAController", "sata", "sata", 1000 },
    { "VirtualNVMEController", "nvme", "nvme", 2000 },
    { "VirtualIDEController", "ide", "ide", 3000 },
};

static const struct {
    const char *type, *model;
} nic_types[] = { { "VirtualVmxnet3", "vmxnet3" },      { "VirtualVmxnet3Vrdma", "vmxnet3vrdma" },
                  { "VirtualVmxnet2", "vmxnet2" },      { "VirtualVmxnet", "vmxnet" },
                  { "VirtualE1000", "e1000" },          { "VirtualE1000e", "e1000e" },
                  { "VirtualPCNet32", "pcnet" },        { "VirtualSriovEthernetCard", "sriov" },
                  { "VirtualEthernetCard", "ethernet" } };

static const struct {
    const char *type;
    enum vsphere_backing backing;
} backing_types[] = {
    { "VirtualDiskFlatVer2BackingInfo", BACKING_FLAT },
    { "VirtualDiskFlatVer1BackingInfo", BACKING_FLAT },
    { "VirtualDiskSparseVer2BackingInfo", BACKING_SPARSE },
    { "VirtualDiskSparseVer1BackingInfo", BACKING_SPARSE },
    { "VirtualDiskSeSparseBackingInfo", BACKING_SPARSE },
    { "VirtualDiskRawDiskMappingVer1BackingInfo", BACKING_MAPPING },
    { "VirtualDiskRawDiskVer2BackingInfo", BACKING_RAW },
    { "VirtualDiskPartitionedRawDiskVer2BackingInfo", BACKING_RAW },
};

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* The device elements of the list, whatever they are called. */
static xmlNode *first_device(const xmlNode *array)
{
    return array ? xmlFirstElementChild((xmlNode *)array) : NULL;
}

static int add_controller(struct controllers *controllers, const xmlNode *node, const char *type,
                          struct error **err)
{
    struct controller controller = { .class = NULL };
    struct controller *grown;
    char sharing[32];

    for (size_t i = 0; i < COUNT_OF(controller_types); i++) {
        if (strcmp(type, controller_types[i].type) == 0) {
            controller.class = controller_types[i].class;
            controller.base = controller_types[i].base;
            strcpy(controller.name, controller_types[i].name);
        }
    }
    if (!controller.class)
        return 0;
    controller.key = read_int(node, "key", -1);
    controller.bus = read_int(node, "busNumber", -1);
    controller.shared =
        xml_text(node, "sharedBus", sharing, sizeof sharing) && strcmp(sharing, "noSharing") != 0;
    grown = reallocarray(controllers->list, controllers->count + 1, sizeof *controllers->list);
    if (!grown)
        return error_set_errno(err, ENOMEM, "reading devices");
    controllers->list = grown;
    controllers->list[controllers->count++] = controller;
    return 0;
}

static int find_controllers(const xmlNode *array, struct controllers *controllers,
                            struct error **err)
{
    for (xmlNode *node = first_device(array); node; node = xmlNextElementSibling(node)) {
        char type[64];

        xml_type(node, type, sizeof type);
        if (add_controller(controllers, node, type, err) < 0)
            return -1;
    }
    return 0;
}

/* A number for the disk that no other disk of the VM has, and that stays when controllers
 * or disks are added, removed or listed in another order: it names the disk's export.
 * Made from the place alone that the disk is plugged into: the class of its controller,
 * the controller's bus number, the unit on it. scsi0:1 is 1, scsi1:0 is 100, scsi3:15 is
 * 315, sata0:0 is 1000, nvme0:0 is 2000, ide1:0 is 3100. (A disk that is plugged in
 * elsewhere gets another unit, and its identity is refused: the key changes then, too.)
 * What can't be placed like this gets a number from its key, above all others. */
static int device_unit(const struct controller *controller, const struct vsphere_disk *disk)
{
    if (!controller || disk->bus < 0 || disk->bus >= BUSES || disk->unit_number < 0 ||
        disk->unit_number >= UNIT_NUMBERS)
        return UNKNOWN_BASE + disk->key;
    return controller->base + disk->bus * UNIT_NUMBERS + disk->unit_number;
}

/* Some servers number no buses, or all of them 0. */
static bool has_own_bus(const struct controllers *controllers, const struct controller *controller)
{
    for (size_t i = 0; i < controllers->count; i++) {
        const struct controller *other = &controllers->list[i];

        if (other != controller && other->base == controller->base && other->bus == controller->bus)
            return false;
    }
    return true;
}

static void read_controller(const struct controllers *controllers, struct vsphere_disk *disk)
{
    const struct controller *controller = NULL;

    for (size_t i = 0; i < controllers->count && !controller; i++) {
        if (controllers->list[i].key == disk->controller_key)
            controller = &controllers->list[i];
    }
    disk->bus = controller ? controller->bus : -1;
    disk->unit =
        device_unit(controller && has_own_bus(controllers, controller) ? controller : NULL, disk);
    if (!controller)
        return;
    disk->shared_bus = controller->shared;
    strcpy(disk->controller, controller->name);
    if (disk->bus >= 0 && disk->unit_number >= 0)
        snprintf(disk->address, sizeof disk->address, "%s%d:%d", controller->class, disk->bus,
                 disk->unit_number);
}

/* "[ds1] app01/app01.vmdk" → "ds1". */
static void datastore_of(const char *file, char *buf, size_t size)
{
    const char *end = file[0] == '[' ? strchr(file, ']') : NULL;

    buf[0] = '\0';
    if (end)
        snprintf(buf, size, "%.*s", (int)(end - file - 1), file + 1);
}

static void read_backing(const xmlNode *backing, struct vsphere_disk *disk)
{
    char text[64];

    xml_type(backing, disk->type, sizeof disk->type);
    for (size_t i = 0; i < COUNT_OF(backing_types); i++) {
        if (strcmp(disk->type, backing_types[i].type) == 0)
            disk->backing = backing_types[i].backing;
    }
    read_exact(backing, disk->backing == BACKING_RAW ? "descriptorFileName" : "fileName",
               disk->file, sizeof disk->file);
    datastore_of(disk->file, disk->datastore, sizeof disk->datastore);
    read_exact(backing, "uuid", disk->uuid, sizeof disk->uuid);
    read_exact(backing, "changeId", disk->change_id, sizeof disk->change_id);
    read_text(backing, "diskMode", disk->mode, sizeof disk->mode);
    disk->physical = xml_text_is(backing, "compatibilityMode", "physicalMode");
    disk->multi_writer = xml_text(backing, "sharing", text, sizeof text) && text[0] &&
                         strcmp(text, "sharingNone") != 0;
    disk->encrypted = xml_child(backing, "keyId") != NULL;
    for (const xmlNode *parent = xml_child(backing, "parent");
         parent && disk->parents < PARENTS_MAX; parent = xml_child(parent, "parent"))
        disk->parents++;
}

static int read_disk(const struct controllers *controllers, const xmlNode *node,
                     struct vsphere_disk *disk, struct error **err)
{
    uint64_t kib = read_amount(node, "capacityInKB");

    disk->key = read_int(node, "key", -1);
    if (disk->key < 0 || disk->key > KEY_MAX)
        return error_set(err, "a virtual disk has no key, or one that makes no sense");
    disk->controller_key = read_int(node, "controllerKey", -1);
    disk->unit_number = read_int(node, "unitNumber", -1);
    read_text(node, "deviceInfo/label", disk->label, sizeof disk->label);
    disk->capacity = read_amount(node, "capacityInBytes");
    if (!disk->capacity && kib <= INT64_MAX / 1024)
        disk->capacity = kib * 1024;
    read_backing(xml_child(node, "backing"), disk);
    read_controller(controllers, disk);
    return 0;
}

static void read_nic(const xmlNode *node, const char *model, struct vsphere_nic *nic)
{
    const xmlNode *backing = xml_child(node, "backing");

    nic->key = read_int(node, "key", -1);
    strcpy(nic->model, model);
    read_mac(node, "macAddress", nic->mac);
    read_text(backing, "port/portgroupKey", nic->portgroup, sizeof nic->portgroup);
    if (nic->portgroup[0])
        return;
    read_text(backing, "deviceName", nic->network, sizeof nic->network);
    if (!nic->network[0])
        read_text(backing, "opaqueNetworkId", nic->network, sizeof nic->network);
    if (!nic->network[0])
        read_text(node, "deviceInfo/summary", nic->network, sizeof nic->network);
}

static int add_disk(struct vsphere_devices *devices, const struct controllers *controllers,
                    const xmlNode *node, struct error **err)
{
    struct vsphere_disk disk = { .key = -1 };
    struct vsphere_disk *grown;

    if (read_disk(controllers, node, &disk, err) < 0)
        return -1;
    grown = reallocarray(devices->disks, devices->disk_count + 1, sizeof *grown);
    if (!grown)
        return error_set_errno(err, ENOMEM, "reading devices");
    devices->disks = grown;
    devices->disks[devices->disk_count++] = disk;
    return 0;
}

static int add_nic(struct vsphere_devices *devices, const char *type, const xmlNode *node,
                   struct error **err)
{
    struct vsphere_nic *grown;
    const char *model = NULL;

    for (size_t i = 0; i < COUNT_OF(nic_types) && !model; i++) {
        if (strcmp(type, nic_types[i].type) == 0)
            model = nic_types[i].model;
    }
    if (!model)
        return 0;
    grown = reallocarray(devices->nics, devices->nic_count + 1, sizeof *grown);
    if (!grown)
        return error_set_errno(err, ENOMEM, "reading devices");
    devices->nics = grown;
    grown[devices->nic_count] = (struct vsphere_nic){ 0 };
    read_nic(node, model, &grown[devices->nic_count++]);
    return 0;
}

int devices_parse(const xmlNode *array, struct vsphere_devices *devices, struct error **err)
{
    CLEANUP(controllers_free) struct controllers controllers = { 0 };

    if (find_controllers(array, &controllers, err) < 0)
        return -1;
    for (xmlNode *node = first_device(array); node; node = xmlNextElementSibling(node)) {
        char type[64];

        xml_type(node, type, sizeof type);
        if (strcmp(type, "VirtualDisk") == 0) {
            if (add_disk(devices, &controllers, node, err) < 0)
                return -1;
        } else if (strcmp(type, "VirtualTPM") == 0) {
            devices->tpm = true;
        } else if (strcmp(type, "VirtualPCIPassthrough") == 0) {
            devices->passthrough++;
        } else if (add_nic(devices, type, node, err) < 0) {
            return -1;
        }
    }
    return 0;
}

void devices_free(struct vsphere_devices *devices)
{
    free(devices->disks);
    free(devices->nics);
    *devices = (struct vsphere_devices){ 0 };
}

const struct vsphere_disk *devices_disk(const struct vsphere_devices *devices, int key)
{
    for (size_t i = 0; i < devices->disk_count; i++) {
        if (devices->disks[i].key == key)
            return &devices->disks[i];
    }
    return NULL;
}

bool disk_is_independent(const struct vsphere_disk *disk)
{
    return strncmp(disk->mode, "independent_", 12) == 0;
}

bool disk_is_outside_snapshots(const struct vsphere_disk *disk)
{
    return disk_is_independent(disk) || disk->physical || disk->backing == BACKING_RAW;
}

static void disk_to_spec(const struct vsphere_disk *disk, bool of_snapshot, struct spec_disk *to)
{
    to->key = disk->key;
    to->unit = disk->unit;
    to->capacity = disk->capacity;
    strcpy(to->backing_uuid, disk->uuid);
    if (of_snapshot)
        strcpy(to->change_id, disk->change_id);
    strcpy(to->inventory.label, disk->label);
    strcpy(to->inventory.controller, disk->controller);
    strcpy(to->inventory.address, disk->address);
    strcpy(to->inventory.backing, disk->file);
    strcpy(to->inventory.mode, disk->mode);
}

int devices_to_spec(const struct vsphere_devices *devices, bool of_snapshot, struct vm_spec *spec,
                    struct error **err)
{
    spec->disks = calloc(devices->disk_count + 1, sizeof *spec->disks);
    spec->nics = calloc(devices->nic_count + 1, sizeof *spec->nics);
    if (!spec->disks || !spec->nics)
        return error_set_errno(err, ENOMEM, "reading devices");
    for (size_t i = 0; i < devices->disk_count; i++)
        disk_to_spec(&devices->disks[i], of_snapshot, &spec->disks[i]);
    for (size_t i = 0; i < devices->nic_count; i++) {
        const struct vsphere_nic *nic = &devices->nics[i];

        strcpy(spec->nics[i].mac, nic->mac);
        strcpy(spec->nics[i].model, nic->model);
        strcpy(spec->nics[i].network, nic->network[0] ? nic->network : nic->portgroup);
    }
    spec->disk_count = devices->disk_count;
    spec->nic_count = devices->nic_count;
    return spec_sort_disks(spec, spec->name[0] ? spec->name : "VM", err);
}
