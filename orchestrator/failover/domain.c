/* Domains; see domain.h. */
#include "failover/domain.h"

#include <fcntl.h>
#include <libvirt/virterror.h>
#include <time.h>

static int hand_over(virDomainPtr domain, const char *path, int flags, int key, size_t level,
                     struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, flags | O_CLOEXEC);
    char group[DOMAIN_GROUP];

    if (fd < 0)
        return error_set_errno(err, errno, "opening %s", path);
    domain_fd_group(group, key, level);
    if (virDomainFDAssociate(domain, group, 1, &fd, 0) < 0)
        return libvirt_error(err, "handing %s over to libvirt", path);
    return 0;
}

static int hand_over_disk(virDomainPtr domain, const struct domain_disk *disk, struct error **err)
{
    if (hand_over(domain, disk->overlay, O_RDWR, disk->key, 0, err) < 0)
        return -1;
    for (size_t i = 0; i < disk->chain_length; i++) {
        if (domain_gets_descriptor(disk->chain[i].path) &&
            hand_over(domain, disk->chain[i].path, O_RDONLY, disk->key, i + 1, err) < 0)
            return -1;
    }
    return 0;
}

int domain_define(virConnectPtr connection, const struct domain_plan *plan, virDomainPtr *domain,
                  struct error **err)
{
    CLEANUP_FREE char *xml = NULL;

    if (domain_xml(plan, &xml, err) < 0)
        return -1;
    *domain = virDomainDefineXMLFlags(connection, xml, VIR_DOMAIN_DEFINE_VALIDATE);
    return *domain ? 0 : libvirt_error(err, "defining domain %s", plan->name);
}

int domain_start(virConnectPtr connection, const struct domain_plan *plan, virDomainPtr *started,
                 struct error **err)
{
    CLEANUP_DOMAIN virDomainPtr domain = NULL;

    /* Defined, not transient: only a domain that exists can be given descriptors. */
    if (domain_define(connection, plan, &domain, err) < 0)
        return -1;
    for (size_t i = 0; i < plan->disk_count && !plan->by_path; i++) {
        if (hand_over_disk(domain, &plan->disks[i], err) < 0)
            return -1;
    }
    if (virDomainCreate(domain) < 0)
        return libvirt_error(err, "starting domain %s", plan->name);
    *started = steal_ptr(domain);
    return 0;
}

/* Whether the last libvirt call failed only because the thing is not there (any more). */
static bool is_gone(void)
{
    int code = virGetLastErrorCode();

    return code == VIR_ERR_NO_DOMAIN || code == VIR_ERR_OPERATION_INVALID;
}

int domain_remove(virConnectPtr connection, const char *uuid, struct error **err)
{
    CLEANUP_DOMAIN virDomainPtr domain = virDomainLookupByUUIDString(connection, uuid);

    if (!domain)
        return is_gone() ? 0 : libvirt_error(err, "looking for domain %s", uuid);
    if (virDomainDestroy(domain) < 0 && !is_gone())
        return libvirt_error(err, "stopping domain %s", virDomainGetName(domain));
    if (virDomainUndefineFlags(domain, VIR_DOMAIN_UNDEFINE_NVRAM | VIR_DOMAIN_UNDEFINE_TPM |
                                           VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                                           VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                                           VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA) < 0 &&
        virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
        return libvirt_error(err, "removing domain %s", virDomainGetName(domain));
    return 0;
}

int domain_look(virConnectPtr connection, const char *uuid, bool *exists, bool *active,
                struct error **err)
{
    CLEANUP_DOMAIN virDomainPtr domain = virDomainLookupByUUIDString(connection, uuid);
    int r = domain ? virDomainIsActive(domain) : -1;

    if (r < 0 && !is_gone())
        return libvirt_error(err, "looking for domain %s", uuid);
    *exists = domain != NULL && r >= 0;
    *active = r > 0;
    return 0;
}

int domain_stop(virConnectPtr connection, const char *uuid, unsigned timeout_s, struct error **err)
{
    CLEANUP_DOMAIN virDomainPtr domain = virDomainLookupByUUIDString(connection, uuid);
    const struct timespec pause = { .tv_nsec = 500000000 };

    if (!domain)
        return is_gone() ? 0 : libvirt_error(err, "looking for domain %s", uuid);
    if (virDomainIsActive(domain) == 1 && virDomainShutdown(domain) == 0) {
        for (unsigned halves = 0; halves < 2 * timeout_s && virDomainIsActive(domain) == 1;
             halves++)
            nanosleep(&pause, NULL);
    }
    if (virDomainDestroy(domain) < 0 && !is_gone())
        return libvirt_error(err, "stopping domain %s", virDomainGetName(domain));
    return 0;
}
