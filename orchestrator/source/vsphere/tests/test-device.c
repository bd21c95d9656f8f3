/* Virtual hardware out of XML as vCenter and others write it, and the specs made of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "source/vsphere/device.h"

#define XSI "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""

static void parse(const char *xml, struct vsphere_devices *devices)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_XML_DOC xmlDoc *doc = NULL;

    if (xml_parse(xml, strlen(xml), &doc, &err) < 0 ||
        devices_parse(xmlDocGetRootElement(doc), devices, &err) < 0)
        fail_msg("%s", error_message(err));
}

#define CONTROLLER(type, key, bus)                                                                 \
    "<VirtualDevice xsi:type=\"" type "\"><key>" key "</key><deviceInfo><label>c</label>"          \
    "<summary>s</summary></deviceInfo><busNumber>" bus "</busNumber></VirtualDevice>"
#define DISK(key, uuid, controller, unit)                                                          \
    "<VirtualDevice xsi:type=\"VirtualDisk\"><key>" key                                            \
    "</key><deviceInfo><label>Hard disk</label><summary>s</summary></deviceInfo>"                  \
    "<backing xsi:type=\"VirtualDiskFlatVer2BackingInfo\"><fileName>[ds1] a/" key                  \
    ".vmdk</fileName><diskMode>persistent</diskMode><uuid>" uuid "</uuid><changeId>52 de/" unit    \
    "</changeId></backing><controllerKey>" controller "</controllerKey><unitNumber>" unit          \
    "</unitNumber><capacityInKB>1024</capacityInKB>"                                               \
    "</VirtualDevice>"

/* vCenter's own style: everything that a disk can say. */
static const char vcenter[] =
    "<val " XSI " xsi:type=\"ArrayOfVirtualDevice\">"
    "<VirtualDevice xsi:type=\"VirtualIDEController\"><key>200</key><busNumber>0</busNumber>"
    "</VirtualDevice>"
    "<VirtualDevice xsi:type=\"VirtualKeyboard\"><key>600</key></VirtualDevice>"
    "<VirtualDevice xsi:type=\"ParaVirtualSCSIController\"><key>1000</key><deviceInfo>"
    "<label>SCSI controller 0</label><summary>VMware paravirtual SCSI</summary></deviceInfo>"
    "<controllerKey>100</controllerKey><unitNumber>3</unitNumber><busNumber>0</busNumber>"
    "<device>2000</device><device>2001</device><hotAddRemove>true</hotAddRemove>"
    "<sharedBus>noSharing</sharedBus><scsiCtlrUnitNumber>7</scsiCtlrUnitNumber></VirtualDevice>"
    "<VirtualDevice xsi:type=\"VirtualDisk\"><key>2000</key><deviceInfo><label>Hard disk 1</label>"
    "<summary>10,485,760 KB</summary></deviceInfo>"
    "<backing xsi:type=\"VirtualDiskFlatVer2BackingInfo\">"
    "<fileName>[ds one] app &amp; co/app01-000001.vmdk</fileName>"
    "<datastore type=\"Datastore\">datastore-11</datastore><backingObjectId></backingObjectId>"
    "<diskMode>persistent</diskMode><split>false</split><writeThrough>false</writeThrough>"
    "<thinProvisioned>true</thinProvisioned>"
    "<uuid>6000C290-5cd2-1c5b-7d60-ff0eb2a2ac02</uuid><contentId>fffffffe</contentId>"
    "<changeId>52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81</changeId>"
    "<parent><fileName>[ds one] app &amp; co/app01.vmdk</fileName><diskMode>persistent</diskMode>"
    "<parent><fileName>x</fileName><diskMode>persistent</diskMode></parent></parent>"
    "<sharing>sharingNone</sharing></backing>"
    "<controllerKey>1000</controllerKey><unitNumber>0</unitNumber>"
    "<capacityInKB>10485760</capacityInKB><capacityInBytes>10737418240</capacityInBytes>"
    "<shares><shares>1000</shares><level>normal</level></shares>"
    "<diskObjectId>28-2000</diskObjectId></VirtualDevice>"
    "<VirtualDevice xsi:type=\"VirtualDisk\"><key>2001</key>"
    "<backing xsi:type=\"VirtualDiskRawDiskMappingVer1BackingInfo\"><fileName>[ds] "
    "r.vmdk</fileName>"
    "<lunUuid>02000000</lunUuid><deviceName>vml.0</deviceName>"
    "<compatibilityMode>physicalMode</compatibilityMode><diskMode>independent_persistent</diskMode>"
    "<uuid>6000C291-0000-0000-0000-000000000001</uuid><sharing>sharingMultiWriter</sharing>"
    "</backing><controllerKey>1000</controllerKey><unitNumber>1</unitNumber>"
    "<capacityInKB>2048</capacityInKB></VirtualDevice>"
    "<VirtualDevice xsi:type=\"VirtualDisk\"><key>2002</key>"
    "<backing xsi:type=\"VirtualDiskSeSparseBackingInfo\"><fileName>[ds] s.vmdk</fileName>"
    "<diskMode>persistent</diskMode><uuid>6000C291-0000-0000-0000-000000000002</uuid>"
    "<keyId><keyId>k</keyId></keyId></backing><controllerKey>1000</controllerKey>"
    "<unitNumber>2</unitNumber><capacityInKB>2048</capacityInKB></VirtualDevice>"
    "<VirtualDevice xsi:type=\"VirtualVmxnet3\"><key>4000</key><deviceInfo>"
    "<label>Network adapter 1</label><summary>DVSwitch: 50 1f</summary></deviceInfo>"
    "<backing xsi:type=\"VirtualEthernetCardDistributedVirtualPortBackingInfo\"><port>"
    "<switchUuid>50 1f</switchUuid><portgroupKey>dvportgroup-23</portgroupKey></port></backing>"
    "<macAddress>00:50:56:AB:cd:ef</macAddress></VirtualDevice>"
    "<VirtualDevice xsi:type=\"VirtualE1000\"><key>4001</key>"
    "<backing xsi:type=\"VirtualEthernetCardNetworkBackingInfo\"><deviceName>VM "
    "Network</deviceName>"
    "<network type=\"Network\">network-7</network></backing><addressType>generated</addressType>"
    "</VirtualDevice>"
    "<VirtualDevice xsi:type=\"VirtualTPM\"><key>11000</key></VirtualDevice>"
    "<VirtualDevice xsi:type=\"VirtualPCIPassthrough\"><key>13000</key></VirtualDevice>"
    "<VirtualDevice xsi:type=\"VirtualHologram\"><key>99</key><macAddress>x</macAddress>"
    "</VirtualDevice><VirtualDevice><key>98</key></VirtualDevice></val>";

static void test_vcenter(void **state)
{
    CLEANUP_DEVICES struct vsphere_devices devices = { 0 };
    const struct vsphere_disk *disk;

    (void)state;
    parse(vcenter, &devices);
    assert_int_equal(devices.disk_count, 3);
    disk = devices_disk(&devices, 2000);
    assert_string_equal(disk->label, "Hard disk 1");
    assert_string_equal(disk->file, "[ds one] app & co/app01-000001.vmdk");
    assert_string_equal(disk->datastore, "ds one");
    assert_string_equal(disk->uuid, "6000C290-5cd2-1c5b-7d60-ff0eb2a2ac02");
    assert_string_equal(disk->change_id, "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81");
    assert_string_equal(disk->mode, "persistent");
    assert_string_equal(disk->controller, "pvscsi");
    assert_string_equal(disk->address, "scsi0:0");
    assert_int_equal(disk->capacity, 10737418240);
    assert_int_equal(disk->backing, BACKING_FLAT);
    assert_int_equal(disk->parents, 2);
    assert_false(disk->multi_writer || disk->shared_bus || disk->encrypted ||
                 disk_is_outside_snapshots(disk));

    disk = devices_disk(&devices, 2001);
    assert_int_equal(disk->backing, BACKING_MAPPING);
    assert_true(disk->physical && disk->multi_writer && disk_is_independent(disk) &&
                disk_is_outside_snapshots(disk));
    assert_int_equal(disk->capacity, 2048 * 1024);
    disk = devices_disk(&devices, 2002);
    assert_int_equal(disk->backing, BACKING_SPARSE);
    assert_true(disk->encrypted);
    assert_null(devices_disk(&devices, 4000));

    assert_int_equal(devices.nic_count, 2);
    assert_string_equal(devices.nics[0].mac, "00:50:56:ab:cd:ef");
    assert_string_equal(devices.nics[0].portgroup, "dvportgroup-23");
    assert_string_equal(devices.nics[0].model, "vmxnet3");
    assert_string_equal(devices.nics[1].mac, "");
    assert_string_equal(devices.nics[1].network, "VM Network");
    assert_true(devices.tpm);
    assert_int_equal(devices.passthrough, 1);
}

/* Other prefixes, <device> elements of a whole config, two disks with the same unit
 * number on two controllers, keys that start anywhere, and in any order. */
static const char other[] =
    "<h:hardware xmlns:h=\"urn:vim25\" xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\" "
    "xmlns:v=\"urn:vim25\"><h:numCPU>2</h:numCPU>"
    "<h:device i:type=\"v:VirtualDisk\"><h:key>3105</h:key>"
    "<h:backing i:type=\"v:VirtualDiskFlatVer2BackingInfo\"><h:fileName>[a] 1</h:fileName>"
    "<h:diskMode>persistent</h:diskMode><h:uuid>u1</h:uuid></h:backing>"
    "<h:controllerKey>1001</h:controllerKey><h:unitNumber>0</h:unitNumber>"
    "<h:capacityInKB>1</h:capacityInKB><h:capacityInBytes>1024</h:capacityInBytes></h:device>"
    "<h:device i:type=\"v:VirtualDisk\"><h:key>3001</h:key>"
    "<h:backing i:type=\"v:VirtualDiskFlatVer2BackingInfo\"><h:fileName>[a] 0</h:fileName>"
    "<h:diskMode>persistent</h:diskMode><h:uuid>u0</h:uuid></h:backing>"
    "<h:controllerKey>1000</h:controllerKey><h:unitNumber>0</h:unitNumber>"
    "<h:capacityInKB>1</h:capacityInKB></h:device>"
    "<h:device i:type=\"v:VirtualLsiLogicSASController\"><h:key>1001</h:key>"
    "<h:busNumber>1</h:busNumber><h:sharedBus>virtualSharing</h:sharedBus></h:device>"
    "<h:device i:type=\"v:VirtualLsiLogicController\"><h:key>1000</h:key>"
    "<h:busNumber>0</h:busNumber></h:device></h:hardware>";

static void test_other_style(void **state)
{
    CLEANUP_DEVICES struct vsphere_devices devices = { 0 };
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_SPEC struct vm_spec spec = { .name = "app01" };

    (void)state;
    parse(other, &devices);
    assert_int_equal(devices.disk_count, 2);
    if (devices_to_spec(&devices, false, &spec, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_int_equal(spec.disks[0].key, 3001);
    assert_int_equal(spec.disks[0].unit, 0);
    assert_int_equal(spec.disks[0].capacity, 1024);
    assert_string_equal(spec.disks[0].inventory.controller, "lsilogic");
    assert_int_equal(spec.disks[1].key, 3105);
    assert_int_equal(spec.disks[1].unit, 100);
    assert_string_equal(spec.disks[1].inventory.address, "scsi1:0");
    assert_string_equal(spec.disks[1].inventory.controller, "lsisas");
    assert_true(devices_disk(&devices, 3105)->shared_bus);
    assert_false(devices_disk(&devices, 3001)->shared_bus);
}

static int unit_of(const char *xml, int key)
{
    CLEANUP_DEVICES struct vsphere_devices devices = { 0 };

    parse(xml, &devices);
    return devices_disk(&devices, key)->unit;
}

#define LIST(text) "<val " XSI ">" text "</val>"
#define SCSI1      CONTROLLER("VirtualLsiLogicController", "1001", "1")
#define ON_SCSI1   DISK("2016", "u", "1001", "1")

/* A disk's unit does not depend on what else the VM has. */
static void test_units_stay(void **state)
{
    (void)state;
    assert_int_equal(unit_of(LIST(SCSI1 ON_SCSI1), 2016), 101);
    assert_int_equal(unit_of(LIST(CONTROLLER("ParaVirtualSCSIController", "1000", "0")
                                      CONTROLLER("VirtualAHCIController", "15000", "0")
                                          DISK("16000", "v", "15000", "1") ON_SCSI1 SCSI1),
                             2016),
                     101);
    assert_int_equal(unit_of(LIST(CONTROLLER("VirtualAHCIController", "15000", "0")
                                      DISK("16000", "v", "15000", "1")),
                             16000),
                     1001);
    assert_int_equal(unit_of(LIST(CONTROLLER("VirtualNVMEController", "31000", "1")
                                      DISK("32000", "v", "31000", "0")),
                             32000),
                     2100);
    assert_int_equal(
        unit_of(LIST(CONTROLLER("VirtualIDEController", "201", "1") DISK("3002", "v", "201", "0")),
                3002),
        3100);
    /* no such controller, an absurd unit */
    assert_int_equal(unit_of(LIST(ON_SCSI1), 2016), 7016);
    assert_int_equal(unit_of(LIST(SCSI1 DISK("2016", "u", "1001", "100")), 2016), 7016);
}

/* A server that gives two controllers one bus number: their places tell nothing apart. */
static void test_same_bus(void **state)
{
    static const char xml[] = LIST(CONTROLLER("ParaVirtualSCSIController", "1000", "1")
                                       SCSI1 ON_SCSI1 DISK("2001", "v", "1000", "1")
                                           CONTROLLER("VirtualAHCIController", "15000", "1")
                                               DISK("16000", "w", "15000", "1"));

    (void)state;
    assert_int_equal(unit_of(xml, 2016), 7016);
    assert_int_equal(unit_of(xml, 2001), 7001);
    assert_int_equal(unit_of(xml, 16000), 1101);
}

/* Keys that have no place are as different as units. */
static void test_keys_as_units(void **state)
{
    static const char xml[] = LIST(DISK("2016", "u", "1001", "1") DISK("7016", "v", "1002", "1")
                                       DISK("12016", "w", "1003", "1"));

    (void)state;
    assert_int_equal(unit_of(xml, 2016), 7016);
    assert_int_equal(unit_of(xml, 7016), 12016);
    assert_int_equal(unit_of(xml, 12016), 17016);
    assert_int_equal(unit_of(LIST(DISK("2147478647", "u", "1", "1")), 2147478647), INT32_MAX);
}

/* Only a snapshot's change ids are moments of the data that is read. */
static void test_change_ids(void **state)
{
    CLEANUP_DEVICES struct vsphere_devices devices = { 0 };
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_SPEC struct vm_spec live = { 0 };
    CLEANUP_SPEC struct vm_spec frozen = { 0 };

    (void)state;
    parse(LIST(SCSI1 ON_SCSI1), &devices);
    assert_int_equal(devices_to_spec(&devices, false, &live, &err), 0);
    assert_int_equal(devices_to_spec(&devices, true, &frozen, &err), 0);
    assert_string_equal(live.disks[0].change_id, "");
    assert_string_equal(frozen.disks[0].change_id, "52 de/1");
}

static void test_nonsense(void **state)
{
    static const char *const refused[] = {
        LIST("<VirtualDevice xsi:type=\"VirtualDisk\"/>"),
        LIST("<VirtualDevice xsi:type=\"VirtualDisk\"><key>x</key></VirtualDevice>"),
        LIST("<VirtualDevice xsi:type=\"VirtualDisk\"><key>99999999999</key></VirtualDevice>"),
        LIST("<VirtualDevice xsi:type=\"VirtualDisk\"><key>2147478648</key></VirtualDevice>"),
    };
    CLEANUP_DEVICES struct vsphere_devices devices = { 0 };
    CLEANUP_DEVICES struct vsphere_devices none = { 0 };
    CLEANUP_DEVICES struct vsphere_devices twice = { 0 };
    CLEANUP_SPEC struct vm_spec spec = { .name = "app01" };
    CLEANUP_ERROR struct error *err = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        CLEANUP_ERROR struct error *why = NULL;
        CLEANUP_XML_DOC xmlDoc *doc = NULL;

        assert_int_equal(xml_parse(refused[i], strlen(refused[i]), &doc, &why), 0);
        if (devices_parse(xmlDocGetRootElement(doc), &devices, &why) == 0)
            fail_msg("taken: %s", refused[i]);
    }
    assert_int_equal(devices_parse(NULL, &none, &err), 0);
    assert_int_equal(none.disk_count, 0);

    /* A disk that says nothing of itself is there, with nothing. */
    parse(LIST("<VirtualDevice xsi:type=\"VirtualDisk\"><key>5</key><capacityInKB>-1"
               "</capacityInKB></VirtualDevice>"),
          &none);
    assert_int_equal(none.disk_count, 1);
    assert_int_equal(none.disks[0].capacity, 0);
    assert_string_equal(none.disks[0].uuid, "");

    parse(LIST(SCSI1 ON_SCSI1 ON_SCSI1), &twice);
    assert_int_equal(devices_to_spec(&twice, false, &spec, &err), -1);
    assert_non_null(strstr(error_message(err), "app01: disks[0] and disks[1] have the same key"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vcenter),       cmocka_unit_test(test_other_style),
        cmocka_unit_test(test_units_stay),    cmocka_unit_test(test_same_bus),
        cmocka_unit_test(test_keys_as_units), cmocka_unit_test(test_change_ids),
        cmocka_unit_test(test_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
