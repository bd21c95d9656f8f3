/* The target of a live failover; see live.h. */
#include "failover/live.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "failover/host.h"
#include "failover/job.h"
#include "progress.h"

static const struct boot_step steps[] = {
    { FAILOVER_OVERLAYS, boot_make_overlays, false },
    { FAILOVER_CONVERTING, boot_convert, true },
    { FAILOVER_STORAGE, boot_check_storage, false },
    { FAILOVER_NETWORK, boot_make_network, false },
    { FAILOVER_DOMAIN, boot_start_domain, false },
};

const struct boot_kind live_kind = {
    .name = "live",
    .title = "failover of",
    .persistent = true,
    .steps = steps,
    .step_count = sizeof steps / sizeof steps[0],
};

static int check_bridge(const struct boot *boot, const char *bridge, struct error **err)
{
    char path[PATH_MAX];

    if (boot->remote)
        return host_check_bridge(boot->connection, bridge, err);
    snprintf(path, sizeof path, "/sys/class/net/%s/bridge", bridge);
    return access(path, F_OK) == 0 ? 0 : error_set(err, "this host has no bridge '%s'", bridge);
}

static int check_bridges(const struct boot *boot, struct error **err)
{
    for (size_t i = 0; i < boot->plan.nic_count; i++) {
        const struct domain_nic *nic = &boot->plan.nics[i];

        if (nic->bridge && check_bridge(boot, nic->network, err) < 0)
            return error_append(err, "NIC %s is mapped to it", nic->mac);
    }
    return 0;
}

static int check_name(const struct boot *boot, struct error **err)
{
    const char *name = boot->result->failover.domain_name;
    CLEANUP_DOMAIN virDomainPtr domain = virDomainLookupByName(boot->connection, name);

    if (domain)
        return error_set(err,
                         "libvirt has a domain '%s' already: say another name, "
                         "--set='name = %s-moved'",
                         name, name);
    return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN
               ? 0
               : libvirt_error(err, "looking for domain %s", name);
}

int live_prepare(struct boot *boot, struct error **err)
{
    return boot_prepare(boot, err) < 0 || check_bridges(boot, err) < 0 || check_name(boot, err) < 0
               ? -1
               : 0;
}

static int tie(struct store *store, void *opaque, struct error **err)
{
    struct boot *boot = opaque;

    return store_vm_touch(store, boot->vm->id, err) < 0 || boot_refuse_going(boot, err) < 0
               ? -1
               : store_failover_update(store, &boot->result->failover, err);
}

int live_take_point(struct boot *boot, struct error **err)
{
    return boot_plan_again(boot, err) < 0 ? -1 : store_transaction(boot->store, tie, boot, err);
}

int live_attach(struct boot *boot, const char *virt_type, struct error **err)
{
    const struct store_failover *failover = &boot->result->failover;
    struct store_point point;

    if (store_point_find(boot->store, boot->vm->id, failover->point, &point, err) < 0)
        return -1;
    boot->plan.point.created_ms = point.created_ms;
    boot->began_ns = progress_now_ns();
    boot->result->virt_type = virt_type;
    boot->result->point = failover->point;
    failover_console(boot->state_dir, failover->id, boot->result->console);
    if (boot_compile(boot, err) < 0 || libvirt_connect(failover->uri, &boot->connection, err) < 0)
        return -1;
    boot->domain = virDomainLookupByUUIDString(boot->connection, failover->domain_uuid);
    return boot->domain ? 0 : libvirt_error(err, "looking for domain %s", failover->domain_name);
}

int live_look(const struct store_failover *failover, bool *exists, bool *active, struct error **err)
{
    CLEANUP_CONNECTION virConnectPtr connection = NULL;

    return libvirt_connect(failover->uri, &connection, err) < 0
               ? -1
               : domain_look(connection, failover->domain_uuid, exists, active, err);
}

int live_stop(const struct store_failover *failover, unsigned timeout_s, struct error **err)
{
    CLEANUP_CONNECTION virConnectPtr connection = NULL;

    return libvirt_connect(failover->uri, &connection, err) < 0
               ? -1
               : domain_stop(connection, failover->domain_uuid, timeout_s, err);
}
