/* The XML of a test domain: the disks in order, their chains spelled out and handed
 * over as descriptors, nothing of the source but what the spec says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>

#include "failover/domain.h"
#include "replica/volume.h"

static const struct replica_image system_chain[] = { { "/r/disk-2000/p2.qcow2", "qcow2" },
                                                     { "/r/disk-2000/base.raw", "raw" } };
static const struct replica_image data_chain[] = { { "/r/disk-2001/a&b<.raw", "raw" } };
static const struct replica_image ceph_chain[] = {
    { "/r/disk-2002/p2.qcow2", "qcow2" }, { "rbd:vms/image:id=me:conf=/etc/ceph/c.conf", "raw" }
};

static const struct domain_disk disks[] = {
    { .key = 2000, .overlay = "/f/disk-2000.qcow2", .chain = system_chain, .chain_length = 2 },
    { .key = 2001, .overlay = "/f/disk-2001.qcow2", .chain = data_chain, .chain_length = 1 },
    { .key = 2002, .overlay = "/f/disk-2002.qcow2", .chain = ceph_chain, .chain_length = 2 },
};

static struct spec_nic nics[] = { { "52:54:00:00:00:01", "LAN", "vmxnet3" },
                                  { "52:54:00:00:00:02", "DMZ", "no such model" } };

static xmlDocPtr make(bool uefi, const char *virt_type)
{
    const struct vm_spec spec = {
        .name = "app & co",
        .uefi = uefi,
        .cpus = 3,
        .memory = (uint64_t)512 << 20,
        .nics = nics,
        .nic_count = 2,
    };
    const struct domain_plan plan = {
        .spec = &spec,
        .uuid = "c471b9e0-e98a-4249-b8fc-9126f1b50536",
        .name = "vmferry-test-c471b9e0",
        .title = "test of app & co, <point> 2",
        .virt_type = virt_type,
        .network = "vft-c471b9e0",
        .console = "/f/console.log",
        .disks = disks,
        .disk_count = 3,
    };
    CLEANUP_FREE char *xml = domain_xml(&plan);
    xmlDocPtr document;

    assert_non_null(xml);
    document = xmlParseDoc(BAD_CAST xml);
    assert_non_null(document);
    return document;
}

static void expect(xmlDocPtr document, const char *xpath, const char *expected)
{
    xmlXPathContextPtr context = xmlXPathNewContext(document);
    xmlXPathObjectPtr found = xmlXPathEvalExpression(BAD_CAST xpath, context);
    xmlChar *text = xmlXPathCastToString(found);

    if (strcmp((char *)text, expected))
        fail_msg("%s is '%s', not '%s'", xpath, (char *)text, expected);
    xmlFree(text);
    xmlXPathFreeObject(found);
    xmlXPathFreeContext(context);
}

static void machine_is_as_the_spec_says(void **state)
{
    xmlDocPtr document = make(false, "qemu");

    (void)state;
    expect(document, "string(/domain/@type)", "qemu");
    expect(document, "string(/domain/title)", "test of app & co, <point> 2");
    expect(document, "string(/domain/memory)", "524288");
    expect(document, "string(/domain/vcpu)", "3");
    expect(document, "count(/domain/os/loader)", "0");
    expect(document, "string(//cpu/@mode)", "maximum");
    expect(document, "string(//interface[1]/mac/@address)", "52:54:00:00:00:01");
    expect(document, "string(//interface[1]/model/@type)", "vmxnet3");
    expect(document, "string(//interface[2]/model/@type)", "virtio");
    expect(document, "count(//interface[source/@network = 'vft-c471b9e0'])", "2");
    expect(document, "string(//serial/source/@path)", "/f/console.log");
    expect(document, "string(//channel/target/@name)", "org.qemu.guest_agent.0");
    expect(document, "count(//graphics)", "0");
    xmlFreeDoc(document);
}

static void uefi_has_firmware_and_fresh_variables(void **state)
{
    xmlDocPtr document = make(true, "kvm");

    (void)state;
    expect(document, "string(/domain/os/loader)", "/usr/share/OVMF/OVMF_CODE_4M.fd");
    expect(document, "string(/domain/os/loader/@readonly)", "yes");
    expect(document, "string(/domain/os/nvram/@template)", "/usr/share/OVMF/OVMF_VARS_4M.fd");
    expect(document, "string(/domain/os/nvram)", "");
    expect(document, "string(//cpu/@mode)", "host-passthrough");
    xmlFreeDoc(document);
}

static void disks_come_in_order_with_whole_chains(void **state)
{
    xmlDocPtr document = make(false, "qemu");

    (void)state;
    expect(document, "count(//disk)", "3");
    expect(document, "string(//disk[1]/target/@dev)", "vda");
    expect(document, "string(//disk[1]/serial)", "disk-2000");
    expect(document, "string(//disk[1]/boot/@order)", "1");
    expect(document, "string(//disk[2]/target/@dev)", "vdb");
    expect(document, "string(//disk[2]/serial)", "disk-2001");
    expect(document, "count(//disk[2]/boot)", "0");
    expect(document, "string(//disk[1]/source/@file)", "/f/disk-2000.qcow2");
    expect(document, "string(//disk[1]/backingStore/source/@file)", "/r/disk-2000/p2.qcow2");
    expect(document, "string(//disk[1]/backingStore/format/@type)", "qcow2");
    expect(document, "string(//disk[1]/backingStore/backingStore/format/@type)", "raw");
    expect(document, "string(//disk[2]/backingStore/source/@file)", "/r/disk-2001/a&b<.raw");
    /* Every chain ends, so that libvirt looks for no more. */
    expect(document, "count(//backingStore[not(*)])", "3");
    xmlFreeDoc(document);
}

static void every_image_is_a_descriptor_of_its_own(void **state)
{
    xmlDocPtr document = make(false, "qemu");

    (void)state;
    expect(document, "count(//disk//source)", "8");
    expect(document, "count(//disk//source[@fdgroup])", "7");
    expect(document,
           "count(//disk//source[@fdgroup and not(@fdgroup = preceding::source/@fdgroup)])", "7");
    expect(document, "string(//disk[1]/source/@fdgroup)", "disk-2000-0");
    expect(document, "string(//disk[1]/backingStore/backingStore/source/@fdgroup)", "disk-2000-2");
    xmlFreeDoc(document);
}

static void an_rbd_base_is_named(void **state)
{
    xmlDocPtr document = make(false, "qemu");
    const char *base = "//disk[3]/backingStore/backingStore";
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "string(%s/@type)", base);
    expect(document, path, "network");
    snprintf(path, sizeof path, "string(%s/source/@protocol)", base);
    expect(document, path, "rbd");
    snprintf(path, sizeof path, "string(%s/source/@name)", base);
    expect(document, path, "vms/image");
    snprintf(path, sizeof path, "string(%s/source/config/@file)", base);
    expect(document, path, "/etc/ceph/c.conf");
    xmlFreeDoc(document);
}

static void a_device_below_is_named(void **state)
{
    const struct replica_image chain[] = { { "/dev/loop0", "raw" } };
    const struct domain_disk disk = {
        .key = 7, .overlay = "/f/o", .chain = chain, .chain_length = 1
    };
    const struct vm_spec spec = { .name = "x", .cpus = 1, .memory = 1 << 20 };
    const struct domain_plan plan = { .spec = &spec,
                                      .uuid = "c471b9e0-e98a-4249-b8fc-9126f1b50536",
                                      .name = "x",
                                      .title = "x",
                                      .virt_type = "qemu",
                                      .console = "/f/c",
                                      .disks = &disk,
                                      .disk_count = 1 };
    CLEANUP_FREE char *xml = NULL;
    xmlDocPtr document;

    (void)state;
    if (!volume_is_device(chain[0].path))
        skip();
    xml = domain_xml(&plan);
    document = xmlParseDoc(BAD_CAST xml);
    assert_non_null(document);
    expect(document, "string(//disk/backingStore/@type)", "block");
    expect(document, "string(//disk/backingStore/source/@dev)", "/dev/loop0");
    expect(document, "count(//disk/backingStore/source/@fdgroup)", "0");
    xmlFreeDoc(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine_is_as_the_spec_says),
        cmocka_unit_test(uefi_has_firmware_and_fresh_variables),
        cmocka_unit_test(disks_come_in_order_with_whole_chains),
        cmocka_unit_test(every_image_is_a_descriptor_of_its_own),
        cmocka_unit_test(an_rbd_base_is_named),
        cmocka_unit_test(a_device_below_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
