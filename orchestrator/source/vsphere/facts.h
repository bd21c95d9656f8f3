/* Everything about one VM, its host, its datastores and the user's rights that decides
 * whether it can be replicated. */
#ifndef VMFERRY_VSPHERE_FACTS_H
#define VMFERRY_VSPHERE_FACTS_H

#include "source/vsphere/snapshot.h"
#include "source/vsphere/vm.h"

/* What the user needs to be granted; see privileges.h. */
typedef unsigned privilege_mask;

struct datastore_facts {
    struct moref ref;
    char name[128];
    char maintenance[32]; /* "normal", "inMaintenance" …; "" : not told */
    bool accessible;
    bool is_known; /* its summary could be read */
    bool rights_known;
    privilege_mask granted;
};

struct vm_facts {
    struct vsphere_vm vm;
    struct snapshots snapshots;
    char guest_id[64];
    bool tracking_unsupported; /* the server says so; false also when it says nothing */
    bool secure_boot, consolidation_needed;
    char host_name[128], host_product[128], host_version[32];
    unsigned long host_build; /* 0: not known */
    bool rights_known;
    privilege_mask granted; /* on the VM */
    struct datastore_facts *datastores;
    size_t datastore_count;
};

int facts_gather(struct session *session, const struct moref *ref, struct vm_facts *facts,
                 struct error **err);
void facts_free(struct vm_facts *facts);
#define CLEANUP_FACTS CLEANUP(facts_free)

#endif
