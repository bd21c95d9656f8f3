/* vmferry virtio-inject: give a guest's disks what they need to boot from virtio. Arguments in,
 * a result out; the work is convert/'s. The images change only when all went well. */
#include <fcntl.h>
#include <getopt.h>
#include <json.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "commands/watch.h"
#include "convert/convert.h"
#include "failover/virt.h"
#include "log/log.h"
#include "process.h"
#include "size.h"

#define QEMU_IMG_MS 3600000

static const char help[] =
    "usage: vmferry virtio-inject [OPTIONS] DISK...\n"
    "\n"
    "Converts the guest on these disks (qcow2 or raw images, in its order), when it\n"
    "needs that, so that it boots from virtio disks. They change when all went well.\n"
    "\n"
    "  --check              say whether it is needed, and write nothing; exit status 1\n"
    "                       when it is\n"
    "  --conversion=auto|v2v|native\n"
    "                       the engine (default auto: v2v); native mounts the guest's\n"
    "                       file systems on this host\n"
    "  --format=qcow2|raw   of the images (default: by the name, .qcow2, .raw or .img)\n"
    "  --disk-bus=virtio|scsi\n"
    "                       what the disks will be on (default virtio: virtio-blk)\n"
    "  --firmware=bios|uefi of the guest (default bios)\n"
    "  --virtio-win=PATH    Windows' virtio drivers, directory or ISO\n"
    "  --virt-type=auto|kvm|qemu\n"
    "                       what virt-v2v's appliance runs under\n"
    "  --engine-log=FILE    all that the engine says, appended\n"
    "  --timeout=SECONDS    (default 3600)\n"
    "  --json               for programs\n";

struct arguments {
    struct common_options common;
    const char *conversion, *format, *bus, *firmware, *virtio_win, *virt_type, *log, *timeout;
    bool check;
};

/* The overlays that are written until all went well. */
struct session {
    struct convert_disk *images;   /* as given */
    struct convert_disk *overlays; /* format "": not made yet */
    size_t count;
    char directory[PATH_MAX]; /* of the first image */
};

static void free_session(struct session *session)
{
    for (size_t i = 0; session->overlays && i < session->count; i++) {
        if (session->overlays[i].format[0])
            unlink(session->overlays[i].path);
    }
    free(session->images);
    free(session->overlays);
}

static int take_option(struct arguments *arguments, int c, char *argv[], struct error **err)
{
    const struct {
        int c;
        const char **value;
    } texts[] = { { 'c', &arguments->conversion }, { 'f', &arguments->format },
                  { 'b', &arguments->bus },        { 'w', &arguments->firmware },
                  { 'd', &arguments->virtio_win }, { 'v', &arguments->virt_type },
                  { 'l', &arguments->log },        { 't', &arguments->timeout } };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].c == c) {
            *texts[i].value = optarg;
            return 0;
        }
    }
    if (c == 'n') {
        arguments->check = true;
        return 0;
    }
    return common_option(c, argv, &arguments->common, err);
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "check", no_argument, NULL, 'n' },
                                             { "conversion", required_argument, NULL, 'c' },
                                             { "format", required_argument, NULL, 'f' },
                                             { "disk-bus", required_argument, NULL, 'b' },
                                             { "firmware", required_argument, NULL, 'w' },
                                             { "virtio-win", required_argument, NULL, 'd' },
                                             { "virt-type", required_argument, NULL, 'v' },
                                             { "engine-log", required_argument, NULL, 'l' },
                                             { "timeout", required_argument, NULL, 't' },
                                             { "json", no_argument, NULL, OPTION_JSON },
                                             { "help", no_argument, NULL, OPTION_HELP },
                                             { NULL, 0, NULL, 0 } };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (take_option(arguments, c, argv, err) < 0)
            return -1;
    }
    return check_word("conversion", arguments->conversion, "auto|v2v|native", err) < 0 ||
                   check_word("disk-bus", arguments->bus, "virtio|scsi", err) < 0 ||
                   check_word("firmware", arguments->firmware, "bios|uefi", err) < 0 ||
                   (arguments->format &&
                    check_word("format", arguments->format, "qcow2|raw", err) < 0)
               ? -1
               : 0;
}

/* Never by what is in the image: that is the guest's, which could name any file of this host as
 * its backing file. */
static int find_format(const char *path, const char *given, char format[8], struct error **err)
{
    const char *dot = strrchr(path, '.');

    if (given)
        strcpy(format, given);
    else if (dot && strcmp(dot, ".qcow2") == 0)
        strcpy(format, "qcow2");
    else if (dot && (strcmp(dot, ".raw") == 0 || strcmp(dot, ".img") == 0))
        strcpy(format, "raw");
    else
        return error_set_kind(err, ERROR_USAGE, "%s: say its format with --format", path);
    return 0;
}

/* What qemu would refuse later in words of its own, and what would be written twice. */
static int check_image(const struct session *session, size_t n, struct error **err)
{
    const struct convert_disk *image = &session->images[n];
    CLEANUP_CLOSE int fd = open(image->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char magic[4] = "";
    struct stat st, other;

    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "%s", image->path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set_kind(err, ERROR_USAGE, "%s: no image, and no block device", image->path);
    if (strcmp(image->format, "qcow2") == 0 &&
        (pread(fd, magic, sizeof magic, 0) != sizeof magic || memcmp(magic, "QFI\xfb", 4) != 0))
        return error_set_kind(err, ERROR_USAGE, "%s: no qcow2 image; --format says what it is",
                              image->path);
    for (size_t i = 0; i < n; i++) {
        if (stat(session->images[i].path, &other) == 0 && other.st_dev == st.st_dev &&
            other.st_ino == st.st_ino)
            return error_set_kind(err, ERROR_USAGE, "%s: the same disk twice", image->path);
    }
    return 0;
}

static int open_session(char *paths[], size_t count, const struct arguments *arguments,
                        struct session *session, struct error **err)
{
    session->count = count;
    session->images = calloc(count, sizeof *session->images);
    session->overlays = calloc(count, sizeof *session->overlays);
    if (!session->images || !session->overlays)
        return error_set_errno(err, ENOMEM, "virtio-inject");
    for (size_t i = 0; i < count; i++) {
        if (!realpath(paths[i], session->images[i].path))
            return error_set_errno(err, errno, "%s", paths[i]);
        if (find_format(paths[i], arguments->format, session->images[i].format, err) < 0 ||
            check_image(session, i, err) < 0)
            return -1;
    }
    strcpy(session->directory, session->images[0].path);
    *strrchr(session->directory, '/') = '\0';
    return 0;
}

static int make_overlay(const struct convert_disk *image, struct convert_disk *overlay,
                        struct error **err)
{
    const char *const argv[] = { "qemu-img",    "create", "-q",        "-f",          "qcow2", "-F",
                                 image->format, "-b",     image->path, overlay->path, NULL };
    int fd;

    if (snprintf(overlay->path, PATH_MAX, "%s.vmferry-XXXXXX", image->path) >= PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "%s", image->path);
    fd = mkstemp(overlay->path);
    if (fd < 0)
        return error_set_errno(err, errno, "%s", overlay->path);
    close(fd);
    strcpy(overlay->format, "qcow2");
    return process_run(argv, QEMU_IMG_MS, NULL, err);
}

static int commit(const struct session *session, struct error **err)
{
    for (size_t i = 0; i < session->count; i++) {
        const char *const argv[] = {
            "qemu-img", "commit", "-q", "-f", "qcow2", "-d", session->overlays[i].path, NULL
        };

        if (process_run(argv, QEMU_IMG_MS, NULL, err) < 0)
            return error_prefix(err, "writing to %s", session->images[i].path);
    }
    return 0;
}

static void say(void *opaque, const char *line)
{
    (void)opaque;
    log_notice("virtio-inject", "%s", line);
}

static int run(struct session *session, const struct convert_request *request, bool check,
               struct convert_result *result, struct error **err)
{
    struct convert_request writing = *request;

    if (convert_run(request, result, err) < 0 || !result->needed || check)
        return *err ? -1 : 0;
    log_notice("virtio-inject", "%s: converting", result->why);
    for (size_t i = 0; i < session->count; i++) {
        if (make_overlay(&session->images[i], &session->overlays[i], err) < 0)
            return -1;
    }
    writing.disks = session->overlays;
    writing.only_look = false;
    return convert_run(&writing, result, err) < 0 ? -1 : commit(session, err);
}

static int print_result(const struct convert_result *result, struct error **err)
{
    json_object *json = json_object_new_object();
    char seconds[32];

    snprintf(seconds, sizeof seconds, "%.1f", result->seconds);
    json_object_object_add(json, "needed", json_object_new_boolean(result->needed));
    json_object_object_add(json, "why", json_object_new_string(result->why));
    json_object_object_add(json, "os", *result->os ? json_object_new_string(result->os) : NULL);
    json_object_object_add(json, "engine", json_object_new_string(result->engine));
    json_object_object_add(json, "seconds", json_object_new_double_s(result->seconds, seconds));
    return print_json(json, err);
}

static int report(const struct convert_result *result, const struct arguments *arguments,
                  struct error **err)
{
    if (arguments->common.json && print_result(result, err) < 0)
        return -1;
    if (!arguments->common.json && !result->needed)
        printf("nothing to do: %s\n", result->why);
    else if (!arguments->common.json && !arguments->check)
        printf("converted by %s in %.1f s: %s\n", result->engine, result->seconds, result->why);
    return result->needed && arguments->check
               ? error_set(err, "a conversion is needed: %s", result->why)
               : 0;
}

static int make_request(const struct arguments *arguments, const struct config *config,
                        const struct session *session, struct convert_request *request,
                        struct error **err)
{
    const char *environment = getenv("VMFERRY_VIRT_TYPE");
    const char *wanted = arguments->virt_type          ? arguments->virt_type
                         : environment && *environment ? environment
                                                       : config->virt_type;
    uint64_t timeout = CONVERT_TIMEOUT_S;

    if (arguments->timeout &&
        (size_parse(arguments->timeout, &timeout) || !timeout || timeout > 86400 * 7))
        return error_set_kind(err, ERROR_USAGE, "--timeout '%s' is no number of seconds",
                              arguments->timeout);
    *request = (struct convert_request){
        .disks = session->images,
        .disk_count = session->count,
        .name = strrchr(session->images[0].path, '/') + 1,
        .engine = arguments->conversion,
        .bus = arguments->bus,
        .uefi = strcmp(arguments->firmware, "uefi") == 0,
        .virtio_win = arguments->virtio_win ? arguments->virtio_win : config->virtio_win,
        .virt_tools = config->virt_tools,
        .directory = session->directory,
        .log = arguments->log,
        .only_look = true,
        .timeout_s = (unsigned)timeout,
        .cancel = cancel_on_signals(),
        .say = say,
    };
    return virt_choose(wanted, &request->virt_type, err);
}

/* How convert_run() starts its worker, which tells its parent alone what went wrong. */
static void __attribute__((noreturn)) be_worker(void)
{
    CLEANUP_ERROR struct error *told = NULL;

    exit(convert_worker(stdin, stdout, &told) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

int command_virtio_inject(int argc, char *argv[], struct error **err)
{
    CLEANUP(free_session) struct session session = { 0 };
    struct arguments arguments = { .conversion = "auto", .bus = "virtio", .firmware = "bios" };
    struct convert_request request;
    struct convert_result result;
    struct config config;

    if (argc == 2 && strcmp(argv[1], "inside") == 0)
        be_worker();
    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    if (optind == argc)
        return error_set_kind(err, ERROR_USAGE,
                              "say which disks; `vmferry virtio-inject --help` says more");
    if (config_load(NULL, &config, err) < 0 ||
        open_session(argv + optind, (size_t)(argc - optind), &arguments, &session, err) < 0 ||
        make_request(&arguments, &config, &session, &request, err) < 0 ||
        run(&session, &request, arguments.check, &result, err) < 0)
        return -1;
    return report(&result, &arguments, err);
}
