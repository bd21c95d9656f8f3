/* vmferry source: add, list, refresh and remove where VMs come from. */
#include <json.h>
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "job/discover.h"
#include "source/source.h"
#include "table.h"

static const char help[] =
    "usage: vmferry source add nbd NAME --file FILE|DIRECTORY\n"
    "       vmferry source list [--json]\n"
    "       vmferry source refresh [NAME]\n"
    "       vmferry source remove NAME\n"
    "\n"
    "  --file=PATH   description of one VM (JSON), or a directory of such files *.json\n"
    "  --json        for programs\n"
    "  --state=DIR   state directory\n";

struct arguments {
    struct common_options common;
    const char *file;
};

/* Read all VMs of a source and write them down, in one transaction. */
static int refresh(struct store *store, const struct store_source *source, struct error **err)
{
    const struct source_kind *kind;
    CLEANUP_SPECS struct spec_list list = { 0 };
    CLEANUP_ROLLBACK struct store *transaction = NULL;

    if (source_kind_find(source->kind, &kind, err) < 0 ||
        kind->list(source->location, &list, err) < 0 || store_begin(store, err) < 0)
        return -1;
    transaction = store;
    for (size_t i = 0; i < list.count; i++) {
        struct store_vm vm;

        if (job_discover(store, source->id, &list.specs[i], &vm, err) < 0)
            return -1;
    }
    if (store_commit(store, err) < 0)
        return -1;
    printf("source '%s': %zu VM%s\n", source->name, list.count, list.count == 1 ? "" : "s");
    return 0;
}

/* Read first, so that a source that can't be read is never added. */
static int add(struct store *store, const struct arguments *arguments, int argc, char *argv[],
               struct error **err)
{
    const struct source_kind *kind;
    CLEANUP_SPECS struct spec_list list = { 0 };
    CLEANUP_ERROR struct error *unknown = NULL;
    struct store_source source = { 0 };
    char location[PATH_MAX];

    if (expect_arguments(argc, 3, "vmferry source add nbd NAME --file FILE|DIRECTORY", err) < 0 ||
        source_kind_find(argv[optind + 1], &kind, err) < 0)
        return -1;
    if (!arguments->file)
        return error_set_kind(err, ERROR_USAGE, "say which VMs with --file FILE|DIRECTORY");
    if (!argv[optind + 2][0] || strlen(argv[optind + 2]) >= sizeof source.name)
        return error_set_kind(err, ERROR_USAGE, "the source's name is empty or too long");
    if (!realpath(arguments->file, location))
        return error_set_errno(err, errno, "%s", arguments->file);
    if (strlen(location) >= sizeof source.location)
        return error_set_errno(err, ENAMETOOLONG, "%s", location);
    if (kind->list(location, &list, err) < 0)
        return -1;
    if (store_source_find(store, argv[optind + 2], &source, &unknown) == 0) {
        if (strcmp(source.location, location) != 0)
            return error_set(err, "there is a source '%s' already, at %s", source.name,
                             source.location);
        return refresh(store, &source, err);
    }
    if (unknown->errnum != ENOENT)
        return error_move(err, &unknown);
    if (store_source_add(store, argv[optind + 2], kind->name, location, &source.id, err) < 0 ||
        store_source_get(store, source.id, &source, err) < 0)
        return -1;
    if (refresh(store, &source, err) < 0) {
        CLEANUP_ERROR struct error *ignored = NULL;

        store_source_remove(store, source.id, &ignored);
        return -1;
    }
    return 0;
}

static int print_list(struct store *store, bool json, struct error **err)
{
    CLEANUP_TABLE struct table table = TABLE("NAME", "KIND", "LOCATION", "ADDED");
    CLEANUP_FREE struct store_source *sources = NULL;
    json_object *array;
    size_t count;

    if (store_sources(store, &sources, &count, err) < 0)
        return -1;
    array = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        const struct store_source *source = &sources[i];
        json_object *object = json_object_new_object();
        char time[TIME_TEXT];

        json_object_object_add(object, "name", json_object_new_string(source->name));
        json_object_object_add(object, "kind", json_object_new_string(source->kind));
        json_object_object_add(object, "location", json_object_new_string(source->location));
        json_object_array_add(array, object);
        table_cell(&table, "%s", source->name);
        table_cell(&table, "%s", source->kind);
        table_cell(&table, "%s", source->location);
        table_cell(&table, "%s", time_text(time, source->created_ms));
    }
    if (json)
        return print_json(array, err);
    json_object_put(array);
    table_print(&table, stdout);
    return 0;
}

static int refresh_named(struct store *store, const char *name, struct error **err)
{
    CLEANUP_FREE struct store_source *sources = NULL;
    struct store_source source;
    size_t count;

    if (name)
        return store_source_find(store, name, &source, err) < 0 ? -1 : refresh(store, &source, err);
    if (store_sources(store, &sources, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (refresh(store, &sources[i], err) < 0)
            return error_prefix(err, "source '%s'", sources[i].name);
    }
    return 0;
}

static int remove_source(struct store *store, int argc, char *argv[], struct error **err)
{
    struct store_source source;

    if (expect_arguments(argc, 2, "vmferry source remove NAME", err) < 0 ||
        store_source_find(store, argv[optind + 1], &source, err) < 0)
        return -1;
    if (store_source_remove(store, source.id, err) < 0)
        return error_prefix(err, "source '%s'", source.name);
    return 0;
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "file", required_argument, NULL, 'f' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":f:", options, NULL)) != -1) {
        if (c == 'f')
            arguments->file = optarg;
        else if (common_option(c, argv, &arguments->common, err) < 0)
            return -1;
    }
    return 0;
}

int command_source(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct arguments arguments = { 0 };
    const char *verb;

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    verb = optind < argc ? argv[optind] : "";
    if (!strcmp(verb, "add") + !strcmp(verb, "list") + !strcmp(verb, "refresh") +
            !strcmp(verb, "remove") ==
        0)
        return error_set_kind(err, ERROR_USAGE, "say what to do: add, list, refresh or remove");
    if (context_open(arguments.common.state, &context, err) < 0)
        return -1;
    if (strcmp(verb, "add") == 0)
        return add(context.store, &arguments, argc, argv, err);
    if (strcmp(verb, "remove") == 0)
        return remove_source(context.store, argc, argv, err);
    if (strcmp(verb, "refresh") == 0)
        return argc - optind > 2 ? expect_arguments(argc, 2, "vmferry source refresh [NAME]", err)
                                 : refresh_named(context.store, argv[optind + 1], err);
    return expect_arguments(argc, 1, "vmferry source list [--json]", err) < 0
               ? -1
               : print_list(context.store, arguments.common.json, err);
}
