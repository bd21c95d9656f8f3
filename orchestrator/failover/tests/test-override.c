/* Overrides: what they change, and that a mistake is told with its line and leaves no doubt
 * what to write instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>

#include "failover/domain.h"
#include "failover/xmltree.h"

static const struct replica_image chain[] = { { "/r/point.qcow2", "qcow2" },
                                              { "/r/base.raw", "raw" } };
static const struct domain_disk disks[] = {
    { .key = 2000, .boot = 1, .overlay = "/f/disk-2000.qcow2", .chain = chain, .chain_length = 2 },
    { .key = 2001, .overlay = "/f/disk-2001.qcow2", .chain = chain, .chain_length = 2 },
};
static const struct domain_nic nics[] = {
    { .mac = "52:54:00:00:00:01", .model = "virtio", .network = "a" },
    { .mac = "52:54:00:00:00:02", .model = "virtio", .network = "a" },
};

/* A file of this text, read; the domain that it makes of a plain one. */
static int try(const char *text, char **xml, struct hardware *hardware, struct error **err)
{
    static const struct vm_spec spec = { .cpus = 2, .memory = (uint64_t)1 << 30 };
    CLEANUP_OVERRIDE struct override override = { 0 };
    const struct domain_plan plan = {
        .hardware = hardware,
        .uuid = "c471b9e0-e98a-4249-b8fc-9126f1b50536",
        .name = "vmferry-test-c471b9e0",
        .title = "a test",
        .virt_type = "qemu",
        .console = "/f/console.log",
        .disks = disks,
        .disk_count = 2,
        .nics = nics,
        .nic_count = 2,
        .override = &override,
    };
    char path[] = "/tmp/vmferry-override.XXXXXX";
    int fd = mkstemp(path), status;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    hardware_choose(&spec, 2, 2, hardware);
    status = override_load(path, &override, err);
    unlink(path);
    if (status < 0 || override_choose(&override, hardware, err) < 0)
        return -1;
    return domain_xml(&plan, xml, err);
}

static xmlDocPtr make(const char *text)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *xml = NULL;
    struct hardware hardware;

    if (try(text, &xml, &hardware, &err) < 0)
        fail_msg("%s: %s", text, error_message(err));
    return xmlParseDoc(BAD_CAST xml);
}

static void expect(const char *text, const char *xpath, const char *expected)
{
    CLEANUP_DOCUMENT xmlDocPtr document = make(text);
    xmlXPathContextPtr context = xmlXPathNewContext(document);
    xmlXPathObjectPtr found = xmlXPathEvalExpression(BAD_CAST xpath, context);
    xmlChar *got = xmlXPathCastToString(found);

    if (strcmp((char *)got, expected))
        fail_msg("after '%s' %s is '%s', not '%s'", text, xpath, (char *)got, expected);
    xmlFree(got);
    xmlXPathFreeObject(found);
    xmlXPathFreeContext(context);
}

static void keys_change_choices(void **state)
{
    (void)state;
    expect("vcpus = 6", "string(//vcpu)", "6");
    expect("vcpus = 6", "string(//topology/@cores)", "6");
    expect("vcpus = 6\ncores=2\n", "string(//topology/@sockets)", "3");
    expect("memory = 8G", "string(//memory)", "8388608");
    expect("cpu = host-model", "string(//cpu/@mode)", "host-model");
    expect("cpu = Nehalem-IBRS", "string(//cpu/model)", "Nehalem-IBRS");
    expect("firmware = uefi", "count(//loader)", "1");
    expect("firmware = uefi\nsecure-boot = yes", "string(//loader/@secure)", "yes");
    expect("tpm = yes", "count(//tpm)", "1");
    expect("clock = localtime", "string(//clock/@offset)", "localtime");
    expect("disk-bus = sata", "string(//disk[2]/target[@bus = 'sata']/@dev)", "sdb");
    expect("disk-bus = scsi", "count(//controller[@model = 'virtio-scsi'])", "1");
    expect("video = qxl", "string(//video/model/@type)", "qxl");
    expect("graphics = vnc", "string(//graphics/@listen)", "127.0.0.1");
    expect("# only\n\n;comments\n  # here\r\n", "string(//vcpu)", "2");
    expect("vcpus=3 \r\nvcpus = 5", "string(//vcpu)", "5"); /* the last one counts */
}

static void paths_change_the_xml_in_their_order(void **state)
{
    (void)state;
    expect("/domain/devices/video/model/@type = cirrus", "string(//video/model/@type)", "cirrus");
    expect("//interface/model/@type = e1000", "count(//model[@type = 'e1000'])", "2");
    expect("/domain/devices/interface[mac/@address = '52:54:00:00:00:02']/model/@type=rtl8139",
           "string(//interface[2]/model/@type)", "rtl8139");
    expect("/domain/vcpu/@placement = static", "string(//vcpu/@placement)", "static"); /* new */
}

static void elements_come_and_go(void **state)
{
    (void)state;
    expect("/domain/devices += <rng model='virtio'><backend model='random'>/dev/urandom</backend>"
           "</rng>",
           "string(//rng/backend)", "/dev/urandom");
    expect("/domain/devices += <watchdog model='itco' action='reset'/>\n"
           "//watchdog/@action = none",
           "string(//watchdog/@action)", "none");
    expect("/domain/devices += \\\n<rng model='virtio'>\\\n<backend model='random'/>\\\n</rng>\n"
           "vcpus = 7",
           "concat(count(//rng/backend), //vcpu)", "17");
    expect("delete /domain/devices/memballoon", "count(//memballoon)", "0");
    expect("delete //video | //video/model", "count(//video)", "0"); /* one within the other */
    expect("delete //interface/model/@type", "count(//interface/model/@type)", "0");
    expect("/domain/title = <b>&amp;", "string(//title)", "<b>&amp;"); /* a text, not XML */
    expect("/domain += <qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
           "<qemu:arg value='-S'/></qemu:commandline>\n"
           "/domain/qemu:commandline/qemu:arg/@value = -no-hpet",
           "string(//*[local-name() = 'arg']/@value)", "-no-hpet");
}

static void mistakes_name_their_line(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        { "vcpus 4", "line 1: there is no '='" },
        { "\n# x\nvcpu = 4", "line 3: there is no key 'vcpu'; the keys are: name, vcpus" },
        { "vcpus = many", "line 1: vcpus = many: it takes a number from 1 to 4096" },
        { "vcpus = 0", "line 1: vcpus = 0" },
        { "vcpus =", "line 1: vcpus = : it takes" },
        { "= 4", "line 1: there is nothing before the '='" },
        { "memory = 8GB", "line 1: memory = 8GB: it takes a size" },
        { "tpm = maybe", "it takes yes, no" },
        { "disk-bus = ide", "it takes virtio, scsi, sata" },
        { "disk-bus = virtio, scsi", "it takes virtio, scsi, sata" },
        { "clock = ", "it takes utc, localtime" },
        { "boot = 2000", "it takes a disk, such as disk-2000" },
        { "name = a/b", "it takes a name without '/'" },
        { "nic-model = e1000'/>", "it takes a model" },
        { "cores = 3", "2 CPUs do not make whole sockets of 3 cores" },
        { "secure-boot = yes", "secure-boot = yes needs firmware = uefi" },
        { "vcpus += 4", "line 1: += is for a path" },
        { "\\\n", "ends with a backslash" },
        { "vcpus = 2\n\\\n\\\nvcpus = x\n", "line 2: vcpus = x" },
        { "\n/domain/nothing = 4", "line 2: nothing in this domain is at /domain/nothing" },
        { "/domain/devices/video/@no/thing = 4", "line 1: nothing in this domain is at" },
        { "/domain[ = 4", "line 1: there is no '='" },
        { "/domain//[x] = 4", "is no XPath" },
        { "/domain/vcpu + 1 = 4", "names no elements" },
        { "/domain/devices = 4", "has elements in it, and no text" },
        { "/domain/vcpu/text() = 4", "no element and no attribute" },
        { "/domain/devices += rng", "an element has to stand after +=" },
        { "/domain/devices += <rng>", "is not well-formed XML" },
        { "//interface += <x/>", "names 2 things; += needs one element" },
        { "delete /domain", "the whole domain" },
        { "delete /domain/nothing", "line 1: nothing in this domain is at" },
        { "delete memballoon", "takes a path that starts with /" },
        { "/domain/uuid = c471b9e0-e98a-4249-b8fc-9126f1b50537", "uuid or name" },
        { "/domain/name = other", "(name = ... names it)" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        CLEANUP_FREE char *xml = NULL;
        struct hardware hardware;

        if (try(cases[i].text, &xml, &hardware, &err) == 0)
            fail_msg("'%s' is taken", cases[i].text);
        if (!strstr(error_message(err), cases[i].said))
            fail_msg("'%s' says '%s', not '%s'", cases[i].text, error_message(err), cases[i].said);
    }
}

static void no_override_lets_a_guest_write_a_point(void **state)
{
    static const char *const attempts[] = {
        "/domain/devices/disk[1]/source/@file = /r/point.qcow2\n"
        "delete /domain/devices/disk[1]/source/@fdgroup",
        "/domain/devices/disk[1]/source/@fdgroup = disk-2000-1",
        "/domain/devices/disk[1]/source/@fdgroup = disk-2001-2",
        "/domain/devices/disk[1]/source/@fdgroup = anything",
        "/domain/devices += <disk type='block' device='disk'><source dev='/r/base.raw'/>"
        "<target dev='vdz'/></disk>",
        "/domain/devices/disk[1]/backingStore/source/@fdgroup = disk-2000-0",
    };

    (void)state;
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        CLEANUP_FREE char *xml = NULL;
        struct hardware hardware;

        if (try(attempts[i], &xml, &hardware, &err) == 0)
            fail_msg("'%s' is taken", attempts[i]);
        if (!strstr(error_message(err), "may only have the overlays"))
            fail_msg("'%s' says '%s'", attempts[i], error_message(err));
    }
    expect("/domain/devices += <disk type='file' device='cdrom'><source file='/iso/virtio.iso'/>"
           "<target dev='sda' bus='sata'/></disk>",
           "count(//disk)", "3");
}

static void files_that_cannot_be_read(void **state)
{
    CLEANUP_OVERRIDE struct override override = { 0 };
    CLEANUP_ERROR struct error *err = NULL;

    (void)state;
    assert_int_equal(override_load("/nowhere/x", &override, &err), -1);
    assert_non_null(strstr(error_message(err), "/nowhere/x"));
    error_clear(&err);
    assert_int_equal(override_load("/tmp", &override, &err), -1);
    assert_non_null(strstr(error_message(err), "directory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_change_choices),
        cmocka_unit_test(paths_change_the_xml_in_their_order),
        cmocka_unit_test(elements_come_and_go),
        cmocka_unit_test(mistakes_name_their_line),
        cmocka_unit_test(no_override_lets_a_guest_write_a_point),
        cmocka_unit_test(files_that_cannot_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
