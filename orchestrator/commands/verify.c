/* vmferry verify: read a restore point again and compare it with its digest, and with
 * the source if asked. */
#include <inttypes.h>
#include <json.h>
#include <string.h>

#include "bar.h"
#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "commands/watch.h"
#include "job/check.h"
#include "job/connect.h"
#include "table.h"

static const char help[] = "usage: vmferry verify VM [--point=N] [--source]\n"
                           "\n"
                           "  --point=N     this restore point, not the newest\n"
                           "  --source      compare the source's disks with it, too\n"
                           "  --progress=auto|json|none\n"
                           "  --json        for programs\n"
                           "  --state=DIR   state directory\n";

struct arguments {
    struct common_options common;
    uint64_t point;
    bool source;
    enum bar_style style;
};

/* All that one run reads and finds. */
struct verification {
    struct context context;
    struct store_vm vm;
    struct replica_point point;
    struct vm_spec spec; /* only with --source */
    struct check_disk *replica;
    struct check_disk *source; /* NULL without --source */
    bool passed;
};

static void verification_free(struct verification *v)
{
    free(v->replica);
    free(v->source);
    spec_free(&v->spec);
    replica_point_free(&v->point);
    context_close(&v->context);
}

static int parse_option(int c, char *argv[], struct arguments *arguments, struct error **err)
{
    switch (c) {
    case 'n':
        if (parse_size(optarg, &arguments->point, err) < 0)
            return error_prefix(err, "--point");
        if (arguments->point < 1 || arguments->point > UINT32_MAX)
            return error_set_kind(err, ERROR_USAGE, "--point=%s: points count from 1", optarg);
        return 0;
    case 's':
        arguments->source = true;
        return 0;
    case 'p':
        return parse_bar_style(optarg, &arguments->style, err);
    default:
        return common_option(c, argv, &arguments->common, err);
    }
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "point", required_argument, NULL, 'n' },
                                             { "source", no_argument, NULL, 's' },
                                             { "progress", required_argument, NULL, 'p' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (parse_option(c, argv, arguments, err) < 0)
            return -1;
    }
    return 0;
}

static int ask_source(struct verification *v, struct error **err)
{
    CLEANUP_CONNECTION struct connection from = { 0 };

    if (connection_open(v->context.store, v->vm.source_id, v->context.state_dir, &from, err) < 0)
        return -1;
    if (from.source->kind->serve)
        return error_set_kind(err, ERROR_USAGE,
                              "source '%s' offers a disk only while a job holds its snapshot: "
                              "`vmferry replicate %s --full` compares every block",
                              from.row.name, v->vm.name);
    return from.source->kind->find(from.source, v->vm.uuid, &v->spec, err);
}

static int check(struct verification *v, size_t i, bool source, struct bar *bar, unsigned row,
                 struct error **err)
{
    const struct replica_disk *disk = &v->point.disks[i];
    const struct spec_disk *offered = source ? spec_disk_by_key(&v->spec, disk->key) : NULL;
    struct watch watch;
    struct copy_options options = { .progress = watch_progress,
                                    .opaque = &watch,
                                    .cancel = cancel_on_signals() };
    char label[STORE_NAME + 64];
    int r;

    if (source && (!offered || offered->capacity != disk->capacity))
        return error_set(err, "disk-%d: the source does not offer this disk in this size any more",
                         disk->key);
    snprintf(label, sizeof label, "%s disk-%d %s", v->vm.name, disk->key,
             source ? "source" : "replica");
    watch_init(&watch, bar, row, label, "");
    r = source ? check_source(v->context.state_dir, disk, offered, &options, &v->source[i], err)
               : check_replica(v->context.state_dir, disk, &options, &v->replica[i], err);
    watch_finish(&watch, r < 0 ? PROGRESS_FAILED : PROGRESS_COMPLETED);
    if (r == 0 && !check_passed(source ? &v->source[i] : &v->replica[i]))
        v->passed = false;
    return r;
}

static int check_all(struct verification *v, enum bar_style style, struct error **err)
{
    CLEANUP_BAR struct bar *bar = bar_open(stderr, style);
    unsigned row = 0;

    v->passed = true;
    for (size_t i = 0; i < v->point.count; i++) {
        if (check(v, i, false, bar, row++, err) < 0)
            return -1;
    }
    for (size_t i = 0; v->source && i < v->point.count; i++) {
        if (check(v, i, true, bar, row++, err) < 0)
            return -1;
    }
    return 0;
}

static const char *verdict(const struct check_disk *disk)
{
    if (check_passed(disk))
        return "ok";
    return strcmp(disk->found, disk->recorded) != 0 ? "DIFFERS" : "LEAVES DAMAGED";
}

static void add_row(struct table *table, const struct check_disk *disk, const char *what)
{
    table_cell(table, "disk-%d", disk->key);
    table_cell(table, "%s", what);
    table_cell(table, "%s", verdict(disk));
    table_cell(table, "%s", disk->recorded);
    table_cell(table, "%s", disk->found);
}

static void print_ranges(const struct check_disk *disk, const char *what)
{
    if (check_passed(disk))
        return;
    if (strcmp(disk->found, disk->recorded) == 0) {
        printf("disk-%d: %s is as recorded, but the leaves file beside it is damaged; the next "
               "restore point gets a new one\n",
               disk->key, what);
        return;
    }
    if (disk->leaves_damaged)
        printf("disk-%d: the leaves file beside the image is damaged: what follows is a guess\n",
               disk->key);
    printf("disk-%d: %s: %" PRIu64 " bytes in %zu range%s differ, in blocks of 64 KiB:\n",
           disk->key, what, disk->bytes_differing, disk->range_count,
           disk->range_count == 1 ? "" : "s");
    for (size_t i = 0; i < disk->range_count && i < CHECK_RANGES_MAX; i++)
        printf("  offset %" PRIu64 " length %" PRIu64 "\n", disk->ranges[i].offset,
               disk->ranges[i].length);
    if (disk->range_count > CHECK_RANGES_MAX)
        printf("  and %zu more\n", disk->range_count - CHECK_RANGES_MAX);
}

static void print_source_note(const struct replica_disk *disk, const struct check_disk *source)
{
    if (!source->same_moment)
        printf("disk-%d: the source has moved on: it offers %s, the point holds %s\n", disk->key,
               source->source_change_id[0] ? source->source_change_id : "no change id",
               disk->change_id[0] ? disk->change_id : "none");
}

static void print_text(const struct verification *v)
{
    CLEANUP_TABLE struct table table = TABLE("DISK", "READ", "VERDICT", "RECORDED", "FOUND");

    for (size_t i = 0; i < v->point.count; i++) {
        add_row(&table, &v->replica[i], "replica");
        if (v->source)
            add_row(&table, &v->source[i], "source");
    }
    table_print(&table, stdout);
    for (size_t i = 0; i < v->point.count; i++) {
        print_ranges(&v->replica[i], "the replica");
        if (v->source) {
            print_source_note(&v->point.disks[i], &v->source[i]);
            print_ranges(&v->source[i], "the source");
        }
    }
    if (v->passed)
        printf("%s: restore point %u is as it was made%s\n", v->vm.name, v->point.number,
               v->source ? ", and the source holds the same" : "");
}

static json_object *check_to_json(const struct check_disk *disk)
{
    json_object *object = json_object_new_object();
    json_object *ranges = json_object_new_array();

    json_object_object_add(object, "ok", json_object_new_boolean(check_passed(disk)));
    json_object_object_add(object, "recorded", json_object_new_string(disk->recorded));
    json_object_object_add(object, "found", json_object_new_string(disk->found));
    json_object_object_add(object, "leaves_damaged", json_object_new_boolean(disk->leaves_damaged));
    json_object_object_add(object, "bytes_differing",
                           json_object_new_uint64(disk->bytes_differing));
    json_object_object_add(object, "range_count", json_object_new_uint64(disk->range_count));
    for (size_t i = 0; i < disk->range_count && i < CHECK_RANGES_MAX; i++) {
        json_object *range = json_object_new_object();

        json_object_object_add(range, "offset", json_object_new_uint64(disk->ranges[i].offset));
        json_object_object_add(range, "length", json_object_new_uint64(disk->ranges[i].length));
        json_object_array_add(ranges, range);
    }
    json_object_object_add(object, "ranges", ranges);
    return object;
}

static int print_as_json(const struct verification *v, struct error **err)
{
    json_object *object = json_object_new_object();
    json_object *disks = json_object_new_array();

    json_object_object_add(object, "vm", json_object_new_string(v->vm.name));
    json_object_object_add(object, "point", json_object_new_int64(v->point.number));
    json_object_object_add(object, "ok", json_object_new_boolean(v->passed));
    for (size_t i = 0; i < v->point.count; i++) {
        json_object *disk = json_object_new_object();
        char id[32];

        snprintf(id, sizeof id, "disk-%d", v->point.disks[i].key);
        json_object_object_add(disk, "disk_id", json_object_new_string(id));
        json_object_object_add(disk, "change_id",
                               json_object_new_string(v->point.disks[i].change_id));
        json_object_object_add(disk, "replica", check_to_json(&v->replica[i]));
        if (v->source) {
            json_object *source = check_to_json(&v->source[i]);

            json_object_object_add(source, "same_moment",
                                   json_object_new_boolean(v->source[i].same_moment));
            json_object_object_add(source, "change_id",
                                   json_object_new_string(v->source[i].source_change_id));
            json_object_object_add(disk, "source", source);
        }
        json_object_array_add(disks, disk);
    }
    json_object_object_add(object, "disks", disks);
    return print_json(object, err);
}

static int load(struct verification *v, const struct arguments *arguments, const char *name,
                struct error **err)
{
    if (context_open(arguments->common.state, &v->context, err) < 0 ||
        store_vm_find(v->context.store, name, &v->vm, err) < 0 ||
        replica_point_load(v->context.store, v->context.state_dir, v->vm.id,
                           (unsigned)arguments->point, &v->point, err) < 0)
        return -1;
    if (arguments->source && ask_source(v, err) < 0)
        return -1;
    v->replica = calloc(v->point.count, sizeof *v->replica);
    v->source = arguments->source ? calloc(v->point.count, sizeof *v->source) : NULL;
    if (!v->replica || (arguments->source && !v->source))
        return error_set_errno(err, ENOMEM, "verifying");
    return 0;
}

int command_verify(int argc, char *argv[], struct error **err)
{
    CLEANUP(verification_free) struct verification v = { 0 };
    struct arguments arguments = { 0 };

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    if (expect_arguments(argc, 1, "vmferry verify VM [--point=N] [--source]", err) < 0 ||
        load(&v, &arguments, argv[optind], err) < 0 || check_all(&v, arguments.style, err) < 0)
        return -1;
    if (!arguments.common.json)
        print_text(&v);
    else if (print_as_json(&v, err) < 0)
        return -1;
    if (!v.passed)
        return error_set(err, "'%s', restore point %u: verification failed", v.vm.name,
                         v.point.number);
    return 0;
}
