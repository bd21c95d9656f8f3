/* The devices of a domain; see domain.h. */
#include <string.h>

#include "failover/domain.h"
#include "failover/xmltree.h"
#include "rbd.h"
#include "replica/volume.h"

#define IOMMU_FROM_CPUS 256
#define SCSI_TARGETS    64 /* of one controller; libvirt's schema has two digits for them */

/* vda … vdz, vdaa …, as Linux counts. */
static void target_name(char name[16], const char *bus, size_t index)
{
    char letters[8];
    size_t n = 0;

    for (size_t i = index + 1; i > 0; i = (i - 1) / 26)
        letters[n++] = (char)('a' + (i - 1) % 26);
    strcpy(name, strcmp(bus, "virtio") == 0 ? "vd" : "sd");
    for (size_t i = 0; i < n; i++)
        name[2 + i] = letters[n - 1 - i];
    name[2 + n] = '\0';
}

void domain_fd_group(char group[DOMAIN_GROUP], int key, size_t level)
{
    snprintf(group, DOMAIN_GROUP, "disk-%d-%zu", key, level);
}

static void add_image(xmlNodePtr parent, const struct domain_plan *plan, const char *path, int key,
                      size_t level)
{
    xmlNodePtr source = node_add(parent, "source", "file", path, NULL);
    char group[DOMAIN_GROUP];

    if (plan->by_path) {
        node_add(source, "seclabel", "model", "dac", "relabel", "no", NULL);
        return;
    }
    domain_fd_group(group, key, level);
    node_set(source, "fdgroup", group);
}

/* libvirt takes descriptors of files only. A device it makes known to QEMU by itself, in a
 * /dev of QEMU's own, where it may change the owner; of an RBD image it knows the way. */
enum place { PLACE_FILE, PLACE_DEVICE, PLACE_RBD };

static enum place place_of(const char *path)
{
    if (volume_is_rbd(path))
        return PLACE_RBD;
    return volume_is_device(path) ? PLACE_DEVICE : PLACE_FILE;
}

bool domain_gets_descriptor(const char *path)
{
    return place_of(path) == PLACE_FILE;
}

static void add_rbd(xmlNodePtr parent, const char *path)
{
    char image[RBD_TEXT], config[RBD_TEXT], user[RBD_TEXT];
    xmlNodePtr source;

    rbd_split(path, image, config, user);
    source = node_add(parent, "source", "protocol", "rbd", "name", image, NULL);
    if (config[0])
        node_add(source, "config", "file", config, NULL);
}

/* An image below the overlay, never written. */
static xmlNodePtr add_backing(xmlNodePtr parent, const struct domain_plan *plan,
                              const struct replica_image *image, int key, size_t level)
{
    static const char *const types[] = { "file", "block", "network" };
    enum place place = place_of(image->path);
    CLEANUP_FREE char *device = place == PLACE_DEVICE ? realpath(image->path, NULL) : NULL;
    xmlNodePtr node = node_add(parent, "backingStore", "type", types[place], NULL);

    node_add(node, "format", "type", image->format, NULL);
    if (place == PLACE_RBD)
        add_rbd(node, image->path);
    else if (place == PLACE_DEVICE)
        node_add(node, "source", "dev", device ? device : image->path, NULL);
    else
        add_image(node, plan, image->path, key, level);
    return node;
}

static void number(char text[24], size_t value)
{
    snprintf(text, 24, "%zu", value);
}

/* Where the guest sees it. On SCSI each disk is a target of its own, in order. */
static void add_place(xmlNodePtr node, const struct domain_plan *plan, size_t index)
{
    const char *bus = plan->hardware->disk_bus;
    char target[16], text[24], controller[24];

    target_name(target, bus, index);
    node_add(node, "target", "dev", target, "bus", bus, NULL);
    node_add_text(node, "serial", "disk-%d", plan->disks[index].key);
    if (plan->disks[index].boot) {
        number(text, plan->disks[index].boot);
        node_add(node, "boot", "order", text, NULL);
    }
    if (strcmp(bus, "scsi") != 0)
        return;
    number(controller, index / SCSI_TARGETS);
    number(text, index % SCSI_TARGETS);
    node_add(node, "address", "type", "drive", "controller", controller, "bus", "0", "target", text,
             "unit", "0", NULL);
}

/* The whole chain is spelled out and ended, so that libvirt never opens an image to
 * find out what is below it. */
static void add_disk(xmlNodePtr devices, const struct domain_plan *plan, size_t index)
{
    const struct domain_disk *disk = &plan->disks[index];
    xmlNodePtr node = node_add(devices, "disk", "type", "file", "device", "disk", NULL);
    xmlNodePtr parent = node;

    node_add(node, "driver", "name", "qemu", "type", "qcow2", "discard", "unmap", NULL);
    add_image(node, plan, disk->overlay, disk->key, 0);
    for (size_t i = 0; i < disk->chain_length; i++)
        parent = add_backing(parent, plan, &disk->chain[i], disk->key, i + 1);
    node_add(parent, "backingStore", NULL);
    add_place(node, plan, index);
}

static void add_scsi_controllers(xmlNodePtr devices, size_t disks)
{
    for (size_t i = 0; i * SCSI_TARGETS < disks; i++) {
        char index[24];

        number(index, i);
        node_add(devices, "controller", "type", "scsi", "index", index, "model", "virtio-scsi",
                 NULL);
    }
}

static void add_nic(xmlNodePtr devices, const struct domain_nic *nic)
{
    const char *type = nic->bridge ? "bridge" : "network";
    xmlNodePtr node = node_add(devices, "interface", "type", type, NULL);

    if (nic->mac[0])
        node_add(node, "mac", "address", nic->mac, NULL);
    node_add(node, "source", type, nic->network, NULL);
    node_add(node, "model", "type", nic->model, NULL);
}

/* What the guest says there goes to the file. A pty with a log would let `virsh console` in, but
 * QEMU can't make one where libvirt's private /dev has no /dev/pts, in a chroot for one. */
static void add_console(xmlNodePtr devices, const struct domain_plan *plan)
{
    xmlNodePtr serial = node_add(devices, "serial", "type", "file", NULL);

    node_add(serial, "source", "path", plan->console, "append", plan->persistent ? "on" : "off",
             NULL);
    node_add(serial, "target", "port", "0", NULL);
}

static void add_screen(xmlNodePtr devices, const struct hardware *hardware)
{
    if (strcmp(hardware->graphics, "none") != 0)
        node_add(devices, "graphics", "type", hardware->graphics, "autoport", "yes", "listen",
                 "127.0.0.1", NULL);
    node_add(node_add(devices, "video", NULL), "model", "type", hardware->video, NULL);
}

void domain_add_devices(xmlNodePtr root, const struct domain_plan *plan)
{
    const struct hardware *hardware = plan->hardware;
    xmlNodePtr devices = node_add(root, "devices", NULL);

    for (size_t i = 0; i < plan->disk_count; i++)
        add_disk(devices, plan, i);
    if (strcmp(hardware->disk_bus, "scsi") == 0)
        add_scsi_controllers(devices, plan->disk_count);
    for (size_t i = 0; i < plan->nic_count; i++)
        add_nic(devices, &plan->nics[i]);
    add_console(devices, plan);
    node_add(node_add(devices, "channel", "type", "unix", NULL), "target", "type", "virtio", "name",
             "org.qemu.guest_agent.0", NULL);
    if (hardware->tpm)
        node_add(node_add(devices, "tpm", "model", "tpm-crb", NULL), "backend", "type", "emulator",
                 "version", "2.0", NULL);
    add_screen(devices, hardware);
    if (hardware->vcpus >= IOMMU_FROM_CPUS)
        node_add(node_add(devices, "iommu", "model", "intel", NULL), "driver", "intremap", "on",
                 "eim", "on", NULL);
    node_add(devices, "memballoon", "model", "none", NULL);
}
