/* Asking another host's libvirt; see host.h. */
#include "failover/host.h"

#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <string.h>

#include "failover/xmltree.h"

#define HOST 256

static void name_of(virConnectPtr connection, char host[HOST])
{
    char *name = virConnectGetHostname(connection);

    snprintf(host, HOST, "%s", name ? name : "of libvirt");
    free(name);
}

static bool holds(xmlDocPtr document, const char *xpath)
{
    xmlXPathContextPtr context = xmlXPathNewContext(document);
    xmlXPathObjectPtr found = context ? xmlXPathEvalExpression(BAD_CAST xpath, context) : NULL;
    bool is = found && xmlXPathCastToBoolean(found);

    xmlXPathFreeObject(found);
    xmlXPathFreeContext(context);
    return is;
}

static int check_firmware(xmlDocPtr document, const char *host, const char *code,
                          struct error **err)
{
    char xpath[256];

    snprintf(xpath, sizeof xpath, "/domainCapabilities/os/loader/value[. = '%s']", code);
    return holds(document, xpath)
               ? 0
               : error_set(err, "host %s has no %s (is the package ovmf installed there?)", host,
                           code);
}

static int check_tpm(xmlDocPtr document, const char *host, struct error **err)
{
    return holds(document, "/domainCapabilities/devices/tpm[@supported = 'yes']"
                           "/enum[@name = 'backendModel']/value[. = 'emulator']")
               ? 0
               : error_set(err,
                           "the source has a TPM (leave it out: --set='tpm = no'): host %s has "
                           "none (is the package swtpm installed there?)",
                           host);
}

int host_check(virConnectPtr connection, const struct domain_plan *plan, struct error **err)
{
    char *xml =
        virConnectGetDomainCapabilities(connection, NULL, NULL, DOMAIN_MACHINE, plan->virt_type, 0);
    CLEANUP_DOCUMENT xmlDocPtr document = xml ? xmlParseDoc(BAD_CAST xml) : NULL;
    char host[HOST];

    free(xml);
    name_of(connection, host);
    if (!document)
        return libvirt_error(err, "host %s runs no VM of type %s (--virt-type)", host,
                             plan->virt_type);
    if (plan->hardware->uefi &&
        check_firmware(document, host, domain_firmware(plan->hardware), err) < 0)
        return -1;
    return plan->hardware->tpm ? check_tpm(document, host, err) : 0;
}

static void free_interface(virInterfacePtr *interface)
{
    if (*interface)
        virInterfaceFree(*interface);
}

int host_check_bridge(virConnectPtr connection, const char *bridge, struct error **err)
{
    CLEANUP(free_interface)
    virInterfacePtr interface = virInterfaceLookupByName(connection, bridge);
    char host[HOST];

    if (interface || virGetLastErrorCode() != VIR_ERR_NO_INTERFACE)
        return 0;
    name_of(connection, host);
    return error_set(err, "host %s has no bridge '%s'", host, bridge);
}
