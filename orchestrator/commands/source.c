/* vmferry source: add, list, refresh and remove where VMs come from. */
#include <json.h>
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "job/connect.h"
#include "job/discover.h"
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

/* Write down all VMs of an open source, in one transaction. */
static int discover(struct store *store, int64_t source_id, struct source *source,
                    struct error **err)
{
    CLEANUP_SPECS struct spec_list list = { 0 };
    CLEANUP_ROLLBACK struct store *transaction = NULL;

    if (source->kind->list(source, NULL, &list, err) < 0 || store_begin(store, err) < 0)
        return -1;
    transaction = store;
    for (size_t i = 0; i < list.count; i++) {
        struct store_vm vm;

        if (job_discover(store, source_id, &list.specs[i], &vm, err) < 0)
            return -1;
    }
    if (store_commit(store, err) < 0)
        return -1;
    printf("source '%s': %zu VM%s\n", source->settings->name, list.count,
           list.count == 1 ? "" : "s");
    return 0;
}

static int refresh(const struct context *context, int64_t source_id, struct error **err)
{
    CLEANUP_CONNECTION struct connection from = { 0 };

    if (connection_open(context->store, source_id, context->state_dir, &from, err) < 0)
        return -1;
    return discover(context->store, source_id, from.source, err);
}

/* A source that can't be read is never added. */
static int add_new(const struct context *context, struct store_source *source, struct error **err)
{
    CLEANUP_ERROR struct error *ignored = NULL;

    if (store_source_add(context->store, source, err) < 0)
        return -1;
    if (refresh(context, source->id, err) == 0)
        return 0;
    store_source_remove(context->store, source->id, &ignored);
    return -1;
}

static int add_nbd(const struct context *context, const struct arguments *arguments,
                   struct store_source *source, struct error **err)
{
    CLEANUP_ERROR struct error *unknown = NULL;
    char location[PATH_MAX];
    struct store_source known;

    if (!arguments->file)
        return error_set_kind(err, ERROR_USAGE, "say which VMs with --file FILE|DIRECTORY");
    if (!realpath(arguments->file, location))
        return error_set_errno(err, errno, "%s", arguments->file);
    if (strlen(location) >= sizeof source->location)
        return error_set_errno(err, ENAMETOOLONG, "%s", location);
    strcpy(source->location, location);
    if (store_source_find(context->store, source->name, &known, &unknown) < 0)
        return unknown->errnum == ENOENT ? add_new(context, source, err)
                                         : error_move(err, &unknown);
    if (strcmp(known.kind, source->kind) != 0 || strcmp(known.location, location) != 0)
        return error_set(err, "there is a source '%s' already, at %s", known.name, known.location);
    return refresh(context, known.id, err);
}

static int add(const struct context *context, const struct arguments *arguments, int argc,
               char *argv[], struct error **err)
{
    const struct source_kind *kind;
    struct store_source source = { 0 };

    if (expect_arguments(argc, 3, "vmferry source add nbd NAME --file FILE|DIRECTORY", err) < 0 ||
        source_kind_find(argv[optind + 1], &kind, err) < 0)
        return -1;
    if (!argv[optind + 2][0] || strlen(argv[optind + 2]) >= sizeof source.name)
        return error_set_kind(err, ERROR_USAGE, "the source's name is empty or too long");
    strcpy(source.kind, kind->name);
    strcpy(source.name, argv[optind + 2]);
    return add_nbd(context, arguments, &source, err);
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

static int refresh_named(const struct context *context, const char *name, struct error **err)
{
    CLEANUP_FREE struct store_source *sources = NULL;
    struct store_source source;
    size_t count;

    if (name)
        return store_source_find(context->store, name, &source, err) < 0
                   ? -1
                   : refresh(context, source.id, err);
    if (store_sources(context->store, &sources, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (refresh(context, sources[i].id, err) < 0)
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
        return add(&context, &arguments, argc, argv, err);
    if (strcmp(verb, "remove") == 0)
        return remove_source(context.store, argc, argv, err);
    if (strcmp(verb, "refresh") == 0)
        return argc - optind > 2 ? expect_arguments(argc, 2, "vmferry source refresh [NAME]", err)
                                 : refresh_named(&context, argv[optind + 1], err);
    return expect_arguments(argc, 1, "vmferry source list [--json]", err) < 0
               ? -1
               : print_list(context.store, arguments.common.json, err);
}
