/* One VM; see vm.h. */
#include "source/vsphere/vm.h"

#include <ctype.h>
#include <string.h>

#include "source/vsphere/read.h"

/* As spec.c takes them back; more is no amount. */
#define CPUS_MAX       4096
#define MEMORY_MIB_MAX (UINT64_C(1) << 30)

static uint64_t at_most(uint64_t amount, uint64_t maximum)
{
    return amount > maximum ? 0 : amount;
}

void vm_uuid(const char *text, char to[SPEC_UUID])
{
    to[0] = '\0';
    for (size_t i = 0; i < SPEC_UUID - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i])) {
            to[0] = '\0';
            return;
        }
        to[i] = (char)tolower((unsigned char)text[i]);
    }
    to[SPEC_UUID - 1] = '\0';
    if (text[SPEC_UUID - 1])
        to[0] = '\0';
}

static void take_power(const xmlNode *val, struct spec_inventory *inventory)
{
    const char *power = xml_text_is(val, "", "poweredOn")    ? "on"
                        : xml_text_is(val, "", "poweredOff") ? "off"
                        : xml_text_is(val, "", "suspended")  ? "suspended"
                                                             : "";

    strcpy(inventory->power, power);
}

static void take_uuid(const xmlNode *val, struct vm_spec *spec)
{
    char text[64];

    read_text(val, "", text, sizeof text);
    vm_uuid(text, spec->uuid);
}

static void take_moref(const xmlNode *val, struct moref *moref)
{
    if (moref_read(val, moref) < 0)
        *moref = (struct moref){ 0 };
}

/* Properties of the VM's place and state. */
static bool take_state(struct vsphere_vm *vm, const char *name, const xmlNode *val)
{
    struct spec_inventory *inventory = &vm->spec.inventory;

    if (strcmp(name, "name") == 0)
        read_text(val, "", vm->spec.name, sizeof vm->spec.name);
    else if (strcmp(name, "parent") == 0 || strcmp(name, "parentVApp") == 0)
        take_moref(val, &vm->parent);
    else if (strcmp(name, "runtime.connectionState") == 0)
        read_text(val, "", vm->connection, sizeof vm->connection);
    else if (strcmp(name, "runtime.powerState") == 0)
        take_power(val, inventory);
    else if (strcmp(name, "runtime.host") == 0)
        take_moref(val, &vm->host);
    else if (strcmp(name, "summary.storage") == 0)
        inventory->used = read_amount(val, "committed");
    else if (strcmp(name, "guest.toolsRunningStatus") == 0)
        read_text(val, "", vm->tools_running, sizeof vm->tools_running);
    else if (strcmp(name, "guest.toolsVersionStatus") == 0)
        read_text(val, "", vm->tools_version, sizeof vm->tools_version);
    else
        return false;
    return true;
}

/* Ids of guest systems: "windows2019srvNext_64Guest", "winNetStandardGuest"; the others
 * that need no list are those that never were on VMware's own hardware. */
static void take_guest_id(const xmlNode *val, struct vm_spec *spec)
{
    static const char *const others[] = { "dos",         "os2",      "freebsd",      "darwin",
                                          "solaris",     "netware",  "openServer",   "unixWare",
                                          "eComStation", "vmkernel", "vmwarePhoton", "other" };
    char id[64];

    read_text(val, "", id, sizeof id);
    if (!id[0])
        return;
    strcpy(spec->os, strncmp(id, "win", 3) == 0 ? "windows" : "linux");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strncmp(id, others[i], strlen(others[i])) == 0)
            strcpy(spec->os, strstr(id, "Linux") ? "linux" : "other");
    }
}

static void take_boot_options(struct vsphere_vm *vm, const xmlNode *val)
{
    size_t count = 0;

    vm->spec.secure_boot = xml_bool(val, "efiSecureBootEnabled");
    for (const xmlNode *node = xml_child(val, "bootOrder");
         node && count + 1 < sizeof vm->boot / sizeof vm->boot[0]; node = xml_next(node)) {
        int key = read_int(node, "deviceKey", 0);
        char type[64];

        xml_type(node, type, sizeof type);
        if (key > 0 && strcmp(type, "VirtualMachineBootOptionsBootableDiskDevice") == 0)
            vm->boot[count++] = key;
    }
}

int vm_take(struct vsphere_vm *vm, const char *name, const xmlNode *val, struct error **err)
{
    struct spec_inventory *inventory = &vm->spec.inventory;

    if (take_state(vm, name, val))
        return 0;
    if (strcmp(name, "config.hardware.device") == 0)
        return devices_parse(val, &vm->devices, err);
    if (strcmp(name, "config.template") == 0)
        vm->is_template = xml_bool(val, "");
    else if (strcmp(name, "config.instanceUuid") == 0)
        take_uuid(val, &vm->spec);
    else if (strcmp(name, "config.changeTrackingEnabled") == 0)
        strcpy(inventory->tracking, xml_bool(val, "") ? "on" : "off");
    else if (strcmp(name, "config.version") == 0)
        read_text(val, "", inventory->hardware, sizeof inventory->hardware);
    else if (strcmp(name, "config.guestFullName") == 0)
        read_text(val, "", inventory->guest, sizeof inventory->guest);
    else if (strcmp(name, "config.firmware") == 0)
        vm->spec.uefi = xml_text_is(val, "", "efi");
    else if (strcmp(name, "config.hardware.numCPU") == 0)
        vm->spec.cpus = (unsigned)at_most(read_amount(val, ""), CPUS_MAX);
    else if (strcmp(name, "config.hardware.numCoresPerSocket") == 0)
        vm->spec.cores = (unsigned)at_most(read_amount(val, ""), CPUS_MAX);
    else if (strcmp(name, "config.guestId") == 0)
        take_guest_id(val, &vm->spec);
    else if (strcmp(name, "config.bootOptions") == 0)
        take_boot_options(vm, val);
    else if (strcmp(name, "config.hardware.memoryMB") == 0)
        vm->spec.memory = at_most(read_amount(val, ""), MEMORY_MIB_MAX) << 20;
    return 0;
}

static const char *tools_word(const struct vsphere_vm *vm)
{
    if (strcmp(vm->tools_version, "guestToolsNotInstalled") == 0)
        return "not installed";
    if (strcmp(vm->tools_running, "guestToolsNotRunning") == 0)
        return "not running";
    return vm->tools_running[0] ? "running" : "";
}

static void order_boot(struct vsphere_vm *vm)
{
    int place = 0;

    for (size_t i = 0; vm->boot[i]; i++) {
        for (size_t j = 0; j < vm->spec.disk_count; j++) {
            if (vm->spec.disks[j].key == vm->boot[i] && !vm->spec.disks[j].boot)
                vm->spec.disks[j].boot = ++place;
        }
    }
}

int vm_finish(struct vsphere_vm *vm, struct error **err)
{
    struct vm_spec *spec = &vm->spec;

    spec->secure_boot = spec->secure_boot && spec->uefi;
    spec->tpm = vm->devices.tpm;
    if (spec->cores && spec->cpus % spec->cores)
        spec->cores = 0; /* of a source that makes no sense */
    snprintf(vm->spec.inventory.id, sizeof vm->spec.inventory.id, "%s", vm->ref.id);
    strcpy(vm->spec.inventory.tools, tools_word(vm));
    if (devices_to_spec(&vm->devices, false, spec, err) < 0)
        return error_prefix(err, "VM %s (%s)", spec->name, vm->ref.id);
    order_boot(vm);
    return 0;
}

void vm_free(struct vsphere_vm *vm)
{
    devices_free(&vm->devices);
    spec_free(&vm->spec);
    *vm = (struct vsphere_vm){ 0 };
}
