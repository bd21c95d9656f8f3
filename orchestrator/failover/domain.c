/* Test domains; see domain.h. */
#include "failover/domain.h"

#include <fcntl.h>
#include <libvirt/virterror.h>
#include <libxml/tree.h>
#include <stdarg.h>
#include <string.h>

#include "rbd.h"
#include "replica/volume.h"

#define OVMF_CODE "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define OVMF_VARS "/usr/share/OVMF/OVMF_VARS_4M.fd"

/* Add <name> with attributes, given as pairs of strings and NULL. */
static __attribute__((sentinel)) xmlNodePtr add(xmlNodePtr parent, const char *name, ...)
{
    xmlNodePtr node = xmlNewChild(parent, NULL, BAD_CAST name, NULL);
    const char *key;
    va_list args;

    va_start(args, name);
    while ((key = va_arg(args, const char *)))
        xmlNewProp(node, BAD_CAST key, BAD_CAST va_arg(args, const char *));
    va_end(args);
    return node;
}

static __attribute__((format(printf, 3, 4))) xmlNodePtr
add_text(xmlNodePtr parent, const char *name, const char *fmt, ...)
{
    CLEANUP_FREE char *text = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    return xmlNewTextChild(parent, NULL, BAD_CAST name, BAD_CAST text);
}

/* Firmware and machine. No secure boot: a test may boot what is signed by nobody. */
static void add_os(xmlNodePtr root, bool uefi)
{
    xmlNodePtr os = add(root, "os", NULL);

    xmlNewProp(add_text(os, "type", "hvm"), BAD_CAST "machine", BAD_CAST "q35");
    if (uefi) {
        xmlNodePtr loader = add_text(os, "loader", OVMF_CODE);

        xmlNewProp(loader, BAD_CAST "readonly", BAD_CAST "yes");
        xmlNewProp(loader, BAD_CAST "type", BAD_CAST "pflash");
        /* libvirt puts the copy where its own QEMU may write, and undefine removes it. */
        add(os, "nvram", "template", OVMF_VARS, NULL);
    }
    add(add(root, "features", NULL), "acpi", NULL);
}

/* vda … vdz, vdaa …, as Linux counts. */
static void target_name(char name[16], size_t index)
{
    char letters[8];
    size_t n = 0;

    for (size_t i = index + 1; i > 0; i = (i - 1) / 26)
        letters[n++] = (char)('a' + (i - 1) % 26);
    strcpy(name, "vd");
    for (size_t i = 0; i < n; i++)
        name[2 + i] = letters[n - 1 - i];
    name[2 + n] = '\0';
}

/* The name under which domain_start() hands over the descriptor of one image:
 * level 0 is the overlay, 1 the image below it. */
static void fd_group(char group[32], int key, size_t level)
{
    snprintf(group, 32, "disk-%d-%zu", key, level);
}

static void add_image(xmlNodePtr parent, const char *path, int key, size_t level)
{
    char group[32];

    fd_group(group, key, level);
    add(parent, "source", "file", path, "fdgroup", group, NULL);
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

static void add_rbd(xmlNodePtr parent, const char *path)
{
    char image[RBD_TEXT], config[RBD_TEXT], user[RBD_TEXT];
    xmlNodePtr source;

    rbd_split(path, image, config, user);
    source = add(parent, "source", "protocol", "rbd", "name", image, NULL);
    if (config[0])
        add(source, "config", "file", config, NULL);
}

/* An image below the overlay, never written. */
static xmlNodePtr add_backing(xmlNodePtr parent, const struct replica_image *image, int key,
                              size_t level)
{
    static const char *const types[] = { "file", "block", "network" };
    enum place place = place_of(image->path);
    CLEANUP_FREE char *device = place == PLACE_DEVICE ? realpath(image->path, NULL) : NULL;
    xmlNodePtr node = add(parent, "backingStore", "type", types[place], NULL);

    add(node, "format", "type", image->format, NULL);
    if (place == PLACE_RBD)
        add_rbd(node, image->path);
    else if (place == PLACE_DEVICE)
        add(node, "source", "dev", device ? device : image->path, NULL);
    else
        add_image(node, image->path, key, level);
    return node;
}

/* The whole chain is spelled out and ended, so that libvirt never opens an image to
 * find out what is below it. */
static void add_disk(xmlNodePtr devices, const struct domain_disk *disk, size_t index)
{
    xmlNodePtr node = add(devices, "disk", "type", "file", "device", "disk", NULL);
    xmlNodePtr parent = node;
    char target[16];

    add(node, "driver", "name", "qemu", "type", "qcow2", "discard", "unmap", NULL);
    add_image(node, disk->overlay, disk->key, 0);
    for (size_t i = 0; i < disk->chain_length; i++)
        parent = add_backing(parent, &disk->chain[i], disk->key, i + 1);
    add(parent, "backingStore", NULL);
    target_name(target, index);
    add(node, "target", "dev", target, "bus", "virtio", NULL);
    add_text(node, "serial", "disk-%d", disk->key);
    if (index == 0)
        add(node, "boot", "order", "1", NULL);
}

/* The source's model where QEMU has it, else virtio. */
static const char *nic_model(const char *model)
{
    static const char *const known[] = { "e1000", "e1000e", "rtl8139", "vmxnet3" };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(model, known[i]) == 0)
            return known[i];
    }
    return "virtio";
}

static void add_devices(xmlNodePtr root, const struct domain_plan *plan)
{
    xmlNodePtr devices = add(root, "devices", NULL);
    xmlNodePtr node;

    for (size_t i = 0; i < plan->disk_count; i++)
        add_disk(devices, &plan->disks[i], i);
    for (size_t i = 0; i < plan->spec->nic_count; i++) {
        node = add(devices, "interface", "type", "network", NULL);
        if (plan->spec->nics[i].mac[0])
            add(node, "mac", "address", plan->spec->nics[i].mac, NULL);
        add(node, "source", "network", plan->network, NULL);
        add(node, "model", "type", nic_model(plan->spec->nics[i].model), NULL);
    }
    add(add(devices, "serial", "type", "file", NULL), "source", "path", plan->console, NULL);
    add(add(devices, "channel", "type", "unix", NULL), "target", "type", "virtio", "name",
        "org.qemu.guest_agent.0", NULL);
    /* A screen, which Windows and some boot loaders want, and nobody may look at. */
    add(add(devices, "video", NULL), "model", "type", "vga", NULL);
    add(devices, "memballoon", "model", "none", NULL);
}

static void add_machine(xmlNodePtr root, const struct domain_plan *plan)
{
    bool kvm = strcmp(plan->virt_type, "kvm") == 0;

    add_text(root, "name", "%s", plan->name);
    add_text(root, "uuid", "%s", plan->uuid);
    add_text(root, "title", "%s", plan->title);
    xmlNewProp(add_text(root, "memory", "%llu", (unsigned long long)(plan->spec->memory >> 10)),
               BAD_CAST "unit", BAD_CAST "KiB");
    add_text(root, "vcpu", "%u", plan->spec->cpus);
    add_os(root, plan->spec->uefi);
    add(root, "cpu", "mode", kvm ? "host-passthrough" : "maximum", NULL);
    add(root, "clock", "offset", "utc", NULL);
}

char *domain_xml(const struct domain_plan *plan)
{
    xmlDocPtr document = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr root = xmlNewNode(NULL, BAD_CAST "domain");
    xmlChar *dumped = NULL;
    char *text = NULL;
    int size;

    xmlDocSetRootElement(document, root);
    xmlNewProp(root, BAD_CAST "type", BAD_CAST plan->virt_type);
    add_machine(root, plan);
    add_devices(root, plan);
    xmlDocDumpFormatMemoryEnc(document, &dumped, &size, "UTF-8", 1);
    if (dumped)
        text = strdup((char *)dumped);
    xmlFree(dumped);
    xmlFreeDoc(document);
    return text;
}

static int hand_over(virDomainPtr domain, const char *path, int flags, int key, size_t level,
                     struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, flags | O_CLOEXEC);
    char group[32];

    if (fd < 0)
        return error_set_errno(err, errno, "opening %s", path);
    fd_group(group, key, level);
    if (virDomainFDAssociate(domain, group, 1, &fd, 0) < 0)
        return libvirt_error(err, "handing %s over to libvirt", path);
    return 0;
}

static int hand_over_disk(virDomainPtr domain, const struct domain_disk *disk, struct error **err)
{
    if (hand_over(domain, disk->overlay, O_RDWR, disk->key, 0, err) < 0)
        return -1;
    for (size_t i = 0; i < disk->chain_length; i++) {
        if (place_of(disk->chain[i].path) == PLACE_FILE &&
            hand_over(domain, disk->chain[i].path, O_RDONLY, disk->key, i + 1, err) < 0)
            return -1;
    }
    return 0;
}

int domain_start(virConnectPtr connection, const struct domain_plan *plan, virDomainPtr *started,
                 struct error **err)
{
    CLEANUP_DOMAIN virDomainPtr domain = NULL;
    CLEANUP_FREE char *xml = NULL;

    if (plan->spec->uefi && access(OVMF_CODE, R_OK) < 0)
        return error_set_errno(err, errno, "%s (is the package ovmf installed?)", OVMF_CODE);
    xml = domain_xml(plan);
    if (!xml)
        return error_set_errno(err, ENOMEM, "describing domain %s", plan->name);
    /* Defined, not transient: only a domain that exists can be given descriptors. */
    domain = virDomainDefineXMLFlags(connection, xml, VIR_DOMAIN_DEFINE_VALIDATE);
    if (!domain)
        return libvirt_error(err, "defining domain %s", plan->name);
    for (size_t i = 0; i < plan->disk_count; i++) {
        if (hand_over_disk(domain, &plan->disks[i], err) < 0)
            return -1;
    }
    if (virDomainCreate(domain) < 0)
        return libvirt_error(err, "starting domain %s", plan->name);
    *started = steal_ptr(domain);
    return 0;
}

/* Whether the last libvirt call failed only because the thing is not there (any more). */
static bool is_gone(void)
{
    int code = virGetLastErrorCode();

    return code == VIR_ERR_NO_DOMAIN || code == VIR_ERR_OPERATION_INVALID;
}

int domain_remove(virConnectPtr connection, const char *uuid, struct error **err)
{
    CLEANUP_DOMAIN virDomainPtr domain = virDomainLookupByUUIDString(connection, uuid);

    if (!domain)
        return is_gone() ? 0 : libvirt_error(err, "looking for domain %s", uuid);
    if (virDomainDestroy(domain) < 0 && !is_gone())
        return libvirt_error(err, "stopping domain %s", virDomainGetName(domain));
    if (virDomainUndefineFlags(domain, VIR_DOMAIN_UNDEFINE_NVRAM |
                                           VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                                           VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                                           VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA) < 0 &&
        virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
        return libvirt_error(err, "removing domain %s", virDomainGetName(domain));
    return 0;
}
