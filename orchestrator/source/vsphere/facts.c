/* Gathering facts; see facts.h. Each is asked for where every server has it; what is
 * forbidden stays unknown. */
#include "source/vsphere/facts.h"

#include <string.h>

#include "source/vsphere/inventory.h"
#include "source/vsphere/privileges.h"
#include "source/vsphere/read.h"

#define FACT_PATHS                                                                                 \
    VM_PATHS " snapshot datastore effectiveRole "                                                  \
             "capability.changeTrackingSupported runtime.consolidationNeeded"

struct gathering {
    struct vm_facts *facts;
    const struct roles *roles;
    struct datastore_facts *datastore; /* that is being read */
};

static int add_datastores(struct vm_facts *facts, const xmlNode *val, struct error **err)
{
    for (const xmlNode *node = xml_child(val, "ManagedObjectReference"); node;
         node = xml_next(node)) {
        struct datastore_facts one = { .is_known = false };
        struct datastore_facts *grown =
            reallocarray(facts->datastores, facts->datastore_count + 1, sizeof *grown);

        if (!grown)
            return error_set_errno(err, ENOMEM, "reading datastores");
        facts->datastores = grown;
        if (moref_read(node, &one.ref) == 0)
            facts->datastores[facts->datastore_count++] = one;
    }
    return 0;
}

static int vm_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                       struct error **err)
{
    struct gathering *gathering = opaque;
    struct vm_facts *facts = gathering->facts;

    (void)object;
    if (strcmp(name, "snapshot") == 0)
        return snapshots_parse(val, &facts->snapshots, err);
    if (strcmp(name, "datastore") == 0)
        return add_datastores(facts, val, err);
    if (strcmp(name, "effectiveRole") == 0)
        facts->rights_known = roles_granted(gathering->roles, val, &facts->granted);
    else if (strcmp(name, "capability.changeTrackingSupported") == 0)
        facts->tracking_unsupported = !xml_bool(val, "");
    else if (strcmp(name, "runtime.consolidationNeeded") == 0)
        facts->consolidation_needed = xml_bool(val, "");
    else {
        if (strcmp(name, "config.guestId") == 0)
            read_text(val, "", facts->guest_id, sizeof facts->guest_id);
        if (strcmp(name, "config.bootOptions") == 0)
            facts->secure_boot = xml_bool(val, "efiSecureBootEnabled");
        return vm_take(&facts->vm, name, val, err);
    }
    return 0;
}

static int host_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                         struct error **err)
{
    struct vm_facts *facts = opaque;

    (void)object, (void)err;
    if (strcmp(name, "name") == 0) {
        read_text(val, "", facts->host_name, sizeof facts->host_name);
    } else {
        read_text(val, "fullName", facts->host_product, sizeof facts->host_product);
        read_text(val, "version", facts->host_version, sizeof facts->host_version);
        facts->host_build = (unsigned long)read_amount(val, "build");
    }
    return 0;
}

static int datastore_property(void *opaque, const struct moref *object, const char *name,
                              xmlNode *val, struct error **err)
{
    struct gathering *gathering = opaque;
    struct datastore_facts *datastore = gathering->datastore;

    (void)object, (void)err;
    if (strcmp(name, "effectiveRole") == 0) {
        datastore->rights_known = roles_granted(gathering->roles, val, &datastore->granted);
        return 0;
    }
    datastore->is_known = true;
    datastore->accessible = xml_bool(val, "accessible");
    read_text(val, "name", datastore->name, sizeof datastore->name);
    read_text(val, "maintenanceMode", datastore->maintenance, sizeof datastore->maintenance);
    return 0;
}

/* What is beside the VM may be forbidden, or gone: only a lost connection is an error. */
static int read_beside(struct session *session, const struct moref *object, const char *paths,
                       property_fn *got, void *opaque, struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;

    if (session_properties(session, object, paths, got, opaque, &problem) >= 0 ||
        problem->kind != ERROR_PAUSED)
        return 0;
    return error_move(err, &problem);
}

int facts_gather(struct session *session, const struct moref *ref, struct vm_facts *facts,
                 struct error **err)
{
    CLEANUP_ROLES struct roles roles = { 0 };
    struct gathering gathering = { .facts = facts, .roles = &roles };

    facts->vm.ref = *ref;
    if (roles_read(session, &roles, err) < 0 ||
        session_properties(session, ref, FACT_PATHS, vm_property, &gathering, err) < 0 ||
        vm_finish(&facts->vm, err) < 0 || inventory_networks(session, &facts->vm.devices, err) < 0)
        return -1;
    if (facts->vm.host.id[0] && read_beside(session, &facts->vm.host, "name summary.config.product",
                                            host_property, facts, err) < 0)
        return -1;
    for (size_t i = 0; i < facts->datastore_count; i++) {
        gathering.datastore = &facts->datastores[i];
        if (read_beside(session, &facts->datastores[i].ref, "summary effectiveRole",
                        datastore_property, &gathering, err) < 0)
            return -1;
    }
    return 0;
}

void facts_free(struct vm_facts *facts)
{
    vm_free(&facts->vm);
    snapshots_free(&facts->snapshots);
    free(facts->datastores);
    *facts = (struct vm_facts){ 0 };
}
