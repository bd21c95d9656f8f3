/* Connecting to a guest in a network of its own. What comes in: a bridge of this host and the
 * guest's IPv4 address in it. What goes out: whether something there takes a TCP connection.
 * Nothing is ever sent on another way than that bridge: the source may run beside it, with the
 * very same addresses. */
#ifndef VMFERRY_FAILOVER_REACH_H
#define VMFERRY_FAILOVER_REACH_H

#include <netinet/in.h>

#include "error.h"

#define REACH_TIMEOUT_MS 3000

struct reach_target {
    const char *bridge;
    struct in_addr address;
    unsigned prefix; /* of its network */
    unsigned port;
    const struct in_addr *taken; /* addresses there that are not ours to use */
    size_t taken_count;
};

enum reach {
    REACH_YES,
    REACH_NO,     /* refused, or no answer; the error says which */
    REACH_NO_WAY, /* it can't be tried from this host; the error says why */
};

/* This host has an address of that network on the bridge: connect from there. */
enum reach reach_from_host(const struct reach_target *target, struct error **err);

/* The bridge is one that we made, with no other guest in it: connect from a network namespace
 * that has a cable to it and a free address of the guest's network. Needs root. Nothing is left. */
enum reach reach_from_inside(const struct reach_target *target, struct error **err);

/* A free address of the target's network, the highest one. 0.0.0.0: there is none. */
struct in_addr reach_free_address(const struct reach_target *target);

#endif
