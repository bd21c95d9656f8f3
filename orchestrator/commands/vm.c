/* vmferry vm: what VMs there are (vm-list.c), and one VM with its disk map. */
#include <json.h>
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/human.h"
#include "commands/options.h"
#include "commands/vm-list.h"
#include "commands/vm-set.h"
#include "job/find.h"
#include "source/spec.h"
#include "table.h"

static const char help[] =
    "usage: vmferry vm list [--source=NAME] [--folder=PATH] [--name=PATTERN] [--json]\n"
    "       vmferry vm show VM [--json]\n"
    "       vmferry vm set VM keep=RULES|checks=LIST|expect=REGEX [--json]\n"
    "\n"
    "VM is a name, a uuid, an inventory path, or a moref.\n"
    "\n"
    "  --source=NAME     what this source has now, not what was written down\n"
    "  --folder=PATH     VMs in this folder of the inventory (/DC0/vm/web)\n"
    "  --name=PATTERN    VMs of such a name (web*)\n"
    "  --json            for programs\n"
    "  --state=DIR       state directory\n";

static void put(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, *text ? json_object_new_string(text) : NULL);
}

static void put_int(json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

struct arguments {
    struct common_options common;
    const char *source;
    struct source_filter filter;
};

static void print_line(const char *name, const char *text)
{
    if (text[0])
        printf("%-9s %s\n", name, text);
}

static void print_machine(const struct store_vm *vm, const struct vm_spec *spec,
                          const struct vm_summary *summary)
{
    char bytes[HUMAN_MAX], time[TIME_TEXT];

    printf("name      %s\nuuid      %s\n", vm->name, vm->uuid);
    if (vm->path[0])
        printf("path      %s\n", vm->path);
    printf("source    %s\nstate     %s\n", vm->source, vm->state);
    printf("machine   %s, %u CPU%s, %s memory\n", spec->uefi ? "UEFI" : "BIOS", spec->cpus,
           spec->cpus == 1 ? "" : "s", human_bytes(bytes, spec->memory));
    print_line("power", spec->inventory.power);
    print_line("guest", spec->inventory.guest);
    print_line("tools", spec->inventory.tools);
    print_line("tracking", spec->inventory.tracking);
    print_line("hardware", spec->inventory.hardware);
    print_line("host", spec->inventory.host);
    print_line("id", spec->inventory.id);
    if (spec->inventory.used)
        print_line("used", human_bytes(bytes, spec->inventory.used));
    for (size_t i = 0; i < spec->nic_count; i++)
        printf("nic %-5zu %s%s%s%s%s\n", i, spec->nics[i].mac,
               spec->nics[i].network[0] ? " on " : "", spec->nics[i].network,
               spec->nics[i].model[0] ? ", " : "", spec->nics[i].model);
    print_line("pool", summary->pool);
    if (summary->points)
        printf("points    %u, the newest of %s\n", summary->points,
               time_text(time, summary->newest_ms));
    else
        printf("points    none yet\n");
}

static json_object *disk_to_json(const struct store_disk *disk, const struct spec_disk *now,
                                 const char *export_name)
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
    if (!now)
        return object;
    put(object, "label", now->inventory.label);
    put(object, "controller", now->inventory.controller);
    put(object, "address", now->inventory.address);
    put(object, "backing", now->inventory.backing);
    put(object, "mode", now->inventory.mode);
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
        TABLE("DISK", ">UNIT", "?ADDRESS", "?CONTROLLER", "?LABEL", ">CAPACITY", "BACKING UUID",
              "?BACKING", "?MODE", "CHANGE ID", "REPLICA", "EXPORT");
    CLEANUP_FREE struct store_disk *disks = NULL;
    CLEANUP_FREE struct store_export *exports = NULL;
    CLEANUP_FREE char *text = NULL;
    CLEANUP_SPEC struct vm_spec spec = { 0 };
    struct store_vm_tests tests;
    struct vm_summary summary;
    json_object *object, *array;
    size_t count, export_count;

    if (store_vm_spec(context->store, vm->id, &text, err) < 0 ||
        spec_parse_stored(text, "the stored spec", &spec, err) < 0 ||
        store_disks(context->store, vm->id, &disks, &count, err) < 0 ||
        store_exports(context->store, vm->id, &exports, &export_count, err) < 0 ||
        store_vm_tests(context->store, vm->id, &tests, err) < 0 ||
        vm_summarize(context->store, vm->id, &summary, err) < 0)
        return -1;
    object = json_object_new_object();
    put(object, "uuid", vm->uuid);
    put(object, "name", vm->name);
    put(object, "path", vm->path);
    put(object, "source", vm->source);
    put(object, "state", vm->state);
    array = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        const char *export_name = export_of(exports, export_count, disks[i].unit);
        const struct spec_disk *now = spec_disk_by_key(&spec, disks[i].key);
        char bytes[HUMAN_MAX];

        json_object_array_add(array, disk_to_json(&disks[i], now, export_name));
        table_cell(&table, "disk-%d", disks[i].key);
        table_cell(&table, "%d", disks[i].unit);
        table_cell(&table, "%s", now ? now->inventory.address : "");
        table_cell(&table, "%s", now ? now->inventory.controller : "");
        table_cell(&table, "%s", now ? now->inventory.label : "");
        table_cell(&table, "%s", human_bytes(bytes, disks[i].capacity));
        table_cell(&table, "%s", disks[i].backing_uuid);
        table_cell(&table, "%s", now ? now->inventory.backing : "");
        table_cell(&table, "%s", now ? now->inventory.mode : "");
        table_cell(&table, "%s", disks[i].change_id);
        table_cell(&table, "%s", disks[i].replica);
        table_cell(&table, "%s", export_name);
    }
    put_int(object, "points", summary.points);
    put(object, "pool", summary.pool);
    put(object, "checks", tests.checks);
    put(object, "expect", tests.expect);
    json_object_object_add(object, "disks", array);
    json_object_object_add(object, "spec", json_tokener_parse(text));
    if (json)
        return print_json(object, err);
    json_object_put(object);
    print_machine(vm, &spec, &summary);
    print_line("checks", tests.checks);
    print_line("expect", tests.expect);
    printf("\n");
    table_print(&table, stdout);
    return 0;
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "source", required_argument, NULL, 's' },
                                             { "folder", required_argument, NULL, 'f' },
                                             { "name", required_argument, NULL, 'n' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 's')
            arguments->source = optarg;
        else if (c == 'f')
            arguments->filter.folder = optarg;
        else if (c == 'n')
            arguments->filter.name = optarg;
        else if (common_option(c, argv, &arguments->common, err) < 0)
            return -1;
    }
    return 0;
}

static int set(const struct arguments *arguments, int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct store_vm vm;

    if (expect_arguments(argc, 3, "vmferry vm set VM keep=RULES|checks=LIST|expect=REGEX", err) <
            0 ||
        context_open(arguments->common.state, &context, err) < 0 ||
        store_vm_find(context.store, argv[optind + 1], &vm, err) < 0)
        return -1;
    return vm_set(&context, &vm, argv[optind + 2], arguments->common.json, err);
}

int command_vm(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct arguments arguments = { 0 };
    struct store_vm vm;
    const char *verb;
    bool listing;

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    verb = optind < argc ? argv[optind] : "";
    listing = strcmp(verb, "list") == 0;
    if (strcmp(verb, "set") == 0)
        return set(&arguments, argc, argv, err);
    if (!listing && strcmp(verb, "show") != 0)
        return error_set_kind(err, ERROR_USAGE, "say what to do: list, show or set");
    if (expect_arguments(argc, listing ? 1 : 2,
                         listing ? "vmferry vm list [OPTIONS]" : "vmferry vm show VM [--json]",
                         err) < 0 ||
        context_open(arguments.common.state, &context, err) < 0)
        return -1;
    if (listing)
        return vm_list(&context, arguments.source, &arguments.filter, arguments.common.json, err);
    return job_find_vm(context.store, context.state_dir, argv[optind + 1], NULL, &vm, err) < 0
               ? -1
               : show(&context, &vm, arguments.common.json, err);
}
