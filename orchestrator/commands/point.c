/* vmferry point: the restore points of a VM. */
#include <json.h>
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/human.h"
#include "commands/options.h"
#include "replica/point.h"
#include "table.h"

static const char help[] = "usage: vmferry point list VM [--json]\n"
                           "\n"
                           "  --json        for programs\n"
                           "  --state=DIR   state directory\n";

static json_object *disk_to_json(const struct store_point_disk *disk)
{
    json_object *object = json_object_new_object();
    char id[32];

    snprintf(id, sizeof id, "disk-%d", disk->key);
    json_object_object_add(object, "disk_id", json_object_new_string(id));
    json_object_object_add(object, "unit", json_object_new_int(disk->unit));
    json_object_object_add(object, "capacity", json_object_new_int64((int64_t)disk->capacity));
    json_object_object_add(object, "sync_type", json_object_new_string(disk->sync_type));
    json_object_object_add(object, "bytes", json_object_new_int64((int64_t)disk->bytes));
    json_object_object_add(object, "change_id",
                           disk->change_id[0] ? json_object_new_string(disk->change_id) : NULL);
    json_object_object_add(object, "digest", json_object_new_string(disk->digest));
    json_object_object_add(object, "image", json_object_new_string(disk->image));
    json_object_object_add(object, "format", json_object_new_string(disk->format));
    return object;
}

static void add_row(struct table *table, const struct store_point *point,
                    const struct store_point_disk *disk)
{
    char bytes[HUMAN_MAX], time[TIME_TEXT];

    table_cell(table, "%u", point->number);
    table_cell(table, "%s", time_text(time, point->completed_ms));
    table_cell(table, "disk-%d", disk->key);
    table_cell(table, "%s", disk->sync_type);
    table_cell(table, "%s", human_bytes(bytes, disk->bytes));
    table_cell(table, "%s", disk->change_id);
    table_cell(table, "%s", disk->digest);
    table_cell(table, "%s",
               strrchr(disk->image, '/') ? strrchr(disk->image, '/') + 1 : disk->image);
}

static int list(struct store *store, int64_t vm_id, bool json, struct error **err)
{
    CLEANUP_TABLE struct table table =
        TABLE(">POINT", "COMPLETED", "DISK", "SYNC", ">MOVED", "CHANGE ID", "DIGEST", "IMAGE");
    CLEANUP_FREE struct store_point *points = NULL;
    json_object *array;
    size_t count;

    if (store_points(store, vm_id, &points, &count, err) < 0)
        return -1;
    array = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        CLEANUP_FREE struct store_point_disk *disks = NULL;
        json_object *object = json_object_new_object();
        json_object *members = json_object_new_array();
        size_t disk_count;

        json_object_array_add(array, object);
        json_object_object_add(object, "point", json_object_new_int64(points[i].number));
        json_object_object_add(object, "completed_ms",
                               json_object_new_int64(points[i].completed_ms));
        json_object_object_add(object, "job", json_object_new_int64(points[i].job_id));
        json_object_object_add(object, "disks", members);
        if (store_point_disks(store, points[i].id, &disks, &disk_count, err) < 0) {
            json_object_put(array);
            return -1;
        }
        for (size_t d = 0; d < disk_count; d++) {
            json_object_array_add(members, disk_to_json(&disks[d]));
            add_row(&table, &points[i], &disks[d]);
        }
    }
    if (json)
        return print_json(array, err);
    json_object_put(array);
    table_print(&table, stdout);
    return 0;
}

int command_point(int argc, char *argv[], struct error **err)
{
    static const struct option options[] = { COMMON_OPTIONS };
    CLEANUP_CONTEXT struct context context = { 0 };
    struct common_options common = { 0 };
    struct store_vm vm;
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (common_option(c, argv, &common, err) < 0)
            return -1;
    }
    if (common.help)
        return print_help(help);
    if (optind >= argc || strcmp(argv[optind], "list") != 0)
        return error_set_kind(err, ERROR_USAGE, "say what to do: list");
    if (expect_arguments(argc, 2, "vmferry point list VM [--json]", err) < 0 ||
        context_open(common.state, &context, err) < 0 ||
        store_vm_find(context.store, argv[optind + 1], &vm, err) < 0)
        return -1;
    return list(context.store, vm.id, common.json, err);
}
