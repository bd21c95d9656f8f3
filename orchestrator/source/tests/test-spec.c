/* The parser of VM descriptions: what it takes, and that it names what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "source/spec.h"

#define DISK0                                                                                      \
    "{\"key\":2000,\"unit\":1,\"capacity\":1024,\"backing_uuid\":\"b0\",\"file\":\"d0\","          \
    "\"change_id\":\"u/2\",\"changes\":{\"since\":\"u/1\",\"map\":\"/m0\"}}"
#define DISK1                                                                                      \
    "{\"key\":2001,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b1\","                           \
    "\"uri\":\"nbd+unix:///x?socket=/s\"}"
#define HEAD                                                                                       \
    "{\"uuid\":\"6D7B3C52-1f0a-4c0e-9d55-0c8f5a1d2e3f\",\"name\":\"app01\","                       \
    "\"firmware\":\"uefi\",\"cpus\":2,\"memory\":1073741824,"
#define NICS  "\"nics\":[{\"mac\":\"52:54:00:AB:34:56\",\"network\":\"LAN\",\"model\":\"e1000\"}],"
#define VALID HEAD NICS "\"disks\":[" DISK0 "," DISK1 "]}\n"

static void test_valid(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_SPEC struct vm_spec spec = { 0 };
    CLEANUP_SPEC struct vm_spec again = { 0 };
    CLEANUP_FREE char *json = NULL;

    (void)state;
    if (spec_parse(VALID, "vm.json", "/dir", &spec, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_string_equal(spec.uuid, "6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f");
    assert_true(spec.uefi);
    assert_int_equal(spec.disk_count, 2);
    assert_int_equal(spec.disks[0].key, 2001); /* in unit order */
    assert_string_equal(spec.disks[1].place, "/dir/d0");
    assert_string_equal(spec.disks[1].changes, "/m0");
    assert_string_equal(spec.nics[0].mac, "52:54:00:ab:34:56");

    json = spec_to_json(&spec);
    if (spec_parse(json, "again", "/", &again, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_memory_equal(again.disks, spec.disks, 2 * sizeof *spec.disks);
    assert_memory_equal(again.nics, spec.nics, sizeof *spec.nics);
}

#define INVENTORY                                                                                  \
    "\"inventory\":{\"id\":\"vm-62\",\"power\":\"on\",\"used\":536870912,\"tracking\":\"on\","     \
    "\"tools\":\"running\",\"guest\":\"Debian\",\"hardware\":\"vmx-19\",\"host\":\"esx1\"}"
#define DISK_INVENTORY                                                                             \
    "\"inventory\":{\"label\":\"Hard disk 1\",\"controller\":\"pvscsi\",\"address\":\"scsi0:1\","  \
    "\"backing\":\"[ds1] a/a.vmdk\",\"mode\":\"persistent\"}"

static void test_inventory(void **state)
{
    static const char text[] =
        HEAD "\"disks\":[{\"key\":2000,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\","
             "\"file\":\"/d\"," DISK_INVENTORY "}]," INVENTORY "}";
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_SPEC struct vm_spec spec = { 0 };
    CLEANUP_SPEC struct vm_spec again = { 0 };
    CLEANUP_FREE char *json = NULL;

    (void)state;
    if (spec_parse(text, "vm.json", "/dir", &spec, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_string_equal(spec.inventory.id, "vm-62");
    assert_int_equal(spec.inventory.used, 536870912);
    assert_string_equal(spec.inventory.host, "esx1");
    assert_string_equal(spec.disks[0].inventory.address, "scsi0:1");
    assert_string_equal(spec.disks[0].inventory.mode, "persistent");
    json = spec_to_json(&spec);
    if (spec_parse(json, "again", "/", &again, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_memory_equal(&again.inventory, &spec.inventory, sizeof spec.inventory);
    assert_memory_equal(again.disks, spec.disks, sizeof *spec.disks);
}

static void test_machine(void **state)
{
    static const char text[] =
        "{\"uuid\":\"6D7B3C52-1f0a-4c0e-9d55-0c8f5a1d2e3f\",\"name\":\"app01\","
        "\"firmware\":\"uefi\",\"secure_boot\":true,\"tpm\":true,\"os\":\"windows\",\"cpus\":8,"
        "\"cores\":4,\"memory\":1073741824,\"disks\":[" DISK1 ",{\"key\":1,\"unit\":9,"
        "\"capacity\":512,\"backing_uuid\":\"b\",\"file\":\"a\",\"boot\":1}]}";
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_SPEC struct vm_spec spec = { 0 };
    CLEANUP_SPEC struct vm_spec again = { 0 };
    CLEANUP_FREE char *json = NULL;

    (void)state;
    if (spec_parse(text, "vm.json", "/dir", &spec, &err) < 0)
        fail_msg("%s", error_message(err));
    json = spec_to_json(&spec);
    if (spec_parse(json, "again", "/", &again, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_true(again.secure_boot && again.tpm);
    assert_string_equal(again.os, "windows");
    assert_int_equal(again.cpus, 8);
    assert_int_equal(again.cores, 4);
    assert_int_equal(again.disks[0].boot, 0);
    assert_int_equal(again.disks[1].boot, 1);
}

/* What a source's VM may lack is taken back from the store, and from nowhere else. */
static void test_stored(void **state)
{
    struct spec_disk disks[] = { { .key = 2001, .unit = 100, .capacity = 513 },
                                 { .key = 2000, .unit = 0 } };
    struct spec_nic nics[] = { { .network = "LAN" }, { .network = "LAN" } };
    struct vm_spec bare = { .uuid = "6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f",
                            .name = "app01",
                            .nics = nics,
                            .nic_count = 2,
                            .disks = disks,
                            .disk_count = 2 };
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_SPEC struct vm_spec again = { 0 };
    CLEANUP_FREE char *json = NULL;

    (void)state;
    assert_int_equal(spec_sort_disks(&bare, "app01", &err), 0);
    assert_int_equal(disks[0].key, 2000);
    json = spec_to_json(&bare);
    assert_int_equal(spec_parse(json, "source", "/", &again, &err), -1);
    error_clear(&err);
    if (spec_parse_stored(json, "store", &again, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_int_equal(again.disk_count, 2);
    assert_int_equal(again.disks[1].unit, 100);
    assert_int_equal(again.disks[1].capacity, 513); /* the preflight says what is wrong with it */
    assert_string_equal(again.disks[1].place, "");
    assert_null(strstr(json, "inventory"));

    disks[1].unit = 0;
    assert_int_equal(spec_sort_disks(&bare, "app01", &err), -1);
    assert_non_null(strstr(error_message(err), "app01: disks[0] and disks[1] have the same unit"));
}

static void test_refused(void **state)
{
#define DISKS(text) HEAD "\"disks\":[" text "]}"
    static const struct {
        const char *json;
        const char *message; /* part of it */
    } cases[] = {
        { "", "ends too early" },
        { HEAD "\"cores\":3,\"disks\":[" DISK1 "]}", "cores: does not divide" },
        { HEAD "\"os\":\"Windows\",\"disks\":[" DISK1 "]}", "os: must be" },
        { HEAD "\"tpm\":1,\"disks\":[" DISK1 "]}", "tpm: must be of type boolean" },
        { "{\"uuid\":\"6D7B3C52-1f0a-4c0e-9d55-0c8f5a1d2e3f\",\"name\":\"a\","
          "\"firmware\":\"bios\",\"secure_boot\":true,\"cpus\":1,\"memory\":1073741824,"
          "\"disks\":[" DISK1 "]}",
          "secure_boot: needs" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\",\"file\":\"a\","
                "\"boot\":1},{\"key\":2,\"unit\":1,\"capacity\":512,\"backing_uuid\":\"c\","
                "\"file\":\"b\",\"boot\":1}"),
          "the same boot" },
        { "{", "ends too early" },
        { "[]", "is a JSON object" },
        { "{\n\"uuid\": 1\n x}", "line 3" },
        { VALID "x", "line 2" },
        { "{}", "uuid: is missing" },
        { HEAD "\"disks\":[]}", "at least one disk" },
        { HEAD "\"disks\":{}}", "disks: must be of type array" },
        { HEAD "\"disk\":[]}", "disk: is not a member" },
        { DISKS("1"), "disks[0]: must be an object" },
        { DISKS(DISK0 "," DISK0), "the same key" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b0\",\"file\":\"a\"},"
                "{\"key\":2,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b1\",\"file\":\"b\"}"),
          "the same unit" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\",\"file\":\"a\"},"
                "{\"key\":2,\"unit\":1,\"capacity\":512,\"backing_uuid\":\"b\",\"file\":\"b\"}"),
          "the same backing_uuid" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\",\"file\":\"a\"},"
                "{\"key\":2,\"unit\":1,\"capacity\":512,\"backing_uuid\":\"c\",\"file\":\"a\"}"),
          "the same data" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":513,\"backing_uuid\":\"b\",\"file\":\"a\"}"),
          "disks[0].capacity: is not a multiple" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":-512,\"backing_uuid\":\"b\",\"file\":\"a\"}"),
          "disks[0].capacity: -512" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":99999999999999999999999,"
                "\"backing_uuid\":\"b\",\"file\":\"a\"}"),
          "disks[0].capacity" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":\"512\",\"backing_uuid\":\"b\"}"),
          "must be of type int" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\"}"),
          "either \"uri\" or \"file\"" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\",\"file\":\"a\","
                "\"uri\":\"nbd://x\"}"),
          "either \"uri\" or \"file\"" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\","
                "\"uri\":\"http://x\"}"),
          "disks[0].uri: must start" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\",\"file\":\"a\","
                "\"changes\":{\"since\":\"u/1\",\"map\":\"m\"}}"),
          "needs \"change_id\"" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\",\"file\":\"a\","
                "\"change_id\":\"u/2\",\"changes\":{\"map\":\"m\"}}"),
          "disks[0].changes.since: is missing" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\",\"file\":\"a\","
                "\"change_id\":\"u/2\",\"changes\":{\"since\":\"u/1\",\"context\":\"q:x\"}}"),
          "a file has no metadata contexts" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\","
                "\"uri\":\"nbd://x\",\"change_id\":\"u/2\","
                "\"changes\":{\"since\":\"u/1\",\"context\":\"base:allocation\"}}"),
          "changes.context: is neither" },
        { HEAD "\"inventory\":{\"color\":\"red\"},\"disks\":[" DISK0 "]}",
          "inventory.color: is not a member" },
        { DISKS("{\"key\":1,\"unit\":0,\"capacity\":512,\"backing_uuid\":\"b\",\"file\":\"a\","
                "\"inventory\":{\"mode\":1}}"),
          "disks[0].inventory.mode: must be of type string" },
        { HEAD "\"nics\":[{\"mac\":\"52:54:00:12:34\"}],\"disks\":[" DISK0 "]}",
          "nics[0].mac: is not a MAC" },
        { HEAD "\"nics\":[{\"mac\":\"53:54:00:12:34:56\"}],\"disks\":[" DISK0 "]}", "multicast" },
        { HEAD "\"nics\":[{\"mac\":\"52:54:00:12:34:56\"},{\"mac\":\"52:54:00:12:34:56\"}],"
               "\"disks\":[" DISK0 "]}",
          "the same mac" },
        { "{\"uuid\":\"6d7b3c52\",\"name\":\"a\",\"firmware\":\"bios\",\"cpus\":1,"
          "\"memory\":1048576,\"disks\":[" DISK0 "]}",
          "uuid: is not a UUID" },
        { "{\"uuid\":\"6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f\",\"name\":\"a\\nb\","
          "\"firmware\":\"bios\",\"cpus\":1,\"memory\":1048576,\"disks\":[" DISK0 "]}",
          "name: holds a control character" },
        { "{\"uuid\":\"6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f\",\"name\":\"a\","
          "\"firmware\":\"efi\",\"cpus\":1,\"memory\":1048576,\"disks\":[" DISK0 "]}",
          "firmware: must be" },
        { "{\"uuid\":\"6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f\",\"name\":\"a\","
          "\"firmware\":\"bios\",\"cpus\":0,\"memory\":1048576,\"disks\":[" DISK0 "]}",
          "cpus: 0 is not between" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        struct vm_spec spec;

        if (spec_parse(cases[i].json, "vm.json", "/", &spec, &err) == 0)
            fail_msg("taken: %s", cases[i].json);
        if (!strstr(error_message(err), cases[i].message) ||
            strncmp(error_message(err), "vm.json: ", 9) != 0)
            fail_msg("case %zu: '%s' is not in '%s'", i, cases[i].message, error_message(err));
    }
}

/* A description that ends anywhere is never half a VM. */
static void test_truncated(void **state)
{
    char text[sizeof VALID];

    (void)state;
    strcpy(text, VALID);
    for (size_t length = strlen(VALID) - 2; length > 0; length--) {
        CLEANUP_ERROR struct error *err = NULL;
        struct vm_spec spec;

        text[length] = '\0';
        assert_int_equal(spec_parse(text, "vm.json", "/", &spec, &err), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),     cmocka_unit_test(test_machine),
        cmocka_unit_test(test_inventory), cmocka_unit_test(test_stored),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_truncated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
