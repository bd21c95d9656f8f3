/* The privileges that vmferry needs: which, on what, and for what. The list of
 * docs/vsphere.md is made of this one. */
#ifndef VMFERRY_VSPHERE_PRIVILEGES_H
#define VMFERRY_VSPHERE_PRIVILEGES_H

#include "source/vsphere/facts.h"

enum privilege_need {
    NEED_ALWAYS,   /* no replication without it */
    NEED_TRACKING, /* to turn change tracking on */
    NEED_LIBRARY,  /* to read by VMware's library */
    NEED_FILES,    /* to read by HTTPS; on the datastore */
    NEED_FAILOVER, /* to power the VM off in a live failover, and on to undo it */
    NEED_RETIRE,   /* to rename it and write a note when that is committed */
};

struct privilege {
    const char *name;
    enum privilege_need need;
};
extern const struct privilege privileges[];
extern const size_t privilege_count; /* at most the bits of a privilege_mask */

/* What the roles grant that a user has on an entity (its property effectiveRole). */
struct roles {
    struct role {
        int id;
        privilege_mask granted;
    } * list;
    size_t count;
};
int roles_read(struct session *session, struct roles *roles, struct error **err);
/* The value of AuthorizationManager.roleList. */
int roles_parse(const xmlNode *val, struct roles *roles, struct error **err);
/* false: no role is named, or one that is not in the list, and nothing is known. */
bool roles_granted(const struct roles *roles, const xmlNode *effective, privilege_mask *granted);
void roles_free(struct roles *roles);
#define CLEANUP_ROLES CLEANUP(roles_free)

#endif
