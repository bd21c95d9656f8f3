/* Folders, datacenters and vApps: what is above a VM in the inventory. Read at once or
 * when a VM's path needs them, and kept. */
#ifndef VMFERRY_VSPHERE_TREE_H
#define VMFERRY_VSPHERE_TREE_H

#include "source/vsphere/session.h"

#define TREE_PATH 1024

struct tree {
    void *nodes; /* search.h */
    struct moref root;
};

/* Nothing is read yet. */
void tree_init(const struct session *session, struct tree *tree);
/* Read all folders and datacenters in a few calls, for many paths. */
int tree_load(struct session *session, struct tree *tree, struct error **err);
/* "/DC0/vm/web/app01" of the object `name` whose parent this is: names as the server writes
 * them, with %2f for a slash in a name. "" when something above it is not to be seen. */
int tree_path(struct session *session, struct tree *tree, const struct moref *parent,
              const char *name, char path[TREE_PATH], struct error **err);
/* What is known so far: name and parent of an object, from elsewhere. */
int tree_add(struct tree *tree, const struct moref *object, const char *name,
             const struct moref *parent, struct error **err);
void tree_free(struct tree *tree);
#define CLEANUP_TREE CLEANUP(tree_free)

#endif
