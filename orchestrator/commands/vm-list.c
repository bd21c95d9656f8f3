/* Listing VMs; see vm-list.h. */
#include "commands/vm-list.h"

#include <json.h>
#include <string.h>

#include "commands/human.h"
#include "commands/options.h"
#include "commands/watch.h"
#include "job/connect.h"
#include "table.h"

static int find_pool(struct store *store, int64_t vm_id, struct vm_summary *summary,
                     struct error **err)
{
    struct store_pool pool;
    int64_t id;
    bool has;

    if (store_vm_pool(store, vm_id, &id, err) < 0 ||
        store_vm_has_points(store, vm_id, &has, err) < 0)
        return -1;
    if (!has)
        return 0;
    strcpy(summary->pool, "state");
    if (id == 0)
        return 0;
    if (store_pool_get(store, id, &pool, err) < 0)
        return -1;
    memcpy(summary->pool, pool.name, sizeof summary->pool);
    return 0;
}

int vm_summarize(struct store *store, int64_t vm_id, struct vm_summary *summary, struct error **err)
{
    CLEANUP_FREE struct store_disk *disks = NULL;
    CLEANUP_FREE struct store_point *points = NULL;
    size_t count;

    *summary = (struct vm_summary){ 0 };
    if (store_disks(store, vm_id, &disks, &summary->disks, err) < 0 ||
        store_points(store, vm_id, &points, &count, err) < 0 ||
        find_pool(store, vm_id, summary, err) < 0)
        return -1;
    for (size_t i = 0; i < summary->disks; i++)
        summary->capacity += disks[i].capacity;
    summary->points = (unsigned)count;
    if (count)
        summary->newest_ms = points[count - 1].completed_ms;
    return 0;
}

struct listing {
    struct table table;
    json_object *array;
};

static void listing_free(struct listing *listing)
{
    table_free(&listing->table);
    json_object_put(listing->array);
}

static void put(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, *text ? json_object_new_string(text) : NULL);
}

static void put_int(json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

static void add_json(struct listing *listing, const struct store_vm *vm, const struct vm_spec *spec,
                     const struct vm_summary *summary)
{
    const struct spec_inventory *inventory = &spec->inventory;
    json_object *object = json_object_new_object();

    put(object, "uuid", vm->uuid);
    put(object, "name", vm->name);
    put(object, "path", vm->path);
    put(object, "source", vm->source);
    put(object, "state", vm->state);
    put_int(object, "disks", (int64_t)summary->disks);
    put_int(object, "capacity", (int64_t)summary->capacity);
    put_int(object, "points", summary->points);
    put_int(object, "newest_point_ms", summary->newest_ms);
    put(object, "id", inventory->id);
    put(object, "power", inventory->power);
    json_object_object_add(
        object, "used", inventory->used ? json_object_new_int64((int64_t)inventory->used) : NULL);
    put(object, "tracking", inventory->tracking);
    put(object, "tools", inventory->tools);
    put(object, "guest", inventory->guest);
    put(object, "host", inventory->host);
    json_object_array_add(listing->array, object);
}

static void add_row(struct listing *listing, const struct store_vm *vm, const struct vm_spec *spec,
                    const struct vm_summary *summary)
{
    const struct spec_inventory *inventory = &spec->inventory;
    struct table *table = &listing->table;
    char bytes[HUMAN_MAX], time[TIME_TEXT];

    add_json(listing, vm, spec, summary);
    table_cell(table, "%s", vm->name);
    table_cell(table, "%s", vm->state);
    table_cell(table, "%s", inventory->power);
    table_cell(table, "%zu", summary->disks);
    table_cell(table, "%s", human_bytes(bytes, summary->capacity));
    table_cell(table, "%s", inventory->used ? human_bytes(bytes, inventory->used) : "");
    table_cell(table, "%s", inventory->tracking);
    table_cell(table, "%s", inventory->tools);
    table_cell(table, "%u", summary->points);
    table_cell(table, "%s", time_text(time, summary->newest_ms));
    table_cell(table, "%s", vm->source);
    table_cell(table, "%s", vm->uuid);
    table_cell(table, "%s", vm->path);
}

/* Those that are written down, as they were then. */
static int list_known(struct store *store, const struct source_filter *filter,
                      struct listing *listing, struct error **err)
{
    CLEANUP_FREE struct store_vm *vms = NULL;
    size_t count;

    if (store_vms(store, &vms, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        CLEANUP_SPEC struct vm_spec spec = { 0 };
        CLEANUP_FREE char *json = NULL;
        struct vm_summary summary;

        if (!source_filter_fits(filter, vms[i].name, vms[i].path))
            continue;
        if (store_vm_spec(store, vms[i].id, &json, err) < 0 ||
            spec_parse_stored(json, "the stored description", &spec, err) < 0 ||
            vm_summarize(store, vms[i].id, &summary, err) < 0)
            return error_prefix(err, "'%s'", vms[i].name);
        add_row(listing, &vms[i], &spec, &summary);
    }
    return 0;
}

/* What is offered now, with what the store knows of it. */
static int add_offered(struct store *store, const char *source, const struct vm_spec *spec,
                       struct listing *listing, struct error **err)
{
    CLEANUP_ERROR struct error *unknown = NULL;
    struct vm_summary summary = { 0 };
    struct store_vm vm = { 0 };

    if (!spec->uuid[0] || store_vm_by_uuid(store, spec->uuid, &vm, &unknown) < 0) {
        if (unknown && unknown->errnum != ENOENT)
            return error_move(err, &unknown);
        snprintf(vm.uuid, sizeof vm.uuid, "%s", spec->uuid);
    } else if (vm_summarize(store, vm.id, &summary, err) < 0) {
        return -1;
    }
    snprintf(vm.source, sizeof vm.source, "%s", source);
    snprintf(vm.name, sizeof vm.name, "%s", spec->name);
    snprintf(vm.path, sizeof vm.path, "%s", spec->path);
    summary.disks = spec->disk_count;
    summary.capacity = 0;
    for (size_t i = 0; i < spec->disk_count; i++)
        summary.capacity += spec->disks[i].capacity;
    add_row(listing, &vm, spec, &summary);
    return 0;
}

static int list_source(struct context *context, const char *name,
                       const struct source_filter *filter, struct listing *listing,
                       struct error **err)
{
    CLEANUP_CONNECTION struct connection from = { .settings = { .cancel = cancel_on_signals() } };
    CLEANUP_SPECS struct spec_list list = { 0 };
    struct store_source source;

    if (store_source_find(context->store, name, &source, err) < 0 ||
        connection_open(context->store, source.id, context->state_dir, &from, err) < 0)
        return -1;
    if (from.source->kind->list(from.source, filter, &list, err) < 0)
        return error_prefix(err, "source '%s'", name);
    for (size_t i = 0; i < list.count; i++) {
        if (add_offered(context->store, name, &list.specs[i], listing, err) < 0)
            return -1;
    }
    return 0;
}

int vm_list(struct context *context, const char *source, const struct source_filter *filter,
            bool json, struct error **err)
{
    CLEANUP(listing_free)
    struct listing listing = {
        .table = TABLE("NAME", "STATE", "?POWER", ">DISKS", ">CAPACITY", "?>USED", "?CBT", "?TOOLS",
                       ">POINTS", "NEWEST POINT", "SOURCE", "UUID", "?PATH"),
        .array = json_object_new_array(),
    };

    if ((source ? list_source(context, source, filter, &listing, err)
                : list_known(context->store, filter, &listing, err)) < 0)
        return -1;
    if (json)
        return print_json(steal_ptr(listing.array), err);
    table_print(&listing.table, stdout);
    return 0;
}
