/* Which VMs there are; see inventory.h. */
#include "source/vsphere/inventory.h"

#include <string.h>

#include "source/vsphere/read.h"
#include "source/vsphere/tree.h"

#define PORTGROUP      "DistributedVirtualPortgroup"
#define PORTGROUP_NAME 128

/* A list being made: the VM whose properties are coming in, and those before it. */
struct listing {
    const struct source_filter *filter;
    struct tree tree;
    struct vsphere_vm now; /* ref.id "" : none yet */
    struct spec_list list;
    struct moref *parents; /* of each in the list */
    bool has_portgroups;   /* whose keys stand for their names so far */
};

static void listing_free(struct listing *listing)
{
    tree_free(&listing->tree);
    vm_free(&listing->now);
    spec_list_free(&listing->list);
    free(listing->parents);
}

static int keep(struct listing *listing, struct error **err)
{
    struct spec_list *list = &listing->list;
    struct vm_spec *specs = list->specs;
    struct moref *parents = listing->parents;

    if ((list->count & (list->count - 1)) == 0) { /* full: its size is a power of two */
        size_t size = list->count ? 2 * list->count : 1;

        specs = reallocarray(list->specs, size, sizeof *specs);
        list->specs = specs ? specs : list->specs;
        parents = reallocarray(listing->parents, size, sizeof *parents);
        listing->parents = parents ? parents : listing->parents;
        if (!specs || !parents)
            return error_set_errno(err, ENOMEM, "reading the inventory");
    }
    parents[list->count] = listing->now.parent;
    specs[list->count++] = listing->now.spec;
    listing->now.spec = (struct vm_spec){ 0 };
    return 0;
}

/* A VM whose hardware makes no sense is no reason not to list the others: it is listed
 * without disks, and what is wrong is said when somebody asks for that VM. */
static int forgive(struct vsphere_vm *vm, struct error **problem, struct error **err)
{
    if ((*problem)->errnum == ENOMEM)
        return error_move(err, problem);
    devices_free(&vm->devices);
    vm->spec.disk_count = 0;
    return 0;
}

/* The VM is complete. In which folder it is will be looked at when all paths are known. */
static int end_vm(struct listing *listing, struct error **err)
{
    const struct source_filter by_name = { .name = listing->filter ? listing->filter->name : NULL };
    CLEANUP_ERROR struct error *senseless = NULL;
    struct vsphere_vm *vm = &listing->now;
    int r = 0;

    if (vm->ref.id[0] && !vm->is_template &&
        source_filter_fits(&by_name, vm->spec.name, vm->spec.path)) {
        for (size_t i = 0; i < vm->devices.nic_count; i++)
            listing->has_portgroups |= vm->devices.nics[i].portgroup[0] != '\0';
        if (vm_finish(vm, &senseless) < 0)
            r = forgive(vm, &senseless, err);
        if (r == 0)
            r = keep(listing, err);
    }
    vm_free(vm);
    return r;
}

static int list_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                         struct error **err)
{
    CLEANUP_ERROR struct error *senseless = NULL;
    struct listing *listing = opaque;

    if (strcmp(object->id, listing->now.ref.id) != 0) {
        if (end_vm(listing, err) < 0)
            return -1;
        listing->now.ref = *object;
    }
    if (vm_take(&listing->now, name, val, &senseless) < 0)
        return forgive(&listing->now, &senseless, err);
    return 0;
}

static int by_path(const void *a, const void *b)
{
    const struct vm_spec *left = a, *right = b;
    int order = strcmp(left->path, right->path);

    return order ? order : strcmp(left->inventory.id, right->inventory.id);
}

/* Paths, and then the filter again. */
static int place(struct session *session, struct listing *listing, struct error **err)
{
    struct spec_list *list = &listing->list;
    size_t kept = 0;

    for (size_t i = 0; i < list->count; i++) {
        struct vm_spec *spec = &list->specs[i];

        if (tree_path(session, &listing->tree, &listing->parents[i], spec->name, spec->path, err) <
            0)
            return -1;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (source_filter_fits(listing->filter, list->specs[i].name, list->specs[i].path))
            list->specs[kept++] = list->specs[i];
        else
            spec_free(&list->specs[i]);
    }
    list->count = kept;
    if (kept)
        qsort(list->specs, kept, sizeof *list->specs, by_path);
    return 0;
}

/* A portgroup by its key, in each NIC that is on it. */
static int portgroup_name(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                          struct error **err)
{
    const struct spec_list *list = opaque;
    char text[PORTGROUP_NAME];

    (void)name, (void)err;
    read_text(val, "", text, sizeof text);
    for (size_t i = 0; text[0] && i < list->count; i++) {
        for (size_t j = 0; j < list->specs[i].nic_count; j++) {
            char *network = list->specs[i].nics[j].network;

            if (strcmp(network, object->id) == 0)
                strcpy(network, text);
        }
    }
    return 0;
}

/* As of one VM, see add_names(): networks are mapped by their names. */
static int name_networks(struct session *session, struct listing *listing, struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;

    if (!listing->has_portgroups ||
        session_all(session, PORTGROUP, "name", portgroup_name, &listing->list, &problem) >= 0 ||
        problem->kind != ERROR_PAUSED)
        return 0;
    return error_move(err, &problem);
}

int inventory_list(struct session *session, const struct source_filter *filter,
                   struct spec_list *list, struct error **err)
{
    CLEANUP(listing_free) struct listing listing = { .filter = filter };

    tree_init(session, &listing.tree);
    if (tree_load(session, &listing.tree, err) < 0 ||
        session_all(session, "VirtualMachine", VM_PATHS, list_property, &listing, err) < 0 ||
        end_vm(&listing, err) < 0 || place(session, &listing, err) < 0 ||
        name_networks(session, &listing, err) < 0)
        return -1;
    *list = listing.list;
    listing.list = (struct spec_list){ 0 };
    return 0;
}

static int vm_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                       struct error **err)
{
    (void)object;
    return vm_take(opaque, name, val, err);
}

struct named {
    char name[PORTGROUP_NAME];
    char product[128];
};

static int name_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                         struct error **err)
{
    struct named *named = opaque;

    (void)object, (void)err;
    if (strcmp(name, "name") == 0)
        read_text(val, "", named->name, sizeof named->name);
    else
        read_text(val, "fullName", named->product, sizeof named->product);
    return 0;
}

/* Names of things beside the VM are nice to have: only a lost connection is an error. */
static int read_names(struct session *session, const struct moref *object, const char *paths,
                      struct named *named, struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;

    *named = (struct named){ 0 };
    if (session_properties(session, object, paths, name_property, named, &problem) >= 0 ||
        problem->kind != ERROR_PAUSED)
        return 0;
    return error_move(err, &problem);
}

int inventory_networks(struct session *session, struct vsphere_devices *devices, struct error **err)
{
    struct named named;

    for (size_t i = 0; i < devices->nic_count; i++) {
        struct vsphere_nic *nic = &devices->nics[i];
        struct moref group = { .type = PORTGROUP };

        if (!nic->portgroup[0] || strlen(nic->portgroup) >= sizeof group.id)
            continue;
        strcpy(group.id, nic->portgroup); /* its key is the object's id, too */
        if (read_names(session, &group, "name", &named, err) < 0)
            return -1;
        strcpy(nic->network, named.name);
    }
    return 0;
}

static int add_names(struct session *session, struct vsphere_vm *vm, struct error **err)
{
    struct spec_inventory *inventory = &vm->spec.inventory;
    struct named named;

    if (vm->host.id[0]) {
        if (read_names(session, &vm->host, "name summary.config.product", &named, err) < 0)
            return -1;
        snprintf(inventory->host, sizeof inventory->host, "%.60s%s%.60s%s", named.name,
                 named.product[0] ? " (" : "", named.product, named.product[0] ? ")" : "");
    }
    return inventory_networks(session, &vm->devices, err);
}

int inventory_vm(struct session *session, const struct moref *ref, struct vsphere_vm *vm,
                 struct error **err)
{
    CLEANUP_VM struct vsphere_vm found = { .ref = *ref };
    CLEANUP_TREE struct tree tree;

    tree_init(session, &tree);
    if (session_properties(session, ref, VM_PATHS, vm_property, &found, err) < 0)
        return error_prefix(err, "VM %s", ref->id);
    if (found.is_template)
        return error_set(err, "%s (%s) is a template: deploy a VM from it", found.spec.name,
                         ref->id);
    if (!found.spec.uuid[0])
        return error_set_kind(err, ERROR_PAUSED,
                              "vSphere knows nothing of the hardware of VM %s (%s) now: its state "
                              "is '%s'. Reconnect its host, and see that this user may read it",
                              found.spec.name, ref->id, found.connection);
    if (add_names(session, &found, err) < 0 ||
        tree_path(session, &tree, &found.parent, found.spec.name, found.spec.path, err) < 0 ||
        vm_finish(&found, err) < 0)
        return -1;
    *vm = found;
    found = (struct vsphere_vm){ 0 };
    return 0;
}
