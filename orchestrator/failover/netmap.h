/* Where a VM's NICs go: what the source calls a network is mapped to one of libvirt, to
 * a bridge of the host, to the isolated network of a test, or to nothing. A VM's own mapping
 * wins over its source's, and one for a NIC's MAC address over one for its network. */
#ifndef VMFERRY_FAILOVER_NETMAP_H
#define VMFERRY_FAILOVER_NETMAP_H

#include <stdbool.h>

#include "source/source.h"
#include "store/store.h"

enum net_kind { NET_ISOLATED, NET_NETWORK, NET_BRIDGE, NET_NONE };

#define NET_NAME 200
#define NET_TEXT (NET_NAME + 8)

struct net_target {
    enum net_kind kind;
    char name[NET_NAME]; /* of a network or bridge, else "" */
};

/* "isolated", "none", "net:NAME", "bridge:NAME"; ERROR_USAGE for anything else. */
int net_target_parse(const char *text, struct net_target *target, struct error **err);
void net_target_text(const struct net_target *target, char text[NET_TEXT]);

/* All mappings that count for a VM. */
struct netmap {
    struct store_netmap *entries;
    size_t count;
};

int netmap_load(struct store *store, const struct store_vm *vm, struct netmap *map,
                struct error **err);
void netmap_free(struct netmap *map);
#define CLEANUP_NETMAP CLEANUP(netmap_free)

/* The mapping that counts for a NIC, NULL: none. */
const struct store_netmap *netmap_find(const struct netmap *map, const struct store_vm *vm,
                                       const struct spec_nic *nic);

/* What stands in the way of a live failover: a blocker for each NIC that has no mapping, in
 * plain words with the command that makes one. */
int netmap_blockers(const struct netmap *map, const struct store_vm *vm, const struct vm_spec *spec,
                    struct findings *findings, struct error **err);

#endif
