/* What `vmferry verify` found, for people and for programs; see verify.h. */
#include <inttypes.h>
#include <json.h>
#include <string.h>

#include "commands/verify.h"
#include "table.h"

#define RANGES_SHOWN 64 /* to people; programs get them all */

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
    for (size_t i = 0; i < disk->named && i < RANGES_SHOWN; i++)
        printf("  offset %" PRIu64 " length %" PRIu64 "\n", disk->ranges[i].offset,
               disk->ranges[i].length);
    if (disk->range_count > RANGES_SHOWN)
        printf("  and %zu more\n", disk->range_count - RANGES_SHOWN);
}

static void print_source_note(const struct replica_disk *disk, const struct check_disk *source)
{
    if (!source->same_moment)
        printf("disk-%d: the source has moved on: it offers %s, the point holds %s\n", disk->key,
               source->source_change_id[0] ? source->source_change_id : "no change id",
               disk->change_id[0] ? disk->change_id : "none");
}

static void print_repair(const struct repair_disk *repair)
{
    if (repair->leaves_rebuilt)
        printf("disk-%d: the leaves file is made anew\n", repair->key);
    if (repair->blocks)
        printf("disk-%d: %zu of %zu blocks repaired\n", repair->key, repair->repaired,
               repair->blocks);
    for (size_t i = 0; i < repair->left_count && i < RANGES_SHOWN; i++)
        printf("disk-%d: not repaired: offset %" PRIu64 " length %" PRIu64 "\n", repair->key,
               repair->left[i].offset, repair->left[i].length);
    if (repair->why[0])
        printf("disk-%d: %s\n", repair->key, repair->why);
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
        if (v->repairs)
            print_repair(&v->repairs[i]);
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
    for (size_t i = 0; i < disk->named; i++) {
        json_object *range = json_object_new_object();

        json_object_object_add(range, "offset", json_object_new_uint64(disk->ranges[i].offset));
        json_object_object_add(range, "length", json_object_new_uint64(disk->ranges[i].length));
        json_object_array_add(ranges, range);
    }
    json_object_object_add(object, "ranges", ranges);
    return object;
}

static json_object *repair_to_json(const struct repair_disk *repair)
{
    json_object *object = json_object_new_object();
    json_object *left = json_object_new_array();

    json_object_object_add(object, "blocks", json_object_new_uint64(repair->blocks));
    json_object_object_add(object, "repaired", json_object_new_uint64(repair->repaired));
    json_object_object_add(object, "leaves_rebuilt",
                           json_object_new_boolean(repair->leaves_rebuilt));
    json_object_object_add(object, "why",
                           repair->why[0] ? json_object_new_string(repair->why) : NULL);
    for (size_t i = 0; i < repair->left_count; i++) {
        json_object *range = json_object_new_object();

        json_object_object_add(range, "offset", json_object_new_uint64(repair->left[i].offset));
        json_object_object_add(range, "length", json_object_new_uint64(repair->left[i].length));
        json_object_array_add(left, range);
    }
    json_object_object_add(object, "left", left);
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
        if (v->repairs)
            json_object_object_add(disk, "repair", repair_to_json(&v->repairs[i]));
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

int verify_print(const struct verification *v, bool json, struct error **err)
{
    if (json)
        return print_as_json(v, err);
    print_text(v);
    return 0;
}
