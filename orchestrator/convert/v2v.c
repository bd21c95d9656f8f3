/* The engine v2v: virt-v2v-in-place, in libguestfs' appliance. It changes the disks in place. */
#include <fcntl.h>
#include <json.h>
#include <libxml/tree.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "convert/work.h"
#include "process.h"

#define PROGRAM       "virt-v2v-in-place"
#define DEFAULT_TOOLS "/usr/share/virt-tools"
#define VARIABLE      (PATH_MAX + 32)

/* rhsrvany.exe runs what Windows is to do at its first boot; virt-v2v demands it. */
static bool find_tools(const struct convert_request *request, char directory[PATH_MAX])
{
    const char *environment = getenv("VIRT_TOOLS_DATA_DIR");
    const char *const places[] = { request->virt_tools, environment, DEFAULT_TOOLS,
                                   request->virtio_win };

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char path[PATH_MAX + 16];

        if (!places[i] || !*places[i])
            continue;
        snprintf(path, sizeof path, "%s/rhsrvany.exe", places[i]);
        if (access(path, R_OK) == 0) {
            snprintf(directory, PATH_MAX, "%s", places[i]);
            return true;
        }
    }
    return false;
}

static int check_windows(const struct work *work, struct error **err)
{
    const struct convert_request *request = work->request;
    char tools[PATH_MAX];

    if (strcmp(request->bus, "scsi") == 0)
        return error_set_kind(err, ERROR_USAGE,
                              "virt-v2v has no virtio-scsi for Windows: convert it with "
                              "--conversion=native, or put its disks on virtio");
    if (!*request->virtio_win)
        return error_set_kind(
            err, ERROR_USAGE,
            "Windows needs the virtio drivers (%s): get virtio-win.iso, and name it "
            "with --virtio-win or as virtio_win in [failover] of vmferry.conf",
            work->look->why);
    if (access(request->virtio_win, R_OK) < 0)
        return error_set_errno(err, errno, "the virtio drivers, virtio_win = %s",
                               request->virtio_win);
    if (!find_tools(request, tools))
        return error_set_kind(
            err, ERROR_USAGE,
            "virt-v2v needs rhsrvany.exe for Windows, and it is not in %s: put it "
            "there (it is in the package virt-tools of other distributions), name "
            "its directory as virt_tools in [failover] of vmferry.conf, or use "
            "--conversion=native",
            *request->virt_tools ? request->virt_tools : DEFAULT_TOOLS);
    return 0;
}

int engine_v2v_check(const struct work *work, struct error **err)
{
    CLEANUP_ERROR struct error *missing = NULL;
    const char *const argv[] = { PROGRAM, "--version", NULL };

    if (process_run(argv, 30000, NULL, &missing) < 0)
        return error_set_kind(err, ERROR_USAGE,
                              "%s must be converted (%s), and " PROGRAM " does not run: install "
                              "the package virt-v2v (%s)",
                              work->request->name, work->look->why, error_message(missing));
    return strcmp(work->look->os, "windows") == 0 ? check_windows(work, err) : 0;
}

static xmlNodePtr add(xmlNodePtr parent, const char *name, const char *content)
{
    return xmlNewTextChild(parent, NULL, BAD_CAST name, BAD_CAST content);
}

static void set(xmlNodePtr node, const char *name, const char *value)
{
    xmlNewProp(node, BAD_CAST name, BAD_CAST value);
}

/* sda … sdz, sdaa … */
static void disk_name(size_t index, char name[16])
{
    char letters[8];
    size_t n = 0;

    for (index++; index > 0; index = (index - 1) / 26)
        letters[n++] = (char)('a' + (index - 1) % 26);
    strcpy(name, "sd");
    for (size_t at = 2; n > 0; at++) {
        name[at] = letters[--n];
        name[at + 1] = '\0';
    }
}

static void add_disk(xmlNodePtr devices, const struct convert_disk *disk, size_t index)
{
    xmlNodePtr node = add(devices, "disk", NULL);
    xmlNodePtr driver, target;
    char name[16];

    disk_name(index, name);
    set(node, "type", "file");
    set(node, "device", "disk");
    driver = add(node, "driver", NULL);
    set(driver, "name", "qemu");
    set(driver, "type", disk->format);
    set(add(node, "source", NULL), "file", disk->path);
    target = add(node, "target", NULL);
    set(target, "dev", name);
    set(target, "bus", "sata");
}

/* The machine as virt-v2v wants to know it: the disks, and how they boot. */
static int write_xml(const struct work *work, const char *path, struct error **err)
{
    xmlDocPtr document = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr domain = xmlNewNode(NULL, BAD_CAST "domain");
    xmlNodePtr os, devices, memory;
    int written;

    xmlDocSetRootElement(document, domain);
    set(domain, "type", "kvm");
    add(domain, "name", *work->request->name ? work->request->name : "guest");
    memory = add(domain, "memory", "1024");
    set(memory, "unit", "MiB");
    add(domain, "vcpu", "1");
    os = add(domain, "os", NULL);
    if (work->request->uefi)
        set(os, "firmware", "efi");
    add(os, "type", "hvm");
    add(add(domain, "features", NULL), "acpi", NULL);
    devices = add(domain, "devices", NULL);
    for (size_t i = 0; i < work->request->disk_count; i++)
        add_disk(devices, &work->request->disks[i], i);
    written = xmlSaveFormatFile(path, document, 1);
    xmlFreeDoc(document);
    return written < 0 ? error_set_errno(err, errno, "%s", path) : 0;
}

/* One line of virt-v2v: JSON with a type and a message. The last error is kept. */
static void hear(const struct work *work, const char *line, char error[CONVERT_TEXT])
{
    json_object *json = json_tokener_parse(line);
    json_object *type, *message;

    if (json_object_is_type(json, json_type_object) &&
        json_object_object_get_ex(json, "type", &type) &&
        json_object_object_get_ex(json, "message", &message)) {
        const char *text = json_object_get_string(message);
        const char *kind = json_object_get_string(type);

        if (strcmp(kind, "error") == 0)
            snprintf(error, CONVERT_TEXT, "%.*s", (int)strcspn(text, "\n"), text);
        if (strcmp(kind, "message") == 0)
            work_say(work, "virt-v2v: %s", text);
        else
            work_log(work, text);
    } else if (*line) {
        work_log(work, line);
    }
    json_object_put(json);
}

static pid_t start(const struct work *work, const char *xml, int *from, struct error **err)
{
    const char *const argv[] = { PROGRAM,  "--machine-readable=stream:stdout",
                                 "-i",     "libvirtxml",
                                 "--root", "first",
                                 xml,      NULL };
    char tools[PATH_MAX] = DEFAULT_TOOLS;
    char temporary[VARIABLE], cache[VARIABLE], drivers[VARIABLE], data[VARIABLE];
    const char *const env[] = {
        "LIBGUESTFS_BACKEND=direct",
        strcmp(work->request->virt_type, "kvm") == 0 ? "LIBGUESTFS_BACKEND_SETTINGS="
                                                     : "LIBGUESTFS_BACKEND_SETTINGS=force_tcg",
        temporary,
        cache,
        drivers,
        data,
        NULL,
    };
    struct process_options options = PROCESS_OPTIONS_INIT;
    const char *given = getenv("LIBGUESTFS_CACHEDIR");
    int ends[2];
    pid_t pid;

    find_tools(work->request, tools);
    snprintf(temporary, sizeof temporary, "LIBGUESTFS_TMPDIR=%s", work->directory);
    snprintf(cache, sizeof cache, "LIBGUESTFS_CACHEDIR=%s", given && *given ? given : "/var/tmp");
    snprintf(drivers, sizeof drivers, "VIRTIO_WIN=%s", work->request->virtio_win);
    snprintf(data, sizeof data, "VIRT_TOOLS_DATA_DIR=%s", tools);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, errno, "pipe");
    options.env = env;
    options.stdout_fd = options.stderr_fd = ends[1];
    options.die_with_parent = true;
    pid = process_start(argv, &options, err);
    close(ends[1]);
    if (pid < 0)
        close(ends[0]);
    else
        *from = ends[0];
    return pid;
}

int engine_v2v(const struct work *work, struct error **err)
{
    CLEANUP_FCLOSE FILE *said = NULL;
    CLEANUP_FREE char *line = NULL;
    char xml[PATH_MAX + 16], error[CONVERT_TEXT] = "no reason was given";
    size_t size = 0;
    int from = -1, status;
    pid_t pid;

    snprintf(xml, sizeof xml, "%s/guest.xml", work->directory);
    if (write_xml(work, xml, err) < 0)
        return -1;
    pid = start(work, xml, &from, err);
    if (pid < 0)
        return -1;
    said = fdopen(from, "re");
    while (said && getline(&line, &size, said) >= 0) {
        line[strcspn(line, "\r\n")] = '\0';
        hear(work, line, error);
    }
    if (process_wait(pid, -1, &status, err) < 0)
        return -1;
    if (status != 0)
        return error_set(err, "virt-v2v could not convert %s (%s): %s%s%s", work->request->name,
                         work->look->why, error, *work->request->log ? "; all of it: " : "",
                         work->request->log);
    return 0;
}
