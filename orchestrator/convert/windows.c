/* See windows.h. */
#include "convert/windows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct windows_disk *windows_disk_of(const char *bus)
{
    static const struct windows_disk disks[] = {
        { "viostor",
          { "VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00",
            "VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01" } },
        { "vioscsi",
          { "VEN_1AF4&DEV_1004&SUBSYS_00081AF4&REV_00",
            "VEN_1AF4&DEV_1048&SUBSYS_11001AF4&REV_01" } },
    };

    return &disks[strcmp(bus, "scsi") == 0];
}

void windows_control_set(const struct hive *hive, char set[32])
{
    uint32_t number = 1;

    if (!hive_get_dword(hive, "Select", "Current", &number) || number > 999)
        number = 1;
    snprintf(set, 32, "ControlSet%03u", number);
}

#define CURRENT_VERSION "Microsoft\\Windows NT\\CurrentVersion"

/* What came out when, and what a driver for it is called; an older driver serves a newer system. */
static const struct release {
    unsigned build;
    bool server;
    const char *name;
} releases[] = {
    { 26100, true, "2k25" },  { 22000, false, "w11" }, { 20348, true, "2k22" },
    { 17763, true, "2k19" },  { 14393, true, "2k16" }, { 10240, false, "w10" },
    { 9600, true, "2k12R2" }, { 9600, false, "w8.1" }, { 9200, true, "2k12" },
    { 9200, false, "w8" },    { 7600, true, "2k8R2" }, { 7600, false, "w7" },
    { 6000, true, "2k8" },    { 3790, true, "2k3" },   { 2600, false, "xp" },
};

#define WINDOWS_8 9200

static unsigned build_of(const struct hive *software)
{
    CLEANUP_FREE char *build = hive_get_text(software, CURRENT_VERSION, "CurrentBuildNumber");

    return build ? (unsigned)strtoul(build, NULL, 10) : 0;
}

static bool is_server(const struct hive *software)
{
    CLEANUP_FREE char *type = hive_get_text(software, CURRENT_VERSION, "InstallationType");
    CLEANUP_FREE char *product = hive_get_text(software, CURRENT_VERSION, "ProductName");

    return (type && strncmp(type, "Server", 6) == 0) || (product && strstr(product, "Server"));
}

static const char *machine_of(const struct hive *system)
{
    char set[32], key[128];
    CLEANUP_FREE char *machine = NULL;

    windows_control_set(system, set);
    snprintf(key, sizeof key, "%s\\Control\\Session Manager\\Environment", set);
    machine = hive_get_text(system, key, "PROCESSOR_ARCHITECTURE");
    if (machine && strcmp(machine, "x86") == 0)
        return "x86";
    return machine && strcmp(machine, "ARM64") == 0 ? "ARM64" : "amd64";
}

void windows_version_of(const struct hive *system, const struct hive *software,
                        struct windows_version *version)
{
    CLEANUP_FREE char *product = hive_get_text(software, CURRENT_VERSION, "ProductName");
    unsigned build = build_of(software);
    bool server = is_server(software);
    size_t count = 0;

    *version = (struct windows_version){ .has_database = build >= WINDOWS_8,
                                         .machine = machine_of(system) };
    snprintf(version->text, sizeof version->text, "%s (build %u)", product ? product : "Windows",
             build);
    /* Its own kind first, then the other one's: they share drivers. */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < sizeof releases / sizeof releases[0]; i++) {
            if (releases[i].build <= build && (releases[i].server == server) == (pass == 0) &&
                (releases[i].build >= WINDOWS_8) == version->has_database &&
                count < WINDOWS_NAMES - 1)
                version->names[count++] = releases[i].name;
        }
    }
}

/* The service of a driver that is started by the boot loader. */
static int add_service(struct hive *system, const char *set, const struct windows_disk *disk,
                       struct error **err)
{
    char key[128], parameters[160], image[64];

    snprintf(key, sizeof key, "%s\\Services\\%s", set, disk->name);
    snprintf(image, sizeof image, "system32\\drivers\\%s.sys", disk->name);
    if (hive_set_dword(system, key, "Type", 1, err) < 0 ||  /* a kernel driver */
        hive_set_dword(system, key, "Start", 0, err) < 0 || /* at boot */
        hive_set_dword(system, key, "ErrorControl", 1, err) < 0 ||
        hive_set_dword(system, key, "Tag", 0x21, err) < 0 ||
        hive_set_text(system, key, "Group", hive_t_string, "SCSI miniport", err) < 0 ||
        hive_set_text(system, key, "ImagePath", hive_t_expand_string, image, err) < 0)
        return -1;
    snprintf(parameters, sizeof parameters, "%s\\Parameters", key);
    if (hive_set_dword(system, parameters, "BusType", strcmp(disk->name, "vioscsi") == 0 ? 10 : 1,
                       err) < 0)
        return -1;
    snprintf(parameters, sizeof parameters, "%s\\Parameters\\PnpInterface", key);
    return hive_set_dword(system, parameters, "5", 1, err); /* on PCI */
}

#define SCSI_CLASS "{4d36e97b-e325-11ce-bfc1-08002be10318}"

/* Up to Windows 7. */
static int bind_critical(struct hive *system, const char *set, const struct windows_disk *disk,
                         struct error **err)
{
    for (size_t i = 0; i < 2; i++) {
        char key[256];

        snprintf(key, sizeof key, "%s\\Control\\CriticalDeviceDatabase\\pci#%s", set,
                 disk->devices[i]);
        if (hive_set_text(system, key, "ClassGUID", hive_t_string, SCSI_CLASS, err) < 0 ||
            hive_set_text(system, key, "Service", hive_t_string, disk->name, err) < 0)
            return -1;
    }
    return 0;
}

/* What is said of each device in the driver's package. */
static int bind_device(struct hive *system, const char *package, const char *inf,
                       const char *device, struct error **err)
{
    static const unsigned char rank[] = { 0x01, 0xff, 0x00, 0x00 };
    char key[320];

    snprintf(key, sizeof key, "DriverDatabase\\DeviceIds\\PCI\\%s", device);
    if (hive_set_bytes(system, key, inf, rank, sizeof rank, err) < 0)
        return -1;
    snprintf(key, sizeof key, "%s\\Descriptors\\PCI\\%s", package, device);
    return hive_set_text(system, key, "Configuration", hive_t_string, "vmferry_inst", err) < 0 ||
                   hive_set_text(system, key, "Manufacturer", hive_t_string, "%vendor%", err) < 0 ||
                   hive_set_text(system, key, "Description", hive_t_string, "%device%", err) < 0
               ? -1
               : 0;
}

static int add_configuration(struct hive *system, const char *package,
                             const struct windows_disk *disk, struct error **err)
{
    char key[320], inner[400];

    snprintf(key, sizeof key, "%s\\Configurations\\vmferry_inst", package);
    snprintf(inner, sizeof inner, "%s\\Services\\%s\\Parameters\\PnpInterface", key, disk->name);
    if (hive_set_dword(system, key, "ConfigFlags", 0, err) < 0 ||
        hive_set_text(system, key, "Service", hive_t_string, disk->name, err) < 0 ||
        hive_set_dword(system, inner, "5", 1, err) < 0)
        return -1;
    snprintf(inner, sizeof inner, "%s\\Driver", key);
    if (hive_make(system, inner, err) < 0)
        return -1;
    snprintf(inner, sizeof inner, "%s\\Device", key);
    if (hive_make(system, inner, err) < 0)
        return -1;
    snprintf(inner, sizeof inner, "%s\\Strings", package);
    return hive_set_text(system, inner, "vendor", hive_t_string, "Red Hat, Inc.", err) < 0 ||
                   hive_set_text(system, inner, "device", hive_t_string,
                                 "Red Hat VirtIO SCSI controller", err) < 0
               ? -1
               : 0;
}

/* Windows 8 and later. */
static int bind_database(struct hive *system, const struct windows_disk *disk, const char *machine,
                         struct error **err)
{
    char inf[32], package[128], name[96], key[160];

    snprintf(inf, sizeof inf, "%s.inf", disk->name);
    snprintf(name, sizeof name, "%s_%s_c86329604db16f40", inf, machine);
    snprintf(package, sizeof package, "DriverDatabase\\DriverPackages\\%s", name);
    snprintf(key, sizeof key, "DriverDatabase\\DriverInfFiles\\%s", inf);
    if (hive_set_text(system, key, "", hive_t_multiple_strings, name, err) < 0 ||
        hive_set_text(system, key, "Active", hive_t_string, name, err) < 0 ||
        hive_set_text(system, key, "Configurations", hive_t_multiple_strings, "vmferry_inst", err) <
            0 ||
        hive_set_bytes(system, "DriverDatabase\\DeviceIds\\" SCSI_CLASS, inf, NULL, 0, err) < 0 ||
        hive_set_text(system, package, "", hive_t_string, inf, err) < 0 ||
        hive_set_text(system, package, "InfName", hive_t_string, inf, err) < 0 ||
        hive_set_text(system, package, "Provider", hive_t_string, "Red Hat, Inc.", err) < 0 ||
        hive_set_dword(system, package, "SignerScore", 0x80000000, err) < 0 ||
        add_configuration(system, package, disk, err) < 0)
        return -1;
    for (size_t i = 0; i < 2; i++) {
        if (bind_device(system, package, inf, disk->devices[i], err) < 0)
            return -1;
    }
    return 0;
}

int windows_add_disk(struct hive *system, const struct windows_disk *disk,
                     const struct windows_version *version, struct error **err)
{
    char set[32];

    windows_control_set(system, set);
    if (add_service(system, set, disk, err) < 0)
        return -1;
    return version->has_database ? bind_database(system, disk, version->machine, err)
                                 : bind_critical(system, set, disk, err);
}
