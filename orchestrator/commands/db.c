/* vmferry db: the database's state and schema; all of it out and in again. */
#include <fcntl.h>
#include <json.h>
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "store/dump.h"
#include "table.h"

static const char help[] =
    "usage: vmferry db status [--json]\n"
    "       vmferry db migrate\n"
    "       vmferry db dump [FILE]\n"
    "       vmferry db restore FILE\n"
    "\n"
    "The database is the one of vmferry.conf or VMFERRY_DATABASE.\n"
    "\n"
    "  status     which database, its schema, rows of each table, nodes of a cluster\n"
    "  migrate    bring the schema up to date; other commands do so by themselves\n"
    "  dump       write all of it as JSON lines to FILE, or (none, -) to the output\n"
    "  restore    read a dump (-: from the input) into a database that is empty\n"
    "\n"
    "  --json         for programs\n"
    "  --state=DIR    state directory\n";

static int print_migrations(struct store *store, int before, int after, struct error **err)
{
    json_object *object = json_object_new_object();
    json_object *array = json_object_new_array();

    for (int n = before + 1; n <= after; n++)
        json_object_array_add(array, json_object_new_string(store_migration_name(store, n)));
    json_object_object_add(object, "schema", json_object_new_int(after));
    json_object_object_add(object, "applied", array);
    return print_json(object, err);
}

static int migrate(struct context *context, bool json, struct error **err)
{
    struct store_schema after;
    int before;

    if (store_migrate(context->store, &before, err) < 0 ||
        store_schema(context->store, &after, err) < 0)
        return -1;
    if (json)
        return print_migrations(context->store, before, after.version, err);
    for (int n = before + 1; n <= after.version; n++)
        printf("%s\n", store_migration_name(context->store, n));
    if (before >= after.version)
        printf("schema %d (%s): nothing to do\n", after.version,
               store_migration_name(context->store, after.version));
    return 0;
}

struct report {
    json_object *json; /* or NULL: print */
};

static void tell(void *opaque, const char *name, const char *value)
{
    struct report *report = opaque;

    if (report->json)
        json_object_object_add(report->json, name, json_object_new_string(value));
    else
        printf("%-14s %s\n", name, value);
}

static void tell_schema(struct context *context, const struct store_schema *schema,
                        struct report *report)
{
    const char *name = store_migration_name(context->store, schema->version);
    json_object *pending = json_object_new_array();

    for (int n = schema->version + 1; n <= schema->newest; n++) {
        const char *migration = store_migration_name(context->store, n);

        json_object_array_add(pending, json_object_new_string(migration));
        if (!report->json)
            printf("%-14s %s\n", "pending", migration);
    }
    if (report->json) {
        json_object_object_add(report->json, "schema", json_object_new_int(schema->version));
        json_object_object_add(report->json, "pending", pending);
        return;
    }
    json_object_put(pending);
    printf("%-14s %d%s%s\n", "schema", schema->version, name ? ", " : "",
           name              ? name
           : schema->version ? ", of a newer vmferry"
                             : "");
}

static int tell_rows(struct context *context, struct report *report, struct error **err)
{
    CLEANUP_TABLE struct table table = TABLE("TABLE", ">ROWS");
    CLEANUP_FREE struct store_size *sizes = NULL;
    json_object *rows;
    size_t count;

    if (store_sizes(context->store, &sizes, &count, err) < 0)
        return -1;
    rows = json_object_new_object();
    for (size_t i = 0; i < count; i++) {
        table_cell(&table, "%s", sizes[i].table);
        table_cell(&table, "%lld", (long long)sizes[i].rows);
        json_object_object_add(rows, sizes[i].table, json_object_new_int64(sizes[i].rows));
    }
    if (report->json) {
        json_object_object_add(report->json, "rows", rows);
        return 0;
    }
    json_object_put(rows);
    printf("\n");
    table_print(&table, stdout);
    return 0;
}

static int status(struct context *context, bool json, struct error **err)
{
    struct report report = { json ? json_object_new_object() : NULL };
    json_object *server = json ? json_object_new_object() : NULL;
    struct report about = { server };
    struct store_schema schema;

    tell(&report, "backend", store_backend(context->store));
    tell(&report, "database", store_name(context->store));
    if (json)
        json_object_object_add(report.json, "server", server);
    if (store_schema(context->store, &schema, err) < 0 ||
        store_describe(context->store, tell, &about, err) < 0) {
        json_object_put(report.json);
        return -1;
    }
    tell_schema(context, &schema, &report);
    if (tell_rows(context, &report, err) < 0) {
        json_object_put(report.json);
        return -1;
    }
    return json ? print_json(report.json, err) : 0;
}

/* It has all that the database has: only its owner reads it. It appears when it is whole. */
static int dump_to_file(struct store *store, const char *path, struct error **err)
{
    CLEANUP_FREE char *part = NULL;
    bool in_place = is_written_in_place(path);
    FILE *file;
    int fd, r;

    if (asprintf(&part, "%s%s", path, in_place ? "" : ".part") < 0)
        return error_set_errno(err, ENOMEM, "%s", path);
    fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file)
        return error_set_errno(err, errno, "writing %s", part);
    r = store_dump(store, file, err);
    if (r == 0 && !in_place && fsync(fd) < 0)
        r = error_set_errno(err, errno, "writing %s", part);
    if (fclose(file) != 0 && r == 0)
        r = error_set_errno(err, errno, "writing %s", part);
    if (in_place)
        return r;
    if (r == 0 && rename(part, path) < 0)
        r = error_set_errno(err, errno, "renaming %s", part);
    if (r < 0)
        unlink(part);
    return r;
}

static int dump(struct context *context, bool json, int argc, char *argv[], struct error **err)
{
    if (argc - optind > 2)
        return error_set_kind(err, ERROR_USAGE, "usage: vmferry db dump [FILE]");
    if (store_check_schema(context->store, err) < 0)
        return -1;
    if (argc - optind < 2 || strcmp(argv[optind + 1], "-") == 0) /* it is JSON as it is */
        return store_dump(context->store, stdout, err);
    if (dump_to_file(context->store, argv[optind + 1], err) < 0)
        return -1;
    return json ? print_done("file", argv[optind + 1], "written", err) : 0;
}

static int restore(struct context *context, const char *path, bool json, struct error **err)
{
    bool input = strcmp(path, "-") == 0;
    CLEANUP_FCLOSE FILE *file = input ? NULL : fopen(path, "re");
    uint64_t rows;

    if (!input && !file)
        return error_set_errno(err, errno, "reading %s", path);
    if (store_migrate(context->store, NULL, err) < 0 ||
        store_restore(context->store, input ? stdin : file, input ? "the input" : path, &rows,
                      err) < 0)
        return -1;
    if (json) {
        json_object *object = json_object_new_object();

        json_object_object_add(object, "database",
                               json_object_new_string(store_name(context->store)));
        json_object_object_add(object, "rows", json_object_new_uint64(rows));
        return print_json(object, err);
    }
    printf("%s: %llu rows\n", store_name(context->store), (unsigned long long)rows);
    return 0;
}

int command_db(int argc, char *argv[], struct error **err)
{
    static const struct option options[] = { COMMON_OPTIONS };
    CLEANUP_CONTEXT struct context context = { 0 };
    struct common_options common = { 0 };
    const char *verb;
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (common_option(c, argv, &common, err) < 0)
            return -1;
    }
    if (common.help)
        return print_help(help);
    verb = optind < argc ? argv[optind] : "";
    if (!strcmp(verb, "status") + !strcmp(verb, "migrate") + !strcmp(verb, "dump") +
            !strcmp(verb, "restore") ==
        0)
        return error_set_kind(err, ERROR_USAGE, "say what to do: status, migrate, dump or restore");
    if (strcmp(verb, "restore") == 0 &&
        expect_arguments(argc, 2, "vmferry db restore FILE", err) < 0)
        return -1;
    if ((strcmp(verb, "status") == 0 || strcmp(verb, "migrate") == 0) &&
        expect_arguments(argc, 1, "vmferry db status|migrate [--json]", err) < 0)
        return -1;
    if (context_connect(common.state, &context, err) < 0)
        return -1;
    if (strcmp(verb, "status") == 0)
        return status(&context, common.json, err);
    if (strcmp(verb, "migrate") == 0)
        return migrate(&context, common.json, err);
    if (strcmp(verb, "dump") == 0)
        return dump(&context, common.json, argc, argv, err);
    return restore(&context, argv[optind + 1], common.json, err);
}
