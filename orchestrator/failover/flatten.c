/* Block commits of a running domain; see flatten.h. */
#include "failover/flatten.h"

#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <string.h>
#include <time.h>

#include "failover/libvirt.h"
#include "failover/xmltree.h"

#define POLL_MS   200
#define DISKS_MAX 512
#define TARGET    32

struct disks {
    char targets[DISKS_MAX][TARGET]; /* as libvirt names them: vda */
    size_t count;
};

static void free_xpath(xmlXPathObjectPtr *object)
{
    xmlXPathFreeObject(*object);
}
static void free_context(xmlXPathContextPtr *context)
{
    xmlXPathFreeContext(*context);
}

/* Those whose uppermost image is in the folder; while one is pivoted it is, too. */
static int take_disks(xmlDocPtr document, const char *folder, struct disks *disks,
                      struct error **err)
{
    CLEANUP(free_context) xmlXPathContextPtr context = xmlXPathNewContext(document);
    CLEANUP(free_xpath)
    xmlXPathObjectPtr found =
        context ? xmlXPathEvalExpression(BAD_CAST "/domain/devices/disk", context) : NULL;
    size_t length = strlen(folder);

    disks->count = 0;
    for (int i = 0; found && found->nodesetval && i < found->nodesetval->nodeNr; i++) {
        xmlChar *file = NULL, *target = NULL;

        for (xmlNodePtr node = xmlFirstElementChild(found->nodesetval->nodeTab[i]); node;
             node = xmlNextElementSibling(node)) {
            if (xmlStrEqual(node->name, BAD_CAST "source"))
                file = xmlGetProp(node, BAD_CAST "file");
            if (xmlStrEqual(node->name, BAD_CAST "target"))
                target = xmlGetProp(node, BAD_CAST "dev");
        }
        if (file && target && strncmp((char *)file, folder, length) == 0 && file[length] == '/' &&
            disks->count < DISKS_MAX)
            snprintf(disks->targets[disks->count++], TARGET, "%s", (char *)target);
        xmlFree(file);
        xmlFree(target);
    }
    return found ? 0 : error_set_errno(err, ENOMEM, "reading the domain's XML");
}

static int find_disks(virDomainPtr domain, const char *folder, struct disks *disks,
                      struct error **err)
{
    char *xml = virDomainGetXMLDesc(domain, 0);
    CLEANUP_DOCUMENT xmlDocPtr document = xml ? xmlParseDoc(BAD_CAST xml) : NULL;

    free(xml);
    return document ? take_disks(document, folder, disks, err)
                    : libvirt_error(err, "reading the domain's XML");
}

/* A job that goes on there already is ours, of a process that died. */
static int begin(virDomainPtr domain, const char *disk, struct error **err)
{
    virDomainBlockJobInfo info;
    int running = virDomainGetBlockJobInfo(domain, disk, &info, 0);

    if (running < 0)
        return libvirt_error(err, "looking at %s", disk);
    if (running > 0)
        return 0;
    return virDomainBlockCommit(domain, disk, NULL, NULL, 0, VIR_DOMAIN_BLOCK_COMMIT_ACTIVE) < 0
               ? libvirt_error(err, "committing %s", disk)
               : 0;
}

/* Once all is copied, and not before, libvirt lets the guest go over to the base. */
static bool pivot(virDomainPtr domain, const char *disk, bool *again)
{
    int code;

    if (virDomainBlockJobAbort(domain, disk, VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT) == 0)
        return true;
    code = virGetLastErrorCode();
    *again = code == VIR_ERR_BLOCK_COPY_ACTIVE || code == VIR_ERR_OPERATION_INVALID;
    return false;
}

static int finish(virDomainPtr domain, const char *disk, const struct flatten *flatten,
                  struct error **err)
{
    const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };

    for (;;) {
        virDomainBlockJobInfo info = { 0 };
        int running = virDomainGetBlockJobInfo(domain, disk, &info, 0);
        bool again = false;

        if (running < 0)
            return libvirt_error(err, "looking at %s", disk);
        if (running == 0)
            return error_set(err, "%s: libvirt gave the commit up; see the domain's log", disk);
        if (flatten->progress)
            flatten->progress(flatten->opaque, disk,
                              info.end ? 100.0 * (double)info.cur / (double)info.end : 0);
        if (info.end && info.cur == info.end) {
            if (pivot(domain, disk, &again))
                return 0;
            if (!again)
                return libvirt_error(err, "%s: going over to its base", disk);
        }
        if (flatten->cancel && atomic_load(flatten->cancel)) {
            error_set_kind(err, ERROR_PAUSED, "interrupted: libvirt goes on with it");
            (*err)->errnum = ECANCELED;
            return -1;
        }
        nanosleep(&pause, NULL);
    }
}

int flatten_domain(const struct store_failover *failover, const struct flatten *flatten,
                   struct error **err)
{
    CLEANUP_CONNECTION virConnectPtr connection = NULL;
    CLEANUP_DOMAIN virDomainPtr domain = NULL;
    CLEANUP_FREE struct disks *disks = calloc(1, sizeof *disks);

    if (!disks)
        return error_set_errno(err, ENOMEM, "committing");
    if (libvirt_connect(failover->uri, &connection, err) < 0)
        return -1;
    domain = virDomainLookupByUUIDString(connection, failover->domain_uuid);
    if (!domain)
        return libvirt_error(err, "looking for domain %s", failover->domain_name);
    if (virDomainIsActive(domain) != 1)
        return error_set(err, "domain %s does not run: virsh start '%s', then commit again",
                         failover->domain_name, failover->domain_name);
    if (find_disks(domain, flatten->folder, disks, err) < 0)
        return -1;
    for (size_t i = 0; i < disks->count; i++) {
        if (begin(domain, disks->targets[i], err) < 0 ||
            finish(domain, disks->targets[i], flatten, err) < 0)
            return -1;
    }
    if (find_disks(domain, flatten->folder, disks, err) < 0)
        return -1;
    return disks->count ? error_set(err, "%s still stands on its overlay", disks->targets[0]) : 0;
}
