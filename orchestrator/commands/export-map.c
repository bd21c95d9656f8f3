/* vmferry export list, show, check, repair: the map of the replicas' disks. What comes in: the
 * store and the map files. What goes out: tables or JSON; a repair changes what
 * replica/exportcheck.h says is safe. */
#include "commands/export-map.h"

#include <json.h>
#include <string.h>
#include <sys/stat.h>

#include "commands/context.h"
#include "commands/options.h"
#include "job/exports.h"
#include "replica/export.h"
#include "replica/exportrow.h"
#include "replica/volume.h"
#include "table.h"

static void add_text(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, text && *text ? json_object_new_string(text) : NULL);
}

/* ---- list and show ---- */

/* The lease is who may write: like a password, it is not shown. */
static json_object *row_to_json(const struct store_export *row, const char *state_dir,
                                struct error **err)
{
    json_object *object = json_object_new_object();
    json_object *identity = json_tokener_parse(row->identity);
    char path[PATH_MAX];

    if (volume_path(state_dir, row->path, path, err) < 0)
        path[0] = '\0';
    if (json_object_is_type(identity, json_type_object))
        json_object_object_del(identity, "lease");
    add_text(object, "export", row->name);
    add_text(object, "vm", row->vm_name);
    json_object_object_add(object, "unit", json_object_new_int(row->unit));
    add_text(object, "status", row->active ? "active" : "inactive");
    json_object_object_add(object, "granted", json_object_new_boolean(row->lease[0] != '\0'));
    add_text(object, "path", path);
    json_object_object_add(object, "disk", identity);
    json_object_object_add(object, "created_ms", json_object_new_int64(row->created_ms));
    json_object_object_add(object, "updated_ms", json_object_new_int64(row->updated_ms));
    return object;
}

static int list(const struct context *context, const struct store_vm *vm, bool json,
                struct error **err)
{
    CLEANUP_TABLE struct table table = TABLE("EXPORT", "VM", ">UNIT", "STATUS", "CHANGED", "PATH");
    CLEANUP_FREE struct store_export *rows = NULL;
    json_object *array = json_object_new_array();
    size_t count;

    if (store_exports(context->store, vm ? vm->id : 0, &rows, &count, err) < 0) {
        json_object_put(array);
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        char time[TIME_TEXT];

        json_object_array_add(array, row_to_json(&rows[i], context->state_dir, err));
        table_cell(&table, "%s", rows[i].name);
        table_cell(&table, "%s", rows[i].vm_name);
        table_cell(&table, "%d", rows[i].unit);
        table_cell(&table, "%s", rows[i].active ? "active" : "inactive");
        table_cell(&table, "%s", time_text(time, rows[i].updated_ms));
        table_cell(&table, "%s", rows[i].path);
    }
    if (json)
        return print_json(array, err);
    json_object_put(array);
    table_print(&table, stdout);
    return 0;
}

static int find_row(struct store *store, const char *name, struct store_export *row,
                    struct error **err)
{
    CLEANUP_FREE struct store_export *rows = NULL;
    size_t count;

    if (store_exports(store, 0, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            *row = rows[i];
            return 0;
        }
    }
    return error_set(err, "no export named '%s'; `vmferry export list` names them", name);
}

static void print_identity(json_object *disk)
{
    json_object *identity = NULL, *record = NULL;

    json_object_object_get_ex(disk, "identity", &identity);
    json_object_object_get_ex(disk, "record", &record);
    if (identity) {
        json_object_object_foreach(identity, key, value)
        {
            printf("  %s: %s\n", key, json_object_get_string(value));
        }
    }
    if (record) {
        json_object_object_foreach(record, key, value)
        {
            printf("  %s: %s\n", key, json_object_get_string(value));
        }
    }
}

static int show(const struct context *context, const char *name, bool json, struct error **err)
{
    struct store_export row;
    json_object *object, *disk = NULL;
    char created[TIME_TEXT], updated[TIME_TEXT];

    if (find_row(context->store, name, &row, err) < 0)
        return -1;
    object = row_to_json(&row, context->state_dir, err);
    if (json)
        return print_json(object, err);
    json_object_object_get_ex(object, "disk", &disk);
    printf("export:   %s\nvm:       %s, unit %d\nstatus:   %s\npath:     %s\ncreated:  %s\n"
           "changed:  %s\n",
           row.name, row.vm_name, row.unit,
           row.active ? "active: a job may write" : "inactive: it can only be read", row.path,
           time_text(created, row.created_ms), time_text(updated, row.updated_ms));
    if (disk) {
        printf("disk:\n");
        print_identity(disk);
    }
    json_object_put(object);
    return 0;
}

/* ---- check and repair ---- */

static json_object *report_to_json(const struct export_report *report)
{
    json_object *object = json_object_new_object();
    json_object *findings = json_object_new_array();

    json_object_object_add(object, "mappings", json_object_new_int64((int64_t)report->mappings));
    json_object_object_add(object, "refused", json_object_new_int64((int64_t)report->refused));
    json_object_object_add(object, "findings", findings);
    for (size_t i = 0; i < report->count; i++) {
        const struct export_finding *finding = &report->list[i];
        json_object *entry = json_object_new_object();

        add_text(entry, "export", finding->name);
        add_text(entry, "fault", export_fault_name(finding->fault));
        add_text(entry, "what", finding->what);
        add_text(entry, "done", finding->done);
        add_text(entry, "refused", finding->refused);
        json_object_array_add(findings, entry);
    }
    return object;
}

static void print_report(const struct export_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct export_finding *finding = &report->list[i];

        printf("%s: %s: %s\n", finding->name, export_fault_name(finding->fault), finding->what);
        if (finding->done)
            printf("  repaired: %s\n", finding->done);
        if (finding->refused)
            printf("  not repaired: %s\n", finding->refused);
    }
    printf("%zu export%s checked, %zu difference%s\n", report->mappings,
           report->mappings == 1 ? "" : "s", report->count, report->count == 1 ? "" : "s");
}

static int check(const struct context *context, const struct store_vm *vm, bool repair, bool json,
                 struct error **err)
{
    CLEANUP_EXPORT_REPORT struct export_report report = { 0 };
    size_t left;

    if (job_check_exports(context->store, context->state_dir, vm, repair, &report, err) < 0)
        return -1;
    if (!json)
        print_report(&report);
    else if (print_json(report_to_json(&report), err) < 0)
        return -1;
    left = repair ? report.refused : report.count;
    if (left == 0)
        return 0;
    return repair ? error_set(err, "%zu difference%s left", left, left == 1 ? " is" : "s are")
                  : error_set(err, "%zu difference%s; `vmferry export repair` mends what is safe",
                              left, left == 1 ? "" : "s");
}

bool export_map_knows(const char *word)
{
    return strcmp(word, "list") == 0 || strcmp(word, "show") == 0 || strcmp(word, "check") == 0 ||
           strcmp(word, "repair") == 0;
}

int export_map_run(const char *word, int argc, char *argv[], const struct common_options *common,
                   struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    bool showing = strcmp(word, "show") == 0;
    struct store_vm vm;

    if (showing ? argc != 1 : argc > 1)
        return error_set_kind(err, ERROR_USAGE, "usage: vmferry export %s %s", word,
                              showing ? "EXPORT [--json]" : "[VM] [--json]");
    if (context_open(common->state, &context, err) < 0)
        return -1;
    if (showing)
        return show(&context, argv[0], common->json, err);
    if (argc == 1 && store_vm_find(context.store, argv[0], &vm, err) < 0)
        return -1;
    if (strcmp(word, "list") == 0)
        return list(&context, argc == 1 ? &vm : NULL, common->json, err);
    return check(&context, argc == 1 ? &vm : NULL, strcmp(word, "repair") == 0, common->json, err);
}
