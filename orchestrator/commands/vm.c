/* vmferry vm: what VMs there are, and one VM with its disk map. */
#include <json.h>
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/human.h"
#include "commands/options.h"
#include "source/spec.h"
#include "table.h"

static const char help[] = "usage: vmferry vm list [--json]\n"
                           "       vmferry vm show VM [--json]\n"
                           "\n"
                           "VM is a name or a uuid.\n"
                           "\n"
                           "  --json        for programs\n"
                           "  --state=DIR   state directory\n";

static void put(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, *text ? json_object_new_string(text) : NULL);
}

static void put_int(json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

static json_object *vm_to_json(const struct store_vm *vm)
{
    json_object *object = json_object_new_object();

    put(object, "uuid", vm->uuid);
    put(object, "name", vm->name);
    put(object, "path", vm->path);
    put(object, "source", vm->source);
    put(object, "state", vm->state);
    return object;
}

struct summary {
    size_t disks;
    uint64_t capacity;
    unsigned points;
    int64_t newest_ms; /* 0: no point */
};

static int summarize(struct store *store, int64_t vm_id, struct summary *summary,
                     struct error **err)
{
    CLEANUP_FREE struct store_disk *disks = NULL;
    CLEANUP_FREE struct store_point *points = NULL;
    size_t count;

    *summary = (struct summary){ 0 };
    if (store_disks(store, vm_id, &disks, &summary->disks, err) < 0 ||
        store_points(store, vm_id, &points, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < summary->disks; i++)
        summary->capacity += disks[i].capacity;
    summary->points = (unsigned)count;
    if (count)
        summary->newest_ms = points[count - 1].completed_ms;
    return 0;
}

static int list(struct store *store, bool json, struct error **err)
{
    CLEANUP_TABLE struct table table =
        TABLE("NAME", "STATE", ">DISKS", ">CAPACITY", ">POINTS", "NEWEST POINT", "SOURCE", "UUID");
    CLEANUP_FREE struct store_vm *vms = NULL;
    json_object *array;
    size_t count;

    if (store_vms(store, &vms, &count, err) < 0)
        return -1;
    array = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        json_object *object = vm_to_json(&vms[i]);
        char bytes[HUMAN_MAX], time[TIME_TEXT];
        struct summary summary;

        json_object_array_add(array, object);
        if (summarize(store, vms[i].id, &summary, err) < 0) {
            json_object_put(array);
            return -1;
        }
        put_int(object, "disks", (int64_t)summary.disks);
        put_int(object, "capacity", (int64_t)summary.capacity);
        put_int(object, "points", summary.points);
        put_int(object, "newest_point_ms", summary.newest_ms);
        table_cell(&table, "%s", vms[i].name);
        table_cell(&table, "%s", vms[i].state);
        table_cell(&table, "%zu", summary.disks);
        table_cell(&table, "%s", human_bytes(bytes, summary.capacity));
        table_cell(&table, "%u", summary.points);
        table_cell(&table, "%s", time_text(time, summary.newest_ms));
        table_cell(&table, "%s", vms[i].source);
        table_cell(&table, "%s", vms[i].uuid);
    }
    if (json)
        return print_json(array, err);
    json_object_put(array);
    table_print(&table, stdout);
    return 0;
}

static void print_machine(const struct store_vm *vm, const struct vm_spec *spec,
                          const struct summary *summary)
{
    char bytes[HUMAN_MAX], time[TIME_TEXT];

    printf("name      %s\nuuid      %s\n", vm->name, vm->uuid);
    if (vm->path[0])
        printf("path      %s\n", vm->path);
    printf("source    %s\nstate     %s\n", vm->source, vm->state);
    printf("machine   %s, %u CPU%s, %s memory\n", spec->uefi ? "UEFI" : "BIOS", spec->cpus,
           spec->cpus == 1 ? "" : "s", human_bytes(bytes, spec->memory));
    for (size_t i = 0; i < spec->nic_count; i++)
        printf("nic %-5zu %s%s%s%s%s\n", i, spec->nics[i].mac,
               spec->nics[i].network[0] ? " on " : "", spec->nics[i].network,
               spec->nics[i].model[0] ? ", " : "", spec->nics[i].model);
    if (summary->points)
        printf("points    %u, the newest of %s\n", summary->points,
               time_text(time, summary->newest_ms));
    else
        printf("points    none yet\n");
}

static json_object *disk_to_json(const struct store_disk *disk, const char *export_name)
{
    json_object *object = json_object_new_object();
    char id[32];

    snprintf(id, sizeof id, "disk-%d", disk->key);
    put(object, "disk_id", id);
    put_int(object, "key", disk->key);
    put_int(object, "unit", disk->unit);
    put_int(object, "capacity", (int64_t)disk->capacity);
    put(object, "backing_uuid", disk->backing_uuid);
    put(object, "change_id", disk->change_id);
    put(object, "replica", disk->replica);
    put(object, "export", export_name);
    return object;
}

static const char *export_of(const struct store_export *exports, size_t count, int unit)
{
    for (size_t i = 0; i < count; i++) {
        if (exports[i].unit == unit)
            return exports[i].name;
    }
    return "";
}

static int show(struct context *context, const struct store_vm *vm, bool json, struct error **err)
{
    CLEANUP_TABLE struct table table =
        TABLE("DISK", ">UNIT", ">CAPACITY", "BACKING UUID", "CHANGE ID", "REPLICA", "EXPORT");
    CLEANUP_FREE struct store_disk *disks = NULL;
    CLEANUP_FREE struct store_export *exports = NULL;
    CLEANUP_FREE char *text = NULL;
    CLEANUP_SPEC struct vm_spec spec = { 0 };
    struct summary summary;
    json_object *object, *array;
    size_t count, export_count;

    if (store_vm_spec(context->store, vm->id, &text, err) < 0 ||
        spec_parse_stored(text, "the stored spec", &spec, err) < 0 ||
        store_disks(context->store, vm->id, &disks, &count, err) < 0 ||
        store_exports(context->store, vm->id, &exports, &export_count, err) < 0 ||
        summarize(context->store, vm->id, &summary, err) < 0)
        return -1;
    object = vm_to_json(vm);
    array = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        const char *export_name = export_of(exports, export_count, disks[i].unit);
        char bytes[HUMAN_MAX];

        json_object_array_add(array, disk_to_json(&disks[i], export_name));
        table_cell(&table, "disk-%d", disks[i].key);
        table_cell(&table, "%d", disks[i].unit);
        table_cell(&table, "%s", human_bytes(bytes, disks[i].capacity));
        table_cell(&table, "%s", disks[i].backing_uuid);
        table_cell(&table, "%s", disks[i].change_id);
        table_cell(&table, "%s", disks[i].replica);
        table_cell(&table, "%s", export_name);
    }
    put_int(object, "points", summary.points);
    json_object_object_add(object, "disks", array);
    json_object_object_add(object, "spec", json_tokener_parse(text));
    if (json)
        return print_json(object, err);
    json_object_put(object);
    print_machine(vm, &spec, &summary);
    printf("\n");
    table_print(&table, stdout);
    return 0;
}

static int parse(int argc, char *argv[], struct common_options *common, struct error **err)
{
    static const struct option options[] = { COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (common_option(c, argv, common, err) < 0)
            return -1;
    }
    return 0;
}

int command_vm(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct common_options common = { 0 };
    struct store_vm vm;
    const char *verb;
    bool listing;

    if (parse(argc, argv, &common, err) < 0)
        return -1;
    if (common.help)
        return print_help(help);
    verb = optind < argc ? argv[optind] : "";
    listing = strcmp(verb, "list") == 0;
    if (!listing && strcmp(verb, "show") != 0)
        return error_set_kind(err, ERROR_USAGE, "say what to do: list or show");
    if (expect_arguments(argc, listing ? 1 : 2,
                         listing ? "vmferry vm list [--json]" : "vmferry vm show VM [--json]",
                         err) < 0 ||
        context_open(common.state, &context, err) < 0)
        return -1;
    if (listing)
        return list(context.store, common.json, err);
    return store_vm_find(context.store, argv[optind + 1], &vm, err) < 0
               ? -1
               : show(&context, &vm, common.json, err);
}
