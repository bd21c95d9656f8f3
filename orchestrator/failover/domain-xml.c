/* The XML of a domain but its devices; see domain.h. */
#include <string.h>

#include "failover/domain.h"
#include "failover/xmltree.h"

#define OVMF_CODE        "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define OVMF_VARS        "/usr/share/OVMF/OVMF_VARS_4M.fd"
#define OVMF_CODE_SECURE "/usr/share/OVMF/OVMF_CODE_4M.ms.fd"
#define OVMF_VARS_SECURE "/usr/share/OVMF/OVMF_VARS_4M.ms.fd" /* with Microsoft's keys */

#define MOST_PLAIN_CPUS 255 /* more need interrupts that can name them */

static bool is_kvm(const struct domain_plan *plan)
{
    return strcmp(plan->virt_type, "kvm") == 0;
}

const char *domain_firmware(const struct hardware *hardware)
{
    return hardware->secure_boot ? OVMF_CODE_SECURE : OVMF_CODE;
}

static void add_os(xmlNodePtr root, const struct hardware *hardware)
{
    xmlNodePtr os = node_add(root, "os", NULL);

    node_set(node_add_text(os, "type", "hvm"), "machine", DOMAIN_MACHINE);
    if (hardware->uefi) {
        xmlNodePtr loader = node_add_text(os, "loader", "%s", domain_firmware(hardware));

        node_set(loader, "readonly", "yes");
        if (hardware->secure_boot)
            node_set(loader, "secure", "yes");
        node_set(loader, "type", "pflash");
        /* libvirt puts the copy where its own QEMU may write, and undefine removes it. */
        node_add(os, "nvram", "template", hardware->secure_boot ? OVMF_VARS_SECURE : OVMF_VARS,
                 NULL);
    }
    /* What it and the boot loader say on the screen is on the console, too. */
    if (!hardware->uefi)
        node_add(os, "bios", "useserial", "yes", NULL);
}

static void add_features(xmlNodePtr root, const struct domain_plan *plan)
{
    const struct hardware *hardware = plan->hardware;
    xmlNodePtr features = node_add(root, "features", NULL);

    node_add(features, "acpi", NULL);
    node_add(features, "apic", NULL);
    if (hardware->windows && is_kvm(plan)) {
        xmlNodePtr hyperv = node_add(features, "hyperv", NULL);

        node_add(hyperv, "relaxed", "state", "on", NULL);
        node_add(hyperv, "vapic", "state", "on", NULL);
        node_add(hyperv, "spinlocks", "state", "on", "retries", "8191", NULL);
    }
    if (hardware->vcpus > MOST_PLAIN_CPUS)
        node_add(features, "ioapic", "driver", "qemu", NULL);
    if (hardware->secure_boot) /* else the guest could write its own keys */
        node_add(features, "smm", "state", "on", NULL);
}

/* A mode is a word that libvirt knows; else it is the name of a model. */
static void add_cpu(xmlNodePtr root, const struct domain_plan *plan)
{
    const struct hardware *hardware = plan->hardware;
    const char *wanted = hardware->cpu;
    xmlNodePtr cpu = node_add(root, "cpu", NULL);
    unsigned cores = hardware->cores ? hardware->cores : hardware->vcpus;
    char number[2][16];

    if (!wanted[0])
        wanted = is_kvm(plan) ? "host-passthrough" : "maximum";
    if (strcmp(wanted, "host-passthrough") == 0 || strcmp(wanted, "host-model") == 0 ||
        strcmp(wanted, "maximum") == 0) {
        node_set(cpu, "mode", wanted);
    } else {
        node_set(cpu, "mode", "custom");
        node_set(cpu, "match", "exact");
        node_set(node_add_text(cpu, "model", "%s", wanted), "fallback", "forbid");
    }
    snprintf(number[0], sizeof number[0], "%u", hardware->vcpus / cores);
    snprintf(number[1], sizeof number[1], "%u", cores);
    node_add(cpu, "topology", "sockets", number[0], "dies", "1", "cores", number[1], "threads", "1",
             NULL);
}

static void add_clock(xmlNodePtr root, const struct domain_plan *plan)
{
    xmlNodePtr clock = node_add(root, "clock", "offset", plan->hardware->clock, NULL);

    if (!plan->hardware->windows)
        return;
    node_add(clock, "timer", "name", "rtc", "tickpolicy", "catchup", NULL);
    node_add(clock, "timer", "name", "pit", "tickpolicy", "delay", NULL);
    node_add(clock, "timer", "name", "hpet", "present", "no", NULL);
    if (is_kvm(plan))
        node_add(clock, "timer", "name", "hypervclock", "present", "yes", NULL);
}

/* QEMU as the owner of the images, which libvirt leaves as they are (domain-devices.c). */
static void add_owner(xmlNodePtr root, const struct domain_plan *plan)
{
    xmlNodePtr label;

    if (!plan->by_path)
        return;
    label = node_add(root, "seclabel", "type", "static", "model", "dac", "relabel", "yes", NULL);
    node_add_text(label, "label", "+%u:+%u", plan->uid, plan->gid);
}

static void add_machine(xmlNodePtr root, const struct domain_plan *plan)
{
    const struct hardware *hardware = plan->hardware;

    node_set(root, "type", plan->virt_type);
    node_add_text(root, "name", "%s", plan->name);
    node_add_text(root, "uuid", "%s", plan->uuid);
    node_add_text(root, "title", "%s", plan->title);
    node_set(node_add_text(root, "memory", "%llu", (unsigned long long)(hardware->memory >> 10)),
             "unit", "KiB");
    node_add_text(root, "vcpu", "%u", hardware->vcpus);
    add_os(root, hardware);
    add_features(root, plan);
    add_cpu(root, plan);
    add_clock(root, plan);
}

int domain_xml(const struct domain_plan *plan, char **xml, struct error **err)
{
    CLEANUP_DOCUMENT xmlDocPtr document = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr root = xmlNewNode(NULL, BAD_CAST "domain");

    xmlDocSetRootElement(document, root);
    add_machine(root, plan);
    domain_add_devices(root, plan);
    add_owner(root, plan);
    if (plan->override && (override_apply(plan->override, document, err) < 0 ||
                           domain_guard(plan, document, err) < 0))
        return -1;
    *xml = node_dump(document);
    return *xml ? 0 : error_set_errno(err, ENOMEM, "describing domain %s", plan->name);
}

static int check_file(const char *path, const char *package, struct error **err)
{
    if (access(path, R_OK) < 0)
        return error_set_errno(err, errno, "%s (is the package %s installed?)", path, package);
    return 0;
}

int domain_check(const struct domain_plan *plan, struct error **err)
{
    const struct hardware *hardware = plan->hardware;

    if (hardware->uefi && check_file(domain_firmware(hardware), "ovmf", err) < 0)
        return -1;
    if (hardware->tpm && check_file("/usr/bin/swtpm", "swtpm", err) < 0)
        return error_prefix(err, "the source has a TPM (leave it out: --set='tpm = no')");
    return 0;
}
