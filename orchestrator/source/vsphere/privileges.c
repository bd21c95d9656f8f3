/* Privileges; see privileges.h. Newer servers have calls that ask for privileges by name.
 * Roles are read instead: every server since 2.0 has them. */
#include "source/vsphere/privileges.h"

#include <string.h>

#include "source/vsphere/read.h"

/* The role that has every privilege, whatever a server lists for it. */
#define ADMINISTRATOR (-1)

const struct privilege privileges[] = {
    { "VirtualMachine.State.CreateSnapshot", NEED_ALWAYS },
    { "VirtualMachine.State.RemoveSnapshot", NEED_ALWAYS },
    { "VirtualMachine.Provisioning.DiskRandomRead", NEED_ALWAYS },
    { "VirtualMachine.Config.ChangeTracking", NEED_TRACKING },
    { "VirtualMachine.Provisioning.GetVmFiles", NEED_LIBRARY },
    { "VirtualMachine.Config.DiskLease", NEED_LIBRARY },
    { "Datastore.Browse", NEED_FILES },
    { "Datastore.FileManagement", NEED_FILES },
    { "VirtualMachine.Interact.PowerOff", NEED_FAILOVER },
    { "VirtualMachine.Interact.PowerOn", NEED_FAILOVER },
    { "VirtualMachine.Config.Rename", NEED_RETIRE },
    { "VirtualMachine.Config.Annotation", NEED_RETIRE },
};
const size_t privilege_count = sizeof privileges / sizeof privileges[0];

static privilege_mask mask_of(const char *name)
{
    for (size_t i = 0; i < privilege_count; i++) {
        if (strcmp(privileges[i].name, name) == 0)
            return 1u << i;
    }
    return 0;
}

int roles_parse(const xmlNode *val, struct roles *roles, struct error **err)
{
    for (const xmlNode *node = xml_child(val, "AuthorizationRole"); node; node = xml_next(node)) {
        struct role role = { .id = read_int(node, "roleId", 0) };
        struct role *grown = reallocarray(roles->list, roles->count + 1, sizeof *grown);
        char name[128];

        if (!grown)
            return error_set_errno(err, ENOMEM, "reading roles");
        roles->list = grown;
        for (const xmlNode *p = xml_child(node, "privilege"); p; p = xml_next(p)) {
            read_exact(p, "", name, sizeof name);
            role.granted |= mask_of(name);
        }
        roles->list[roles->count++] = role;
    }
    return 0;
}

static int role_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                         struct error **err)
{
    (void)object, (void)name;
    return roles_parse(val, opaque, err);
}

int roles_read(struct session *session, struct roles *roles, struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;

    if (!session->authorization.id[0])
        return 0;
    if (session_properties(session, &session->authorization, "roleList", role_property, roles,
                           &problem) >= 0 ||
        problem->kind != ERROR_PAUSED)
        return 0; /* not for this user to see: then nothing is known */
    return error_move(err, &problem);
}

static const struct role *find_role(const struct roles *roles, int id)
{
    for (size_t i = 0; i < roles->count; i++) {
        if (roles->list[i].id == id)
            return &roles->list[i];
    }
    return NULL;
}

bool roles_granted(const struct roles *roles, const xmlNode *effective, privilege_mask *granted)
{
    bool known = false;

    *granted = 0;
    for (const xmlNode *node = xml_child(effective, "int"); node; node = xml_next(node)) {
        int id = read_int(node, "", 0);
        const struct role *role = find_role(roles, id);

        if (!role && id != ADMINISTRATOR)
            return false;
        *granted |= id == ADMINISTRATOR ? ~(privilege_mask)0 : role->granted;
        known = true;
    }
    return known;
}

void roles_free(struct roles *roles)
{
    free(roles->list);
    *roles = (struct roles){ 0 };
}
