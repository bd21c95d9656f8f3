/* The XML of a domain: the disks in order, their chains spelled out and handed over as
 * descriptors, nothing of the source but what the spec says; and all of it by libvirt's
 * own schema, for many kinds of VMs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <libxml/parser.h>
#include <libxml/relaxng.h>
#include <libxml/xpath.h>

#include "failover/domain.h"
#include "failover/xmltree.h"
#include "replica/volume.h"

#define SCHEMA "/usr/share/libvirt/schemas/domain.rng"
#define MOST   256

static const struct replica_image system_chain[] = { { "/r/disk-2000/p2.qcow2", "qcow2" },
                                                     { "/r/disk-2000/base.raw", "raw" } };
static const struct replica_image data_chain[] = { { "/r/disk-2001/a&b<.raw", "raw" } };

/* A VM and what is made of it. */
struct vm {
    struct vm_spec spec;
    struct spec_disk spec_disks[MOST];
    struct domain_disk disks[MOST];
    struct domain_nic nics[MOST];
    struct hardware hardware;
    struct domain_plan plan;
    struct override override;
};

static void set_up(struct vm *vm, size_t disks, size_t nics)
{
    *vm = (struct vm){ .spec = { .name = "app & co",
                                 .cpus = 4,
                                 .cores = 2,
                                 .memory = (uint64_t)512 << 20,
                                 .disks = vm->spec_disks,
                                 .disk_count = disks } };
    for (size_t i = 0; i < disks; i++) {
        vm->spec_disks[i] = (struct spec_disk){ .key = 2000 + (int)i, .unit = (int)i };
        vm->disks[i].key = 2000 + (int)i;
        vm->disks[i].chain = i ? data_chain : system_chain;
        vm->disks[i].chain_length = i ? 1 : 2;
        snprintf(vm->disks[i].overlay, sizeof vm->disks[i].overlay, "/f/disk-%zu.qcow2", 2000 + i);
    }
    for (size_t i = 0; i < nics; i++) {
        snprintf(vm->nics[i].mac, sizeof vm->nics[i].mac, "52:54:00:00:00:%02x",
                 (unsigned)(i & 0xff));
        strcpy(vm->nics[i].network, "vft-c471b9e0");
        vm->nics[i].model = "virtio";
    }
    vm->plan = (struct domain_plan){
        .hardware = &vm->hardware,
        .uuid = "c471b9e0-e98a-4249-b8fc-9126f1b50536",
        .name = "vmferry-test-c471b9e0",
        .title = "test of app & co, <point> 2",
        .virt_type = "qemu",
        .console = "/f/console.log",
        .disks = vm->disks,
        .disk_count = disks,
        .nics = vm->nics,
        .nic_count = nics,
        .override = &vm->override,
    };
}

/* Hardware as it is chosen, boot order as it is found. */
static xmlDocPtr make(struct vm *vm)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *xml = NULL;
    int keys[MOST];
    unsigned order[MOST];
    xmlDocPtr document;

    hardware_choose(&vm->spec, vm->plan.disk_count, vm->plan.nic_count, &vm->hardware);
    if (override_choose(&vm->override, &vm->hardware, &err) < 0)
        fail_msg("%s", error_message(err));
    for (size_t i = 0; i < vm->plan.disk_count; i++)
        keys[i] = vm->disks[i].key;
    hardware_boot_order(&vm->hardware, &vm->spec, keys, vm->plan.disk_count, order);
    for (size_t i = 0; i < vm->plan.disk_count; i++)
        vm->disks[i].boot = order[i];
    if (domain_xml(&vm->plan, &xml, &err) < 0)
        fail_msg("%s", error_message(err));
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

static struct vm vm;

static void machine_is_as_the_spec_says(void **state)
{
    CLEANUP_DOCUMENT xmlDocPtr document = NULL;

    (void)state;
    set_up(&vm, 2, 2);
    vm.nics[0].model = "vmxnet3";
    strcpy(vm.nics[1].network, "br0");
    vm.nics[1].bridge = true;
    document = make(&vm);
    expect(document, "string(/domain/@type)", "qemu");
    expect(document, "string(/domain/title)", "test of app & co, <point> 2");
    expect(document, "string(/domain/memory)", "524288");
    expect(document, "string(/domain/vcpu)", "4");
    expect(document, "string(//topology/@sockets)", "2");
    expect(document, "string(//topology/@cores)", "2");
    expect(document, "count(/domain/os/loader)", "0");
    expect(document, "string(//cpu/@mode)", "maximum");
    expect(document, "string(//clock/@offset)", "utc");
    expect(document, "count(//hyperv) + count(//timer) + count(//tpm) + count(//iommu)", "0");
    expect(document, "string(//interface[1]/mac/@address)", "52:54:00:00:00:00");
    expect(document, "string(//interface[1]/model/@type)", "vmxnet3");
    expect(document, "string(//interface[1]/source/@network)", "vft-c471b9e0");
    expect(document, "string(//interface[2]/@type)", "bridge");
    expect(document, "string(//interface[2]/source/@bridge)", "br0");
    expect(document, "string(//serial/source/@path)", "/f/console.log");
    expect(document, "string(//channel/target/@name)", "org.qemu.guest_agent.0");
    expect(document, "count(//graphics)", "0");
    expect(document, "count(//seclabel)", "0");
}

static void uefi_has_firmware_and_fresh_variables(void **state)
{
    CLEANUP_DOCUMENT xmlDocPtr document = NULL;

    (void)state;
    set_up(&vm, 1, 0);
    vm.spec.uefi = true;
    vm.plan.virt_type = "kvm";
    document = make(&vm);
    expect(document, "string(/domain/os/loader)", "/usr/share/OVMF/OVMF_CODE_4M.fd");
    expect(document, "string(/domain/os/loader/@readonly)", "yes");
    expect(document, "count(/domain/os/loader/@secure)", "0");
    expect(document, "string(/domain/os/nvram/@template)", "/usr/share/OVMF/OVMF_VARS_4M.fd");
    expect(document, "string(/domain/os/nvram)", "");
    expect(document, "string(//cpu/@mode)", "host-passthrough");
}

static void a_windows_with_secure_boot_and_tpm_finds_them(void **state)
{
    CLEANUP_DOCUMENT xmlDocPtr document = NULL;

    (void)state;
    set_up(&vm, 1, 0);
    vm.spec.uefi = vm.spec.secure_boot = vm.spec.tpm = true;
    vm.spec.cores = 0;
    vm.plan.virt_type = "kvm";
    strcpy(vm.spec.os, "windows");
    document = make(&vm);
    expect(document, "string(/domain/os/loader)", "/usr/share/OVMF/OVMF_CODE_4M.ms.fd");
    expect(document, "string(/domain/os/loader/@secure)", "yes");
    expect(document, "string(/domain/os/nvram/@template)", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd");
    expect(document, "string(//features/smm/@state)", "on");
    expect(document, "string(//tpm/@model)", "tpm-crb");
    expect(document, "string(//tpm/backend/@version)", "2.0");
    expect(document, "string(//clock/@offset)", "localtime");
    expect(document, "string(//timer[@name = 'hypervclock']/@present)", "yes");
    expect(document, "string(//hyperv/relaxed/@state)", "on");
    expect(document, "string(//topology/@sockets)", "1"); /* a desktop Windows uses no more */
    expect(document, "string(//topology/@cores)", "4");
    xmlFreeDoc(document);
    vm.plan.virt_type = "qemu";
    document = make(&vm);
    expect(document, "count(//hyperv) + count(//timer[@name = 'hypervclock'])", "0");
}

static void disks_come_in_order_with_whole_chains(void **state)
{
    CLEANUP_DOCUMENT xmlDocPtr document = NULL;

    (void)state;
    set_up(&vm, 2, 0);
    document = make(&vm);
    expect(document, "count(//disk)", "2");
    expect(document, "string(//disk[1]/target/@dev)", "vda");
    expect(document, "string(//disk[1]/target/@bus)", "virtio");
    expect(document, "string(//disk[1]/driver/@discard)", "unmap");
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
    expect(document, "count(//backingStore[not(*)])", "2");
}

static void every_image_is_a_descriptor_of_its_own(void **state)
{
    CLEANUP_DOCUMENT xmlDocPtr document = NULL;

    (void)state;
    set_up(&vm, 2, 0);
    document = make(&vm);
    expect(document, "count(//disk//source)", "5");
    expect(document, "count(//disk//source[@fdgroup])", "5");
    expect(document, "count(//disk//source[not(@fdgroup = preceding::source/@fdgroup)])", "5");
    expect(document, "string(//disk[1]/source/@fdgroup)", "disk-2000-0");
    expect(document, "string(//disk[1]/backingStore/backingStore/source/@fdgroup)", "disk-2000-2");
}

static void an_rbd_base_is_named(void **state)
{
    static const struct replica_image ceph_chain[] = {
        { "/r/disk-2002/p2.qcow2", "qcow2" },
        { "rbd:vms/image:id=me:conf=/etc/ceph/c.conf", "raw" },
    };
    CLEANUP_DOCUMENT xmlDocPtr document = NULL;

    (void)state;
    set_up(&vm, 1, 0);
    vm.disks[0].chain = ceph_chain;
    document = make(&vm);
    expect(document, "string(//disk/backingStore/backingStore/@type)", "network");
    expect(document, "string(//backingStore/source/@protocol)", "rbd");
    expect(document, "string(//backingStore/source/@name)", "vms/image");
    expect(document, "string(//backingStore/source/config/@file)", "/etc/ceph/c.conf");
    expect(document, "count(//disk//source[@fdgroup])", "2");
}

static void a_device_below_is_named(void **state)
{
    static const struct replica_image chain[] = { { "/dev/loop0", "raw" } };
    CLEANUP_DOCUMENT xmlDocPtr document = NULL;

    (void)state;
    if (!volume_is_device(chain[0].path))
        skip();
    set_up(&vm, 1, 0);
    vm.disks[0].chain = chain;
    vm.disks[0].chain_length = 1;
    document = make(&vm);
    expect(document, "string(//disk/backingStore/@type)", "block");
    expect(document, "string(//disk/backingStore/source/@dev)", "/dev/loop0");
    expect(document, "count(//disk/backingStore/source/@fdgroup)", "0");
}

static void another_host_opens_the_images_and_leaves_their_owners(void **state)
{
    CLEANUP_DOCUMENT xmlDocPtr document = NULL;

    (void)state;
    set_up(&vm, 2, 0);
    vm.plan.by_path = true;
    vm.plan.uid = 64;
    vm.plan.gid = 65;
    document = make(&vm);
    expect(document, "count(//@fdgroup)", "0");
    expect(document, "count(//disk//source[seclabel/@relabel = 'no'])", "5");
    expect(document, "string(/domain/seclabel/label)", "+64:+65");
    expect(document, "string(/domain/seclabel/@type)", "static");
}

static void many_disks_are_on_one_scsi_controller_in_order(void **state)
{
    CLEANUP_DOCUMENT xmlDocPtr document = NULL;

    (void)state;
    set_up(&vm, 24, 8);
    document = make(&vm);
    expect(document, "count(//disk/target[@bus = 'virtio'])", "24");
    xmlFreeDoc(document);
    set_up(&vm, 24, 9); /* PCI ports are for NICs, too */
    document = make(&vm);
    expect(document, "count(//disk/target[@bus = 'scsi'])", "24");
    xmlFreeDoc(document);
    set_up(&vm, 60, 1);
    document = make(&vm);
    expect(document, "count(//disk/target[@bus = 'scsi'])", "60");
    expect(document, "count(//controller[@model = 'virtio-scsi'])", "1");
    expect(document, "string(//disk[1]/target/@dev)", "sda");
    expect(document, "string(//disk[27]/target/@dev)", "sdaa");
    expect(document, "string(//disk[60]/target/@dev)", "sdbh");
    expect(document, "string(//disk[60]/address/@target)", "59");
    expect(document, "string(//disk[60]/serial)", "disk-2059");
    expect(document, "count(//disk/address[not(@target = preceding::address/@target)])", "60");
}

static void the_boot_order_is_the_sources(void **state)
{
    CLEANUP_DOCUMENT xmlDocPtr document = NULL;

    (void)state;
    set_up(&vm, 4, 0);
    vm.spec_disks[2].boot = 1;
    vm.spec_disks[1].boot = 3;
    document = make(&vm);
    expect(document, "string(//disk[3]/boot/@order)", "1");
    expect(document, "string(//disk[2]/boot/@order)", "2"); /* places without a gap */
    expect(document, "count(//disk/boot)", "2");
    xmlFreeDoc(document);
    vm.disks[2].key = 2009; /* the point does not have the source's first one */
    document = make(&vm);
    expect(document, "string(//disk[2]/boot/@order)", "1");
    expect(document, "count(//disk/boot)", "1");
}

static void domain_names_are_libvirts(void **state)
{
    static const struct {
        const char *vm, *domain;
    } names[] = {
        { "app01", "app01" }, { "a/b\tc", "a-b-c" }, { "Übung <&>\" 日本", "Übung <&>\" 日本" },
        { " ", "unnamed" },   { "", "unnamed" },
    };
    char name[SPEC_TEXT], longest[SPEC_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        hardware_domain_name(names[i].vm, name);
        assert_string_equal(name, names[i].domain);
    }
    for (size_t i = 0; i + 2 < sizeof longest; i += 2)
        strcpy(longest + i, "ü");
    hardware_domain_name(longest + 1, name); /* starts within a character: it stays so */
    longest[200] = '\0';
    hardware_domain_name(longest, name);
    assert_string_equal(name, longest);
}

static void check(xmlRelaxNGPtr schema, struct vm *one, const char *what)
{
    CLEANUP_DOCUMENT xmlDocPtr document = make(one);
    xmlRelaxNGValidCtxtPtr context = xmlRelaxNGNewValidCtxt(schema);
    int status = xmlRelaxNGValidateDoc(context, document);

    xmlRelaxNGFreeValidCtxt(context);
    if (status != 0) {
        CLEANUP_FREE char *xml = node_dump(document);
        fail_msg("%s (%zu disks, %zu NICs) is not what libvirt's schema says:\n%s", what,
                 one->plan.disk_count, one->plan.nic_count, xml);
    }
}

/* One VM in each kind of machine. */
static unsigned check_kinds(xmlRelaxNGPtr schema, size_t disks, size_t nics, const char *title)
{
    unsigned count = 0;

    for (unsigned kind = 0; kind < 32; kind++) {
        set_up(&vm, disks, nics);
        vm.spec.uefi = kind & 1;
        vm.spec.secure_boot = kind & 2;
        vm.spec.tpm = kind & 4;
        strcpy(vm.spec.os, kind & 8 ? "windows" : "");
        vm.plan.virt_type = kind & 16 ? "kvm" : "qemu";
        vm.plan.by_path = kind % 3 == 0;
        vm.plan.title = title;
        vm.spec.cpus = kind == 5 ? 288 : 2;
        for (size_t i = 0; i < nics; i++) {
            vm.nics[i].bridge = i % 2;
            if (i % 3 == 2)
                vm.nics[i].mac[0] = '\0';
        }
        check(schema, &vm, title);
        count++;
    }
    return count;
}

static void all_of_it_is_by_libvirts_schema(void **state)
{
    static const char *const titles[] = {
        "test of app01, point 1",
        "<&>\"' ]]> <!--",
        "Übung 日本 \xf0\x9f\x90\x98",
        "control \x01\x1f and broken \xc3\x28 \xff",
        "\xef\xbf\xbf",
    };
    static const size_t disks[] = { 1, 2, 24, 25, 60, 256 };
    static const size_t nics[] = { 0, 1, 10, 64 };
    xmlRelaxNGParserCtxtPtr parser = xmlRelaxNGNewParserCtxt(SCHEMA);
    xmlRelaxNGPtr schema = xmlRelaxNGParse(parser);
    unsigned count = 0;

    (void)state;
    assert_non_null(schema);
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
        count += check_kinds(schema, 2, 1, titles[i]);
    for (size_t i = 0; i < sizeof disks / sizeof disks[0]; i++)
        count += check_kinds(schema, disks[i], nics[i % 4], titles[0]);
    for (size_t i = 0; i < sizeof nics / sizeof nics[0]; i++)
        count += check_kinds(schema, 1, nics[i], titles[1]);
    assert_true(count > 400);
    xmlRelaxNGFree(schema);
    xmlRelaxNGFreeParserCtxt(parser);
}

static void what_is_not_known_is_asked_for(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct hardware hardware;

    (void)state;
    set_up(&vm, 1, 0);
    vm.spec.cpus = 0;
    hardware_choose(&vm.spec, 1, 0, &hardware);
    assert_int_equal(hardware_check(&hardware, &err), -1);
    assert_non_null(strstr(error_message(err), "vcpus = 2"));
    error_clear(&err);
    vm.spec.cpus = 2;
    vm.spec.memory = 0;
    hardware_choose(&vm.spec, 1, 0, &hardware);
    assert_int_equal(hardware_check(&hardware, &err), -1);
    assert_non_null(strstr(error_message(err), "memory = 2G"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine_is_as_the_spec_says),
        cmocka_unit_test(uefi_has_firmware_and_fresh_variables),
        cmocka_unit_test(a_windows_with_secure_boot_and_tpm_finds_them),
        cmocka_unit_test(disks_come_in_order_with_whole_chains),
        cmocka_unit_test(every_image_is_a_descriptor_of_its_own),
        cmocka_unit_test(an_rbd_base_is_named),
        cmocka_unit_test(a_device_below_is_named),
        cmocka_unit_test(another_host_opens_the_images_and_leaves_their_owners),
        cmocka_unit_test(many_disks_are_on_one_scsi_controller_in_order),
        cmocka_unit_test(the_boot_order_is_the_sources),
        cmocka_unit_test(domain_names_are_libvirts),
        cmocka_unit_test(what_is_not_known_is_asked_for),
        cmocka_unit_test(all_of_it_is_by_libvirts_schema),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
