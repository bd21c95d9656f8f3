/* What every use of libvirt here shares: connecting, releasing, error messages. */
#ifndef VMFERRY_FAILOVER_LIBVIRT_H
#define VMFERRY_FAILOVER_LIBVIRT_H

#include <libvirt/libvirt.h>
#include <stdbool.h>

#include "error.h"

/* "" and NULL: LIBVIRT_DEFAULT_URI, else qemu:///system for root and qemu:///session for
 * others. Another host has 20 s to answer; one that goes silent later is given up after 25 s:
 * what was asked of it then fails, and libvirt_is_lost(). */
int libvirt_connect(const char *uri, virConnectPtr *connection, struct error **err);
/* It is another host's, or may be: no descriptor can be sent there. */
bool libvirt_is_remote(virConnectPtr connection);
bool libvirt_is_lost(virConnectPtr connection);

/* As error_set, then ": " and what libvirt said last. */
int libvirt_error(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline void cleanup_connection(virConnectPtr *connection)
{
    if (*connection)
        virConnectClose(*connection);
}
static inline void cleanup_domain(virDomainPtr *domain)
{
    if (*domain)
        virDomainFree(*domain);
}
static inline void cleanup_network(virNetworkPtr *network)
{
    if (*network)
        virNetworkFree(*network);
}
#define CLEANUP_CONNECTION CLEANUP(cleanup_connection)
#define CLEANUP_DOMAIN     CLEANUP(cleanup_domain)
#define CLEANUP_NETWORK    CLEANUP(cleanup_network)

#endif
