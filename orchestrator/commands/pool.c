/* vmferry pool: add, list, show and remove where replicas lie. */
#include <json.h>
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/human.h"
#include "commands/options.h"
#include "commands/verbs.h"
#include "replica/pool.h"
#include "table.h"

#define DEVICES_MAX 256
#define NAME_MAX_   63

static const char help[] =
    "usage: vmferry pool add dir NAME DIRECTORY\n"
    "       vmferry pool add libvirt NAME POOL [--uri=URI]\n"
    "       vmferry pool add block NAME --device=PATH [--device=PATH ...]\n"
    "       vmferry pool add lvm NAME GROUP\n"
    "       vmferry pool add rbd NAME POOL[/NAMESPACE] [--config=FILE] [--user=NAME]\n"
    "       vmferry pool list [--json]\n"
    "       vmferry pool show NAME [--json]\n"
    "       vmferry pool remove NAME [--json]\n"
    "\n"
    "Without a pool, replicas lie in the state directory, which is the pool 'state'.\n"
    "\n"
    "  --device=PATH          a block device for one disk each\n"
    "  --force-device=PATH    likewise, and what it holds is overwritten\n"
    "  --uri=URI              of libvirt, instead of qemu:///system\n"
    "  --config=FILE          ceph.conf, instead of Ceph's own\n"
    "  --user=NAME            Ceph's client, instead of admin\n"
    "  --json                 for programs\n"
    "  --state=DIR            state directory\n";

struct arguments {
    struct common_options common;
    struct pool_wishes wishes;
    const char *devices[DEVICES_MAX];
    const char *forced[DEVICES_MAX];
};

static int add_device(const char *list[], size_t *count, struct error **err)
{
    if (*count == DEVICES_MAX)
        return error_set_kind(err, ERROR_USAGE, "more than %d devices", DEVICES_MAX);
    list[(*count)++] = optarg;
    return 0;
}

static int parse_option(int c, char *argv[], struct arguments *arguments, struct error **err)
{
    struct pool_wishes *wishes = &arguments->wishes;

    switch (c) {
    case 'd':
        return add_device(arguments->devices, &wishes->device_count, err);
    case 'F':
        return add_device(arguments->forced, &wishes->forced_count, err);
    case 'u':
        wishes->uri = optarg;
        return 0;
    case 'c':
        wishes->config = optarg;
        return 0;
    case 'U':
        wishes->user = optarg;
        return 0;
    default:
        return common_option(c, argv, &arguments->common, err);
    }
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "device", required_argument, NULL, 'd' },
                                             { "force-device", required_argument, NULL, 'F' },
                                             { "uri", required_argument, NULL, 'u' },
                                             { "config", required_argument, NULL, 'c' },
                                             { "user", required_argument, NULL, 'U' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (parse_option(c, argv, arguments, err) < 0)
            return -1;
    }
    arguments->wishes.devices = arguments->devices;
    arguments->wishes.forced = arguments->forced;
    return 0;
}

static int check_name(const char *name, struct error **err)
{
    if (!*name || strlen(name) > NAME_MAX_ || strpbrk(name, "/ \t\n"))
        return error_set_kind(err, ERROR_USAGE,
                              "'%s' is no name for a pool: 1 to %d characters, no space, no '/'",
                              name, NAME_MAX_);
    if (strcmp(name, "state") == 0)
        return error_set_kind(err, ERROR_USAGE, "'state' is the state directory, always");
    return 0;
}

static int check_new(struct store *store, const char *name, struct error **err)
{
    CLEANUP_ERROR struct error *missing = NULL;
    struct store_pool row;

    if (store_pool_find(store, name, &row, &missing) == 0)
        return error_set(err, "there is a pool '%s' already: %s", name, row.location);
    return missing->errnum == ENOENT ? 0 : error_move(err, &missing);
}

/* A device is in one pool: two would each give it to a disk. */
static int check_devices(struct store *store, const struct store_pool *row, struct error **err)
{
    CLEANUP_FREE struct store_pool *pools = NULL;
    size_t count;

    if (strcmp(row->kind, "block") != 0)
        return 0;
    if (store_pools(store, &pools, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(pools[i].kind, "block") == 0 && pool_share_device(&pools[i], row, err) < 0)
            return -1;
    }
    return 0;
}

/* For the audit log. */
#define POOL_TEXT (sizeof(struct store_pool) + 16)
static const char *pool_text(const struct store_pool *row, char text[POOL_TEXT])
{
    snprintf(text, POOL_TEXT, "%s %s %s", row->kind, row->location, row->options);
    return text;
}

static int write_pool(struct store *store, void *opaque, struct error **err)
{
    struct store_pool *row = opaque;
    char text[POOL_TEXT];

    if (check_devices(store, row, err) < 0 || store_pool_add(store, row, err) < 0)
        return -1;
    return store_audit(store, "pool add", row->name, NULL, pool_text(row, text), err);
}

/* One pool with what can be found out about it now. */
struct look {
    struct pool pool;
    struct pool_space space;
    struct error *problem; /* NULL: it can be used */
    size_t vms;
};

static void look_free(struct look *look)
{
    error_free(look->problem);
}

/* `row` NULL: the state directory. */
static int look_at(struct context *context, const struct store_pool *row, struct look *look,
                   struct error **err)
{
    CLEANUP_FREE int64_t *vms = NULL;

    *look = (struct look){ 0 };
    if (row ? pool_open_row(row, context->state_dir, &look->pool, &look->problem) == 0
            : pool_open(context->store, context->state_dir, 0, &look->pool, &look->problem) == 0)
        pool_space(&look->pool, &look->space, &look->problem);
    return store_pool_vms(context->store, row ? row->id : 0, &vms, &look->vms, err);
}

static json_object *to_json(const struct store_pool *row, const struct look *look,
                            const char *state_dir)
{
    json_object *object = json_object_new_object();

    json_object_object_add(object, "name", json_object_new_string(row ? row->name : "state"));
    json_object_object_add(object, "kind", json_object_new_string(row ? row->kind : "state"));
    json_object_object_add(object, "location",
                           json_object_new_string(row ? row->location : state_dir));
    json_object_object_add(object, "total",
                           look->problem ? NULL : json_object_new_uint64(look->space.total));
    json_object_object_add(object, "free",
                           look->problem ? NULL : json_object_new_uint64(look->space.free));
    json_object_object_add(object, "vms", json_object_new_uint64(look->vms));
    json_object_object_add(object, "problem",
                           look->problem ? json_object_new_string(error_message(look->problem))
                                         : NULL);
    if (row)
        json_object_object_add(object, "options", json_tokener_parse(row->options));
    return object;
}

static void add_row(struct table *table, const struct store_pool *row, const struct look *look,
                    const char *state_dir)
{
    char bytes[HUMAN_MAX];
    bool known = !look->problem;

    table_cell(table, "%s", row ? row->name : "state");
    table_cell(table, "%s", row ? row->kind : "state");
    table_cell(table, "%s", row ? row->location : state_dir);
    table_cell(table, "%s", known ? human_bytes(bytes, look->space.total) : "");
    table_cell(table, "%s", known ? human_bytes(bytes, look->space.free) : "");
    table_cell(table, "%zu", look->vms);
    table_cell(table, "%s", known ? "" : error_message(look->problem));
}

static int print_pool_json(struct context *context, const struct store_pool *row,
                           struct error **err)
{
    CLEANUP(look_free) struct look look = { 0 };

    return look_at(context, row, &look, err) < 0
               ? -1
               : print_json(to_json(row, &look, context->state_dir), err);
}

static int add(struct context *context, void *opaque, char *words[], struct error **err)
{
    const struct arguments *arguments = opaque;
    struct pool_wishes wishes = arguments->wishes;
    struct store_pool row = { 0 };

    snprintf(row.kind, sizeof row.kind, "%s", words[0]);
    snprintf(row.name, sizeof row.name, "%s", words[1]);
    wishes.location = words[2];
    if (check_name(words[1], err) < 0 || check_new(context->store, row.name, err) < 0 ||
        pool_describe(&row, &wishes, err) < 0 ||
        store_transaction(context->store, write_pool, &row, err) < 0)
        return -1;
    return arguments->common.json ? print_pool_json(context, &row, err) : 0;
}

static int list(struct context *context, void *opaque, char *words[], struct error **err)
{
    bool json = ((const struct arguments *)opaque)->common.json;
    CLEANUP_TABLE struct table table =
        TABLE("NAME", "KIND", "LOCATION", ">SIZE", ">FREE", ">VMS", "?PROBLEM");
    CLEANUP_FREE struct store_pool *pools = NULL;
    json_object *array;
    size_t count;

    (void)words;
    if (store_pools(context->store, &pools, &count, err) < 0)
        return -1;
    array = json_object_new_array();
    for (size_t i = 0; i <= count; i++) {
        const struct store_pool *row = i ? &pools[i - 1] : NULL;
        CLEANUP(look_free) struct look look;

        if (look_at(context, row, &look, err) < 0) {
            json_object_put(array);
            return -1;
        }
        if (json)
            json_object_array_add(array, to_json(row, &look, context->state_dir));
        else
            add_row(&table, row, &look, context->state_dir);
    }
    if (json)
        return print_json(array, err);
    json_object_put(array);
    table_print(&table, stdout);
    return 0;
}

static int print_vms(struct context *context, int64_t pool_id, struct error **err)
{
    CLEANUP_FREE int64_t *ids = NULL;
    CLEANUP_FREE struct store_vm *vms = NULL;
    size_t count, vm_count;

    if (store_pool_vms(context->store, pool_id, &ids, &count, err) < 0 ||
        store_vms(context->store, &vms, &vm_count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < vm_count; j++) {
            if (vms[j].id == ids[i])
                printf("vm        %s (%s)\n", vms[j].name, vms[j].uuid);
        }
    }
    return 0;
}

static void print_devices(const struct store_pool *row)
{
    json_object *options = json_tokener_parse(row->options);
    json_object *devices = json_object_object_get(options, "devices");

    for (size_t i = 0; devices && i < json_object_array_length(devices); i++) {
        json_object *device = json_object_array_get_idx(devices, i);
        const char *image = json_object_get_string(json_object_object_get(device, "image"));
        char bytes[HUMAN_MAX];

        printf("device    %s (%s): %s\n",
               json_object_get_string(json_object_object_get(device, "path")),
               human_bytes(bytes, json_object_get_uint64(json_object_object_get(device, "size"))),
               image ? image : "free");
    }
    json_object_put(options);
}

static int show(struct context *context, void *opaque, char *words[], struct error **err)
{
    const struct arguments *arguments = opaque;
    CLEANUP(look_free) struct look look = { 0 };
    struct store_pool row = { 0 };
    const char *name = words[0];
    bool state = strcmp(name, "state") == 0;
    char bytes[HUMAN_MAX];

    if (!state && store_pool_find(context->store, name, &row, err) < 0)
        return -1;
    if (arguments->common.json)
        return print_pool_json(context, state ? NULL : &row, err);
    if (look_at(context, state ? NULL : &row, &look, err) < 0)
        return -1;
    printf("name      %s\nkind      %s\nlocation  %s\n", name, state ? "state" : row.kind,
           state ? context->state_dir : row.location);
    if (look.problem) {
        printf("problem   %s\n", error_message(look.problem));
    } else {
        printf("size      %s\n", human_bytes(bytes, look.space.total));
        printf("free      %s\n", human_bytes(bytes, look.space.free));
    }
    if (!state && strcmp(row.kind, "block") == 0)
        print_devices(&row);
    return print_vms(context, row.id, err);
}

static int drop_pool(struct store *store, void *opaque, struct error **err)
{
    char text[POOL_TEXT];
    CLEANUP_FREE int64_t *vms = NULL;
    const char *name = opaque;
    struct store_pool row;
    size_t count;

    if (store_pool_find(store, name, &row, err) < 0 ||
        store_pool_vms(store, row.id, &vms, &count, err) < 0)
        return -1;
    if (count > 0)
        return error_set(err,
                         "the replicas of %zu VM%s lie in pool '%s'; `vmferry pool show %s` "
                         "names them",
                         count, count == 1 ? "" : "s", name, name);
    if (store_pool_remove(store, row.id, err) < 0)
        return -1;
    return store_audit(store, "pool remove", name, pool_text(&row, text), NULL, err);
}

static int remove_pool(struct context *context, void *opaque, char *words[], struct error **err)
{
    const struct arguments *arguments = opaque;

    if (store_transaction(context->store, drop_pool, words[0], err) < 0)
        return -1;
    return arguments->common.json ? print_done("pool", words[0], "removed", err) : 0;
}

static const struct verb verbs[] = {
    { "add", 2, 3, "vmferry pool add KIND NAME [LOCATION]", add },
    { "list", 0, 0, "vmferry pool list", list },
    { "show", 1, 1, "vmferry pool show NAME", show },
    { "remove", 1, 1, "vmferry pool remove NAME", remove_pool },
};

int command_pool(int argc, char *argv[], struct error **err)
{
    struct arguments arguments = { 0 };

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    return run_verb(verbs, sizeof verbs / sizeof verbs[0], &arguments.common, &arguments, argc,
                    argv, err);
}
