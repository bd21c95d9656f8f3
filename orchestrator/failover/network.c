/* Isolated networks; see network.h. */
#include "failover/network.h"

#include <libvirt/virterror.h>
#include <stdio.h>

static const char template[] = "<network>"
                               "<name>%s</name>"
                               "<bridge name='%s' stp='off' delay='0'/>"
                               "<dns enable='no'/>"
                               "</network>";

int network_start(virConnectPtr connection, const char *name, struct error **err)
{
    CLEANUP_NETWORK virNetworkPtr network = NULL;
    char xml[256];

    snprintf(xml, sizeof xml, template, name, name);
    network = virNetworkCreateXML(connection, xml);
    if (!network)
        return libvirt_error(err, "making the isolated network %s", name);
    return 0;
}

int network_remove(virConnectPtr connection, const char *name, struct error **err)
{
    CLEANUP_NETWORK virNetworkPtr network = virNetworkLookupByName(connection, name);

    if (!network)
        return virGetLastErrorCode() == VIR_ERR_NO_NETWORK
                   ? 0
                   : libvirt_error(err, "looking for network %s", name);
    if (virNetworkDestroy(network) < 0 && virGetLastErrorCode() != VIR_ERR_NO_NETWORK)
        return libvirt_error(err, "removing network %s", name);
    return 0;
}
