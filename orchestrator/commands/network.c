/* vmferry network: where the NICs of a source's VMs go, or of one VM. */
#include <json.h>
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "commands/verbs.h"
#include "failover/netmap.h"
#include "log/log.h"
#include "source/spec.h"
#include "table.h"

static const char help[] =
    "usage: vmferry network map SOURCE|VM NETWORK = TARGET\n"
    "       vmferry network unmap SOURCE|VM NETWORK\n"
    "       vmferry network list [SOURCE|VM]\n"
    "       vmferry network check VM\n"
    "\n"
    "NETWORK is the source's name of it, or the MAC address of a NIC of the VM. TARGET is\n"
    "net:NAME (of libvirt), bridge:NAME (of the host), isolated (a network that leads\n"
    "nowhere) or none (the VM gets no such NIC). A VM's own mapping wins.\n"
    "\n"
    "  --source          SOURCE|VM is a source (where both have this name)\n"
    "  --vm              SOURCE|VM is a VM\n"
    "  --json            for programs\n"
    "  --state=DIR       state directory\n";

#define MAP_USAGE "vmferry network map SOURCE|VM NETWORK = TARGET (with blanks around the =)"

struct arguments {
    struct common_options common;
    bool is_source, is_vm;
};

/* Whose mapping: one of the two. */
struct owner {
    struct store_source source;
    struct store_vm vm;
    bool is_vm;
};

static int find_owner(struct store *store, const char *name, const struct arguments *arguments,
                      struct owner *owner, struct error **err)
{
    CLEANUP_ERROR struct error *no_source = NULL;
    CLEANUP_ERROR struct error *no_vm = NULL;
    bool source =
        !arguments->is_vm && store_source_find(store, name, &owner->source, &no_source) == 0;
    bool vm = !arguments->is_source && store_vm_find(store, name, &owner->vm, &no_vm) == 0;

    if (source && vm)
        return error_set_kind(err, ERROR_USAGE, "'%s' is a source and a VM; say --source or --vm",
                              name);
    owner->is_vm = vm;
    if (source || vm)
        return 0;
    if (arguments->is_source)
        return error_move(err, &no_source);
    if (arguments->is_vm || no_vm->errnum != ENOENT)
        return error_move(err, &no_vm);
    return error_set(err,
                     "there is no source and no VM '%s' (`vmferry source list`, `vmferry vm "
                     "list`)",
                     name);
}

static const char *name_of(const struct owner *owner)
{
    return owner->is_vm ? owner->vm.name : owner->source.name;
}

static int vm_spec(struct store *store, const struct store_vm *vm, struct vm_spec *spec,
                   struct error **err)
{
    CLEANUP_FREE char *json = NULL;

    if (store_vm_spec(store, vm->id, &json, err) < 0)
        return -1;
    return spec_parse_stored(json, vm->name, spec, err);
}

/* Whether a NIC of the owner's VMs has it; a name that none has is likely mistyped. */
static int is_known(struct store *store, const struct owner *owner, const char *network,
                    bool *known, struct error **err)
{
    CLEANUP_FREE struct store_vm *vms = NULL;
    size_t count;

    *known = false;
    if (store_vms(store, &vms, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count && !*known; i++) {
        CLEANUP_SPEC struct vm_spec spec = { 0 };

        if (owner->is_vm ? vms[i].id != owner->vm.id : vms[i].source_id != owner->source.id)
            continue;
        if (vm_spec(store, &vms[i], &spec, err) < 0)
            return -1;
        for (size_t j = 0; j < spec.nic_count; j++)
            *known |= strcmp(spec.nics[j].network, network) == 0 ||
                      (owner->is_vm && strcmp(spec.nics[j].mac, network) == 0);
    }
    return 0;
}

/* What is written down: found again after a crash, and told by the audit. */
struct change {
    struct owner *owner;
    struct store_netmap netmap;
    bool remove, found;
    char before[STORE_NAME];
};

static int write_change(struct store *store, void *opaque, struct error **err)
{
    struct change *change = opaque;
    CLEANUP_FREE struct store_netmap *all = NULL;
    const struct store_netmap *wanted = &change->netmap;
    char subject[2 * STORE_NAME + 8];
    size_t count;

    change->before[0] = '\0';
    if (store_netmaps(store, &all, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (all[i].vm_id == wanted->vm_id && all[i].source_id == wanted->source_id &&
            strcmp(all[i].network, wanted->network) == 0)
            strcpy(change->before, all[i].target);
    }
    snprintf(subject, sizeof subject, "%s: %s", name_of(change->owner), wanted->network);
    if (change->remove ? store_netmap_remove(store, wanted, &change->found, err) < 0
                       : store_netmap_set(store, &change->netmap, err) < 0)
        return -1;
    return store_audit_vm(store, wanted->vm_id, change->remove ? "network unmap" : "network map",
                          subject, change->before, change->remove ? NULL : wanted->target, err);
}

static int start_change(struct owner *owner, const char *network, struct change *change,
                        struct error **err)
{
    *change = (struct change){ .owner = owner };
    change->netmap.source_id = owner->is_vm ? 0 : owner->source.id;
    change->netmap.vm_id = owner->is_vm ? owner->vm.id : 0;
    if (!network[0] || strlen(network) >= sizeof change->netmap.network)
        return error_set_kind(err, ERROR_USAGE, "'%s' can't be the name of a network", network);
    strcpy(change->netmap.network, network);
    return 0;
}

static int print_change(const struct change *change, bool json, struct error **err)
{
    const struct owner *owner = change->owner;
    const struct store_netmap *netmap = &change->netmap;
    json_object *object;

    if (!json && change->remove)
        printf("%s: '%s' is mapped to nothing any more\n", name_of(owner), netmap->network);
    else if (!json)
        printf("%s: '%s' = %s\n", name_of(owner), netmap->network, netmap->target);
    if (!json)
        return 0;
    object = json_object_new_object();
    json_object_object_add(object, owner->is_vm ? "vm" : "source",
                           json_object_new_string(name_of(owner)));
    json_object_object_add(object, "network", json_object_new_string(netmap->network));
    json_object_object_add(object, "target",
                           change->remove ? NULL : json_object_new_string(netmap->target));
    return print_json(object, err);
}

static int map(struct context *context, void *opaque, char *args[], struct error **err)
{
    const struct arguments *arguments = opaque;
    struct net_target target;
    struct owner owner;
    struct change change;
    bool known;

    if (strcmp(args[2], "=") != 0)
        return error_set_kind(err, ERROR_USAGE, "usage: " MAP_USAGE);
    if (net_target_parse(args[3], &target, err) < 0 ||
        find_owner(context->store, args[0], arguments, &owner, err) < 0 ||
        start_change(&owner, args[1], &change, err) < 0 ||
        is_known(context->store, &owner, args[1], &known, err) < 0)
        return -1;
    net_target_text(&target, change.netmap.target);
    if (store_transaction(context->store, write_change, &change, err) < 0)
        return -1;
    if (!known)
        log_warning("failover",
                    "no NIC of %s is in a network '%s' now; `vmferry network list %s` shows those "
                    "that there are",
                    name_of(&owner), args[1], args[0]);
    return print_change(&change, arguments->common.json, err);
}

static int unmap(struct context *context, void *opaque, char *args[], struct error **err)
{
    const struct arguments *arguments = opaque;
    struct owner owner;
    struct change change;

    if (find_owner(context->store, args[0], arguments, &owner, err) < 0 ||
        start_change(&owner, args[1], &change, err) < 0)
        return -1;
    change.remove = true;
    if (store_transaction(context->store, write_change, &change, err) < 0)
        return -1;
    if (!change.found)
        return error_set(err, "%s has no mapping of '%s' of its own", name_of(&owner), args[1]);
    return print_change(&change, arguments->common.json, err);
}

static void put(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, *text ? json_object_new_string(text) : NULL);
}

/* A line for each NIC of a VM. */
static int list_vm(struct store *store, const struct store_vm *vm, struct table *table,
                   json_object *array, struct error **err)
{
    CLEANUP_NETMAP struct netmap netmap = { 0 };
    CLEANUP_SPEC struct vm_spec spec = { 0 };

    if (vm_spec(store, vm, &spec, err) < 0 || netmap_load(store, vm, &netmap, err) < 0)
        return -1;
    for (size_t i = 0; i < spec.nic_count; i++) {
        const struct spec_nic *nic = &spec.nics[i];
        const struct store_netmap *found = netmap_find(&netmap, vm, nic);
        const char *by = !found ? "" : found->vm_id ? "vm" : "source";
        json_object *object = json_object_new_object();

        put(object, "source", vm->source);
        put(object, "vm", vm->name);
        put(object, "vm_uuid", vm->uuid);
        put(object, "mac", nic->mac);
        put(object, "network", nic->network);
        put(object, "target", found ? found->target : "");
        put(object, "mapped_by", by);
        json_object_array_add(array, object);
        table_cell(table, "%s", vm->source);
        table_cell(table, "%s", vm->name);
        table_cell(table, "%s", nic->mac);
        table_cell(table, "%s", nic->network);
        table_cell(table, "%s", found ? found->target : "");
        table_cell(table, "%s", by);
    }
    return 0;
}

static int list(struct context *context, void *opaque, char *args[], struct error **err)
{
    const struct arguments *arguments = opaque;
    const char *name = args[0];
    CLEANUP_TABLE struct table table =
        TABLE("SOURCE", "VM", "MAC", "NETWORK", "TARGET", "MAPPED BY");
    CLEANUP_FREE struct store_vm *vms = NULL;
    struct owner owner;
    size_t count;
    json_object *array;

    if ((name && find_owner(context->store, name, arguments, &owner, err) < 0) ||
        store_vms(context->store, &vms, &count, err) < 0)
        return -1;
    array = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        if (name && (owner.is_vm ? vms[i].id != owner.vm.id : vms[i].source_id != owner.source.id))
            continue;
        if (list_vm(context->store, &vms[i], &table, array, err) < 0) {
            json_object_put(array);
            return -1;
        }
    }
    if (arguments->common.json)
        return print_json(array, err);
    json_object_put(array);
    table_print(&table, stdout);
    return 0;
}

static json_object *findings_to_json(const struct findings *findings)
{
    json_object *array = json_object_new_array();

    for (size_t i = 0; i < findings->count; i++) {
        json_object *object = json_object_new_object();

        put(object, "level", "blocker");
        put(object, "check", findings->list[i].check);
        put(object, "text", findings->list[i].text);
        put(object, "remedy", findings->list[i].remedy);
        json_object_array_add(array, object);
    }
    return array;
}

/* What a live failover would refuse. */
static int check(struct context *context, void *opaque, char *args[], struct error **err)
{
    const struct arguments *arguments = opaque;
    CLEANUP_FINDINGS struct findings findings = { 0 };
    CLEANUP_NETMAP struct netmap netmap = { 0 };
    CLEANUP_SPEC struct vm_spec spec = { 0 };
    struct store_vm vm;

    if (store_vm_find(context->store, args[0], &vm, err) < 0 ||
        vm_spec(context->store, &vm, &spec, err) < 0 ||
        netmap_load(context->store, &vm, &netmap, err) < 0 ||
        netmap_blockers(&netmap, &vm, &spec, &findings, err) < 0)
        return -1;
    if (arguments->common.json && print_json(findings_to_json(&findings), err) < 0)
        return -1;
    for (size_t i = 0; i < findings.count && !arguments->common.json; i++)
        printf("%s\n  %s\n", findings.list[i].text, findings.list[i].remedy);
    if (findings.count)
        return error_set(err, "%zu NIC%s of %s would be in no network", findings.count,
                         findings.count == 1 ? "" : "s", vm.name);
    if (!arguments->common.json)
        printf("every NIC of %s has its network\n", vm.name);
    return 0;
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "source", no_argument, NULL, 's' },
                                             { "vm", no_argument, NULL, 'v' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 's')
            arguments->is_source = true;
        else if (c == 'v')
            arguments->is_vm = true;
        else if (common_option(c, argv, &arguments->common, err) < 0)
            return -1;
    }
    return 0;
}

static const struct verb verbs[] = {
    { "map", 4, 4, MAP_USAGE, map },
    { "unmap", 2, 2, "vmferry network unmap SOURCE|VM NETWORK", unmap },
    { "list", 0, 1, "vmferry network list [SOURCE|VM]", list },
    { "check", 1, 1, "vmferry network check VM", check },
};

int command_network(int argc, char *argv[], struct error **err)
{
    struct arguments arguments = { 0 };

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    return run_verb(verbs, sizeof verbs / sizeof verbs[0], &arguments.common, &arguments, argc,
                    argv, err);
}
