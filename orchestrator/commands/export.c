/* vmferry export: map files by hand, for nbdkit-exportmap-plugin; and the replicas' own map, which
 * export-map.c looks after. */
#include <stdio.h>
#include <string.h>

#include "commands/command.h"
#include "commands/export-map.h"
#include "commands/options.h"
#include "exportmap-file.h"
#include "log/log.h"

#define WITHDRAW_WAIT_MS 5000

static const char help[] =
    "usage: vmferry export list [VM] [--json]       the replicas' disks and how they are mapped\n"
    "       vmferry export show EXPORT [--json]     one of them\n"
    "       vmferry export check [VM] [--json]      what rows, map files and disks disagree in\n"
    "       vmferry export repair [VM] [--json]     mend what is safe\n"
    "       vmferry export put --map=DIR [OPTIONS] NAME DISK   add or replace an export\n"
    "       vmferry export remove --map=DIR NAME               withdraw it\n"
    "       vmferry export probe [--format=raw|qcow2] DISK…    print a map file for each\n"
    "\n"
    "  --map=DIR            the directory of map files\n"
    "  --format=raw|qcow2   what the disk is (default: raw)\n"
    "  --mode=ro|rw         default: ro\n"
    "  --lease=TOKEN        who may write; default: anyone where the mode is rw\n"
    "  --description=TEXT\n"
    "  --json               for programs\n"
    "  --state=DIR          state directory\n";

struct options {
    const char *dir;
    enum exportmap_format format;
    bool writable;
    const char *lease;
    const char *description;
    struct common_options common;
};

enum { OPT_MAP = 1, OPT_FORMAT, OPT_MODE, OPT_LEASE, OPT_DESCRIPTION };

static const struct option long_options[] = { { "map", required_argument, NULL, OPT_MAP },
                                              { "format", required_argument, NULL, OPT_FORMAT },
                                              { "mode", required_argument, NULL, OPT_MODE },
                                              { "lease", required_argument, NULL, OPT_LEASE },
                                              { "description", required_argument, NULL,
                                                OPT_DESCRIPTION },
                                              COMMON_OPTIONS };

static int parse_format(const char *text, enum exportmap_format *format, struct error **err)
{
    if (strcmp(text, "raw") == 0)
        *format = EXPORTMAP_RAW;
    else if (strcmp(text, "qcow2") == 0)
        *format = EXPORTMAP_QCOW2;
    else
        return error_set_kind(err, ERROR_USAGE, "--format: '%s' is not raw or qcow2", text);
    return 0;
}

static int parse_mode(const char *text, bool *writable, struct error **err)
{
    *writable = strcmp(text, "rw") == 0;
    if (!*writable && strcmp(text, "ro") != 0)
        return error_set_kind(err, ERROR_USAGE, "--mode: '%s' is not ro or rw", text);
    return 0;
}

static int parse_options(int argc, char *argv[], struct options *options, struct error **err)
{
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        int r = 0;

        switch (c) {
        case OPT_MAP:
            options->dir = optarg;
            break;
        case OPT_FORMAT:
            r = parse_format(optarg, &options->format, err);
            break;
        case OPT_MODE:
            r = parse_mode(optarg, &options->writable, err);
            break;
        case OPT_LEASE:
            options->lease = optarg;
            break;
        case OPT_DESCRIPTION:
            options->description = optarg;
            break;
        default:
            r = common_option(c, argv, &options->common, err);
        }
        if (r < 0)
            return -1;
    }
    return 0;
}

static int check_name(const char *name, struct error **err)
{
    const char *problem = exportmap_name_problem(name);

    return problem ? error_set_kind(err, ERROR_USAGE, "export name '%s' %s", name, problem) : 0;
}

static int check_lease(const char *lease, struct error **err)
{
    if (lease && !exportmap_lease_ok(lease))
        return error_set_kind(err, ERROR_USAGE,
                              "--lease: '%s' is not 1 to %zu characters of A-Z a-z 0-9 . _ -",
                              lease, EXPORTMAP_LEASE_MAX);
    return 0;
}

static int copy_text(const char *text, char **copy, struct error **err)
{
    *copy = text ? strdup(text) : NULL;
    return text && !*copy ? error_set_errno(err, ENOMEM, "reading options") : 0;
}

static int describe(const struct options *options, const char *disk, struct exportmap_file *map,
                    struct error **err)
{
    if (check_lease(options->lease, err) < 0 ||
        exportmap_file_probe(disk, options->format, map, err) < 0)
        return -1;
    map->writable = options->writable;
    if (copy_text(options->lease, &map->lease, err) < 0 ||
        copy_text(options->description, &map->description, err) < 0)
        return -1;
    return 0;
}

/* Before anything is written: no server would take a directory that others may write to. */
static int check_directory(const char *dir, struct error **err)
{
    struct stat st;

    if (stat(dir, &st) < 0)
        return error_set_errno(err, errno, "%s", dir);
    return exportmap_mode_check(&st, err) < 0 ? error_prefix(err, "%s", dir) : 0;
}

static int put(const struct options *options, const char *name, const char *disk,
               struct error **err)
{
    CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };

    if (check_name(name, err) < 0 || describe(options, disk, &map, err) < 0 ||
        check_directory(options->dir, err) < 0)
        return -1;
    if (exportmap_file_write(options->dir, name, &map, err) < 0)
        return -1;
    return options->common.json ? print_done("export", name, "mapped", err) : 0;
}

static int withdraw(const struct options *options, const char *name, struct error **err)
{
    if (check_name(name, err) < 0 || exportmap_file_remove(options->dir, name, err) < 0)
        return -1;
    if (exportmap_wait_unwritten(options->dir, name, WITHDRAW_WAIT_MS, err) < 0)
        return -1;
    return options->common.json ? print_done("export", name, "removed", err) : 0;
}

static int probe_one(const struct options *options, const char *disk, struct error **err)
{
    CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };
    CLEANUP_FREE char *text = NULL;

    if (describe(options, disk, &map, err) < 0)
        return -1;
    text = exportmap_file_format(&map);
    if (!text)
        return error_set_errno(err, ENOMEM, "%s", disk);
    fputs(text, stdout);
    return 0;
}

/* All of them, and one error for those that can't be looked at. */
static int probe(const struct options *options, char *disks[], int n, struct error **err)
{
    int failed = 0;

    for (int i = 0; i < n; i++) {
        CLEANUP_ERROR struct error *problem = NULL;

        if (probe_one(options, disks[i], n == 1 ? err : &problem) == 0)
            continue;
        if (n == 1 || problem->kind == ERROR_USAGE)
            return n == 1 ? -1 : error_move(err, &problem);
        log_problem(LEVEL_WARNING, "export", problem, "not looked at");
        failed++;
    }
    return failed ? error_set(err, "%d of %d disks can't be looked at", failed, n) : 0;
}

int command_export(int argc, char *argv[], struct error **err)
{
    struct options options = { .format = EXPORTMAP_RAW };
    int r = parse_options(argc, argv, &options, err);
    char **args = argv + optind;
    int n = argc - optind;

    if (r < 0)
        return -1;
    if (options.common.help)
        return print_help(help);
    if (n > 0 && export_map_knows(args[0]))
        return export_map_run(args[0], n - 1, args + 1, &options.common, err);
    if (n >= 2 && strcmp(args[0], "probe") == 0)
        return probe(&options, args + 1, n - 1, err);
    if (n > 0 && strcmp(args[0], "probe") != 0 && !options.dir)
        return error_set_kind(err, ERROR_USAGE, "--map=DIR is missing");
    if (n == 3 && strcmp(args[0], "put") == 0)
        return put(&options, args[1], args[2], err);
    if (n == 2 && strcmp(args[0], "remove") == 0)
        return withdraw(&options, args[1], err);
    return error_set_kind(err, ERROR_USAGE, "wrong arguments; see `vmferry export --help`");
}
