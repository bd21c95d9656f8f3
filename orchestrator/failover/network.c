/* Isolated networks; see network.h. */
#include "failover/network.h"

#include <libvirt/virterror.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "failover/xmltree.h"

/* 198.18.0.0/15 is for tests of networks (RFC 2544), and nobody's real addresses. */
#define SUBNETS      512
#define SUBNET_TRIES 64

static void add_dhcp(xmlNodePtr root, unsigned subnet)
{
    char host[16], start[16], end[16];
    xmlNodePtr ip;

    snprintf(host, sizeof host, "198.%u.%u.1", 18 + subnet / 256, subnet % 256);
    snprintf(start, sizeof start, "198.%u.%u.2", 18 + subnet / 256, subnet % 256);
    snprintf(end, sizeof end, "198.%u.%u.254", 18 + subnet / 256, subnet % 256);
    ip = node_add(root, "ip", "address", host, "netmask", "255.255.255.0", NULL);
    node_add(node_add(ip, "dhcp", NULL), "range", "start", start, "end", end, NULL);
}

/* subnet < 0: no addresses. */
static char *network_xml(const char *name, int subnet)
{
    CLEANUP_DOCUMENT xmlDocPtr document = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr root = xmlNewNode(NULL, BAD_CAST "network");

    xmlDocSetRootElement(document, root);
    node_add_text(root, "name", "%s", name);
    node_add(root, "bridge", "name", name, "stp", "off", "delay", "0", NULL);
    node_add(root, "dns", "enable", "no", NULL);
    if (subnet >= 0)
        add_dhcp(root, (unsigned)subnet);
    return node_dump(document);
}

static int make_lasting(virConnectPtr connection, const char *name, const char *xml,
                        struct error **err)
{
    CLEANUP_NETWORK virNetworkPtr network = virNetworkDefineXML(connection, xml);

    if (network && virNetworkSetAutostart(network, 1) == 0 && virNetworkCreate(network) == 0)
        return 0;
    libvirt_error(err, "making the isolated network %s", name);
    if (network)
        virNetworkUndefine(network);
    return -1;
}

static int start(virConnectPtr connection, const char *name, int subnet, bool lasting,
                 struct error **err)
{
    CLEANUP_NETWORK virNetworkPtr network = NULL;
    CLEANUP_FREE char *xml = network_xml(name, subnet);

    if (!xml)
        return error_set_errno(err, ENOMEM, "making the isolated network %s", name);
    if (lasting)
        return make_lasting(connection, name, xml, err);
    network = virNetworkCreateXML(connection, xml);
    if (!network)
        return libvirt_error(err, "making the isolated network %s", name);
    return 0;
}

static unsigned hash(const char *text)
{
    unsigned value = 5381;

    for (; *text; text++)
        value = value * 33 + (unsigned char)*text;
    return value;
}

/* libvirt looks at the routes of its host, and refuses a subnet that is in use there; which
 * one is free only it knows, and another test may take it first. */
int network_start(virConnectPtr connection, const char *name, bool dhcp, bool lasting,
                  struct error **err)
{
    unsigned first = hash(name);

    if (!dhcp)
        return start(connection, name, -1, lasting, err);
    for (unsigned i = 0;; i++) {
        if (start(connection, name, (int)((first + i) % SUBNETS), lasting, err) == 0)
            return 0;
        if (i + 1 >= SUBNET_TRIES || !strstr(error_message(*err), "already in use"))
            return -1;
        error_clear(err);
    }
}

static bool is_gone(void)
{
    int code = virGetLastErrorCode();

    return code == VIR_ERR_NO_NETWORK || code == VIR_ERR_OPERATION_INVALID;
}

int network_remove(virConnectPtr connection, const char *name, struct error **err)
{
    CLEANUP_NETWORK virNetworkPtr network = virNetworkLookupByName(connection, name);

    if (!network)
        return virGetLastErrorCode() == VIR_ERR_NO_NETWORK
                   ? 0
                   : libvirt_error(err, "looking for network %s", name);
    if (virNetworkIsPersistent(network) == 1 && virNetworkUndefine(network) < 0 && !is_gone())
        return libvirt_error(err, "removing network %s", name);
    if (virNetworkDestroy(network) < 0 && !is_gone())
        return libvirt_error(err, "removing network %s", name);
    return 0;
}

int network_check(virConnectPtr connection, const char *name, struct error **err)
{
    CLEANUP_NETWORK virNetworkPtr network = virNetworkLookupByName(connection, name);
    int active = network ? virNetworkIsActive(network) : -1;

    if (!network && virGetLastErrorCode() == VIR_ERR_NO_NETWORK)
        return error_set(err, "libvirt has no network '%s' (`virsh net-list --all` lists them)",
                         name);
    if (active < 0)
        return libvirt_error(err, "looking for network %s", name);
    return active ? 0
                  : error_set(err, "libvirt's network '%s' is not started: virsh net-start '%s'",
                              name, name);
}
