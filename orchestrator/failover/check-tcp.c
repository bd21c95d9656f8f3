/* Checks of TCP ports; see check.h. A connection from this host where there is a way that leads
 * to this guest and to nobody else; else the guest's agent says whether something listens. */
#include <arpa/inet.h>
#include <string.h>

#include "failover/check.h"
#include "failover/listener.h"
#include "failover/reach.h"

#define ADDRESSES_MOST 64
#define BRIDGE         256
#define ADDRESS_S      30 /* after its boot a guest has its addresses, or gets none here */

/* An IPv4 address of the guest. */
struct address {
    int nic;
    struct in_addr address;
    unsigned prefix;
};

struct addresses {
    struct address list[ADDRESSES_MOST];
    size_t count;
};

static int nic_of(const struct check_place *place, const char *mac)
{
    for (size_t i = 0; mac && i < place->nic_count; i++) {
        if (place->nics[i].mac[0] && strcasecmp(place->nics[i].mac, mac) == 0)
            return (int)i;
    }
    return -1;
}

static void take_addresses(const struct check_place *place, virDomainInterfacePtr interface,
                           struct addresses *addresses)
{
    int nic = nic_of(place, interface->hwaddr);

    for (unsigned i = 0; nic >= 0 && i < interface->naddrs; i++) {
        struct address *next = &addresses->list[addresses->count];

        if (addresses->count == ADDRESSES_MOST ||
            interface->addrs[i].type != VIR_IP_ADDR_TYPE_IPV4 ||
            inet_pton(AF_INET, interface->addrs[i].addr, &next->address) != 1)
            continue;
        next->nic = nic;
        next->prefix = interface->addrs[i].prefix;
        addresses->count++;
    }
}

static void ask_for_addresses(const struct check_place *place, unsigned whom,
                              struct addresses *addresses)
{
    virDomainInterfacePtr *interfaces = NULL;
    int count = virDomainInterfaceAddresses(place->domain, &interfaces, whom, 0);

    for (int i = 0; i < count; i++) {
        take_addresses(place, interfaces[i], addresses);
        virDomainInterfaceFree(interfaces[i]);
    }
    free(interfaces);
}

/* The agent knows what is; a DHCP server what it gave. */
static void find_addresses(const struct check_place *place, struct addresses *addresses)
{
    *addresses = (struct addresses){ 0 };
    ask_for_addresses(place, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, addresses);
    if (!addresses->count)
        ask_for_addresses(place, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, addresses);
}

/* What this host calls the wire of a NIC. */
static int find_bridge(const struct check_place *place, int nic, char bridge[BRIDGE],
                       struct error **err)
{
    CLEANUP_NETWORK virNetworkPtr network = NULL;
    CLEANUP_FREE char *name = NULL;
    const char *of = place->nics[nic < 0 ? 0 : nic].network;

    if (place->nics[nic < 0 ? 0 : nic].bridge) {
        snprintf(bridge, BRIDGE, "%s", of);
        return 0;
    }
    network = virNetworkLookupByName(virDomainGetConnect(place->domain), of);
    name = network ? virNetworkGetBridgeName(network) : NULL;
    if (!name)
        return error_set(err, "network '%s' has no bridge on this host", of);
    snprintf(bridge, BRIDGE, "%s", name);
    return 0;
}

static enum reach reach_one(const struct check_place *place, const struct addresses *addresses,
                            const struct address *to, unsigned port, struct error **err)
{
    struct in_addr taken[ADDRESSES_MOST];
    CLEANUP_ERROR struct error *inside = NULL;
    char bridge[BRIDGE];
    struct reach_target target = { .bridge = bridge,
                                   .address = to->address,
                                   .prefix = to->prefix,
                                   .port = port,
                                   .taken = taken,
                                   .taken_count = addresses->count };
    enum reach reach;

    for (size_t i = 0; i < addresses->count; i++)
        taken[i] = addresses->list[i].address;
    if (!*place->isolated)
        return find_bridge(place, to->nic, bridge, err) < 0 ? REACH_NO_WAY
                                                            : reach_from_host(&target, err);
    snprintf(bridge, BRIDGE, "%s", place->isolated);
    reach = reach_from_inside(&target, &inside);
    if (reach != REACH_NO_WAY) {
        if (inside)
            error_move(err, &inside);
        return reach;
    }
    reach = reach_from_host(&target, err);
    if (reach == REACH_NO_WAY)
        error_append(err, "%s", error_message(inside));
    return reach;
}

/* Each address of the NICs that count, until one answers. */
static enum reach reach_any(struct check_try *try, const struct check_place *place,
                            const struct addresses *addresses, struct error **err)
{
    const struct check *check = try->check;
    enum reach best = REACH_NO_WAY;

    for (size_t i = 0; i < addresses->count; i++) {
        const struct address *one = &addresses->list[i];
        CLEANUP_ERROR struct error *reason = NULL;
        char text[INET_ADDRSTRLEN];
        enum reach reach;

        if (check->nic >= 0 && one->nic != check->nic)
            continue;
        reach = reach_one(place, addresses, one, check->port, &reason);
        if (reach == REACH_YES) {
            inet_ntop(AF_INET, &one->address, text, sizeof text);
            snprintf(try->why, sizeof try->why, "%s port %u answers", text, check->port);
            return REACH_YES;
        }
        if (reach == REACH_NO)
            best = REACH_NO;
        error_clear(err);
        error_move(err, &reason);
    }
    if (*err)
        return best;
    error_set(err, "neither its agent nor a DHCP server knows an IPv4 address of the guest's%s",
              place->dhcp ? "" : " (tcp:PORT@ADDRESS/PREFIX names one, --dhcp gives it one)");
    return place->dhcp || (try->seconds < ADDRESS_S && !try->last) ? REACH_NO : REACH_NO_WAY;
}

static enum reach by_network(struct check_try *try, const struct check_place *place,
                             struct error **err)
{
    struct addresses addresses;

    if (place->nic_count == 0 ||
        (try->check->nic >= 0 && (size_t)try->check->nic >= place->nic_count)) {
        error_set(err, "the test VM has %s", place->nic_count ? "no such NIC" : "no NIC");
        return REACH_NO_WAY;
    }
    if (place->remote) {
        error_set(err, "the test VM runs on another host");
        return REACH_NO_WAY;
    }
    find_addresses(place, &addresses);
    if (try->check->address.s_addr) {
        addresses.list[0] = (struct address){ -1, try->check->address, try->check->prefix };
        addresses.count = 1;
    }
    return reach_any(try, place, &addresses, err);
}

/* Not seen from outside, which is said. */
static void by_agent(struct check_try *try, const struct check_place *place, struct error *no_way)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (listener_find(place->domain, try->check->port, &try->passed, &err) < 0)
        snprintf(try->why, sizeof try->why,
                 "no way to it (%.250s), and its agent can't be asked: %.200s",
                 error_message(no_way), error_message(err));
    else if (try->passed)
        snprintf(try->why, sizeof try->why,
                 "something listens on port %u, says the guest; nothing connected to it, as %.350s",
                 try->check->port, error_message(no_way));
    else
        snprintf(try->why, sizeof try->why, "nothing listens on port %u, says the guest",
                 try->check->port);
}

void check_tcp(struct check_try *try, const struct check_place *place)
{
    CLEANUP_ERROR struct error *err = NULL;
    enum reach reach;

    try->tries++;
    strcpy(try->way, "network");
    reach = by_network(try, place, &err);
    try->passed = reach == REACH_YES;
    if (reach == REACH_NO)
        snprintf(try->why, sizeof try->why, "%s", error_message(err));
    if (reach != REACH_NO_WAY)
        return;
    strcpy(try->way, "agent");
    by_agent(try, place, err);
}
