/* vmferry source: add, list, refresh and remove where VMs come from. */
#include <json.h>
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "commands/source-nbd.h"
#include "commands/source-vsphere.h"
#include "commands/verbs.h"
#include "job/connect.h"
#include "job/discover.h"
#include "log/log.h"
#include "table.h"

static const char help[] =
    "usage: vmferry source add nbd NAME --file FILE|DIRECTORY [--hook COMMAND]\n"
    "       vmferry source add vsphere NAME --server HOST[:PORT] --user USER [OPTIONS]\n"
    "       vmferry source list [--json]\n"
    "       vmferry source check NAME [--json]\n"
    "       vmferry source refresh [NAME] [--json]\n"
    "       vmferry source remove NAME [--json]\n"
    "\n"
    "  --file=PATH            description of one VM (JSON), or a directory of files *.json\n"
    "  --hook=COMMAND         absolute path of a program that holds a moment of a VM for each\n"
    "                         sync, and has its power: see vmferry-source(1)\n"
    "  --hook-timeout=SECONDS that each of its calls may take\n"
    "  --json                 for programs\n"
    "  --state=DIR            state directory\n"
    "\n"
    "Of vsphere (vCenter, or one ESXi host):\n"
    "  --server=HOST[:PORT]\n"
    "  --user=USER\n"
    "  --password-file=FILE   of mode 0600; else VMFERRY_PASSWORD, or the terminal\n"
    "  --ca-file=FILE         PEM of the CA that signed the server's certificate\n"
    "  --fingerprint=HEX      SHA-256 of the server's certificate, which is then pinned\n"
    "  --transport=auto|vddk|https|ssh\n"
    "                         how disks are read\n"
    "  --vddk-libdir=DIR      of VMware's library; --vddk-transports=LIST (nbdssl:nbd)\n"
    "  --vddk-compression=none|zlib|fastlz|skipz\n"
    "  --ssh-user=USER        on the ESXi host (root); --ssh-identity=FILE of a private key\n"
    "  --ssh-host=HOST        instead of the host that runs the VM; --ssh-port=PORT\n"
    "  --ssh-known-hosts=FILE instead of ~/.ssh/known_hosts\n";

struct arguments {
    struct common_options common;
    struct nbd_arguments nbd;
    struct vsphere_arguments vsphere;
};

/* A large inventory has VMs that can't be written down: with no uuid, as their host does not
 * answer, or that another source brought. They don't stand in the others' way. */
static int discover_one(struct store *store, int64_t source_id, const struct source *source,
                        const struct vm_spec *spec, size_t *passed_over, struct error **err)
{
    CLEANUP_ERROR struct error *refused = NULL;
    struct store_vm vm;

    if (!source->kind->resolve)
        return job_discover(store, source_id, spec, &vm, err);
    if (spec->uuid[0] && job_discover(store, source_id, spec, &vm, &refused) == 0)
        return 0;
    if (refused && refused->errnum != EEXIST)
        return error_move(err, &refused);
    ++*passed_over;
    log_warning("source", "'%s' is passed over: %s", spec->path[0] ? spec->path : spec->name,
                spec->uuid[0] ? error_message(refused) : "nothing is known of it now");
    return 0;
}

struct discovery {
    int64_t source_id;
    struct source *source;
    struct spec_list list;
    size_t passed_over;
};

static int write_down(struct store *store, void *opaque, struct error **err)
{
    struct discovery *d = opaque;

    d->passed_over = 0;
    for (size_t i = 0; i < d->list.count; i++) {
        if (discover_one(store, d->source_id, d->source, &d->list.specs[i], &d->passed_over, err) <
            0)
            return -1;
    }
    return 0;
}

static void free_discovery(struct discovery *d)
{
    spec_list_free(&d->list);
}

/* What became of it; `json` NULL: said to people. */
static void report(const struct discovery *d, json_object **json)
{
    size_t count = d->list.count - d->passed_over;
    const char *name = d->source->settings->name;

    if (!json) {
        printf("source '%s': %zu VM%s\n", name, count, count == 1 ? "" : "s");
        return;
    }
    *json = json_object_new_object();
    json_object_object_add(*json, "source", json_object_new_string(name));
    json_object_object_add(*json, "vms", json_object_new_uint64(count));
    json_object_object_add(*json, "passed_over", json_object_new_uint64(d->passed_over));
}

/* Write down all VMs of an open source, in one transaction. */
static int discover(struct store *store, int64_t source_id, struct source *source,
                    json_object **json, struct error **err)
{
    CLEANUP(free_discovery)
    struct discovery d = { .source_id = source_id, .source = source };

    if (source->kind->list(source, NULL, &d.list, err) < 0 ||
        store_transaction(store, write_down, &d, err) < 0)
        return -1;
    report(&d, json);
    return 0;
}

static int refresh(const struct context *context, int64_t source_id, json_object **json,
                   struct error **err)
{
    CLEANUP_CONNECTION struct connection from = { 0 };

    if (connection_open(context->store, source_id, context->state_dir, &from, err) < 0)
        return -1;
    return discover(context->store, source_id, from.source, json, err);
}

static int refresh_and_print(const struct context *context, int64_t source_id, bool json,
                             struct error **err)
{
    json_object *object = NULL;

    if (refresh(context, source_id, json ? &object : NULL, err) < 0)
        return -1;
    return object ? print_json(object, err) : 0;
}

static int write_new(struct store *store, void *source, struct error **err)
{
    return store_source_add(store, source, err) < 0
               ? -1
               : store_audit_source(store, "source add", NULL, source, err);
}

struct change {
    const struct store_source *before, *after;
};

static int write_change(struct store *store, void *opaque, struct error **err)
{
    const struct change *change = opaque;

    if (store_source_set_options(store, change->before->id, change->after->options, err) < 0)
        return -1;
    return store_audit_source(store, "source options", change->before, change->after, err);
}

static int change_options(struct store *store, const struct store_source *before,
                          const struct store_source *after, struct error **err)
{
    struct change change = { .before = before, .after = after };

    if (strcmp(before->options, after->options) == 0)
        return 0;
    return store_transaction(store, write_change, &change, err);
}

/* A source that can't be read is never added. */
static int add_new(const struct context *context, struct store_source *source, bool json,
                   struct error **err)
{
    CLEANUP_ERROR struct error *ignored = NULL;

    if (store_transaction(context->store, write_new, source, err) < 0)
        return -1;
    if (refresh_and_print(context, source->id, json, err) == 0)
        return 0;
    store_source_remove(context->store, source->id, &ignored);
    return -1;
}

/* The same again is a refresh; with other options, if they work. */
static int add_again(const struct context *context, const struct store_source *known,
                     const struct store_source *source, bool json, struct error **err)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    struct store_source changed = *known;

    if (strcmp(known->kind, source->kind) != 0 || strcmp(known->location, source->location) != 0)
        return error_set(err, "there is a source '%s' already, at %s", known->name,
                         known->location);
    memcpy(changed.options, source->options, sizeof changed.options);
    if (change_options(context->store, known, &changed, err) < 0)
        return -1;
    if (refresh_and_print(context, known->id, json, err) == 0)
        return 0;
    change_options(context->store, &changed, known, &ignored);
    return -1;
}

static int describe(struct arguments *arguments, struct store_source *source, struct error **err)
{
    bool nbd = strcmp(source->kind, source_nbd.name) == 0;

    if (nbd ? arguments->vsphere.given : arguments->nbd.given)
        return error_set_kind(err, ERROR_USAGE,
                              "an option of another kind of source was given; --help says which "
                              "belong to %s",
                              source->kind);
    return nbd ? nbd_describe(&arguments->nbd, source, err)
               : vsphere_describe(&arguments->vsphere, source, err);
}

static int add(struct context *context, void *opaque, char *words[], struct error **err)
{
    struct arguments *arguments = opaque;
    bool json = arguments->common.json;
    CLEANUP_ERROR struct error *unknown = NULL;
    const struct source_kind *kind;
    struct store_source source = { 0 }, known;

    if (source_kind_find(words[0], &kind, err) < 0)
        return -1;
    if (!words[1][0] || strlen(words[1]) >= sizeof source.name)
        return error_set_kind(err, ERROR_USAGE, "the source's name is empty or too long");
    strcpy(source.kind, kind->name);
    strcpy(source.name, words[1]);
    if (describe(arguments, &source, err) < 0)
        return -1;
    if (store_source_find(context->store, source.name, &known, &unknown) == 0)
        return add_again(context, &known, &source, json, err);
    return unknown->errnum == ENOENT ? add_new(context, &source, json, err)
                                     : error_move(err, &unknown);
}

static int list(struct context *context, void *opaque, char *words[], struct error **err)
{
    const struct arguments *arguments = opaque;
    CLEANUP_TABLE struct table table = TABLE("NAME", "KIND", "LOCATION", "ADDED");
    CLEANUP_FREE struct store_source *sources = NULL;
    json_object *array;
    size_t count;

    (void)words;
    if (store_sources(context->store, &sources, &count, err) < 0)
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
    if (arguments->common.json)
        return print_json(array, err);
    json_object_put(array);
    table_print(&table, stdout);
    return 0;
}

static void put_json(json_object **json)
{
    json_object_put(*json);
}

static int refresh_all(struct context *context, bool json, struct error **err)
{
    CLEANUP_FREE struct store_source *sources = NULL;
    CLEANUP(put_json) json_object *array = json_object_new_array();
    size_t count;

    if (store_sources(context->store, &sources, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        json_object *object = NULL;

        if (refresh(context, sources[i].id, json ? &object : NULL, err) < 0)
            return error_prefix(err, "source '%s'", sources[i].name);
        if (object)
            json_object_array_add(array, object);
    }
    return json ? print_json(json_object_get(array), err) : 0;
}

static int refresh_some(struct context *context, void *opaque, char *words[], struct error **err)
{
    bool json = ((const struct arguments *)opaque)->common.json;
    struct store_source source;

    if (!words[0])
        return refresh_all(context, json, err);
    return store_source_find(context->store, words[0], &source, err) < 0
               ? -1
               : refresh_and_print(context, source.id, json, err);
}

static int print_check(const struct store_source *source, const char *about, bool json,
                       struct error **err)
{
    json_object *object;

    if (!json) {
        printf("source '%s': %s\n", source->name, about);
        return 0;
    }
    object = json_object_new_object();
    json_object_object_add(object, "source", json_object_new_string(source->name));
    json_object_object_add(object, "kind", json_object_new_string(source->kind));
    json_object_object_add(object, "about", json_object_new_string(about));
    return print_json(object, err);
}

static int check(struct context *context, void *opaque, char *words[], struct error **err)
{
    const struct arguments *arguments = opaque;
    CLEANUP_CONNECTION struct connection from = { 0 };
    CLEANUP_SPECS struct spec_list list = { 0 };
    struct store_source source;
    char about[SOURCE_ABOUT];

    if (store_source_find(context->store, words[0], &source, err) < 0 ||
        connection_open(context->store, source.id, context->state_dir, &from, err) < 0)
        return -1;
    if (from.source->kind->check) {
        if (from.source->kind->check(from.source, about, err) < 0)
            return error_prefix(err, "source '%s'", source.name);
    } else {
        if (from.source->kind->list(from.source, NULL, &list, err) < 0)
            return error_prefix(err, "source '%s'", source.name);
        snprintf(about, sizeof about, "%zu VM%s at %.400s", list.count, list.count == 1 ? "" : "s",
                 source.location);
    }
    return print_check(&source, about, arguments->common.json, err);
}

static int remove_source(struct context *context, void *opaque, char *words[], struct error **err)
{
    const struct arguments *arguments = opaque;
    struct store_source source;

    if (store_source_find(context->store, words[0], &source, err) < 0)
        return -1;
    if (store_source_remove(context->store, source.id, err) < 0)
        return error_prefix(err, "source '%s'", source.name);
    return arguments->common.json ? print_done("source", source.name, "removed", err) : 0;
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { NBD_OPTIONS, VSPHERE_OPTIONS, COMMON_OPTIONS };
    int c, r;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":f:", options, NULL)) != -1) {
        r = nbd_option(c, optarg, &arguments->nbd, err);
        if (r == 0)
            r = vsphere_option(c, optarg, &arguments->vsphere, err);
        if (r < 0 || (r == 0 && common_option(c, argv, &arguments->common, err) < 0))
            return -1;
    }
    return 0;
}

static const struct verb verbs[] = {
    { "add", 2, 2, "vmferry source add nbd|vsphere NAME …", add },
    { "list", 0, 0, "vmferry source list", list },
    { "check", 1, 1, "vmferry source check NAME", check },
    { "refresh", 0, 1, "vmferry source refresh [NAME]", refresh_some },
    { "remove", 1, 1, "vmferry source remove NAME", remove_source },
};

int command_source(int argc, char *argv[], struct error **err)
{
    struct arguments arguments = { 0 };

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    return run_verb(verbs, sizeof verbs / sizeof verbs[0], &arguments.common, &arguments, argc,
                    argv, err);
}
