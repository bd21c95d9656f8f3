/* Planning failovers; see plan.h. */
#include "failover/plan.h"

#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "failover/job.h"
#include "failover/virt.h"

void failover_plan_free(struct failover_plan *plan)
{
    spec_free(&plan->spec);
    replica_point_free(&plan->point);
    free(plan->disks);
    free(plan->nics);
    *plan = (struct failover_plan){ 0 };
}

/* What a live failover's guest wrote is one more image on each disk's chain. */
static int put_on_top(struct replica_disk *disk, const char *state_dir, int64_t id,
                      struct error **err)
{
    struct replica_image *chain =
        reallocarray(disk->chain, disk->chain_length + 1, sizeof *disk->chain);

    if (!chain)
        return error_set_errno(err, ENOMEM, "planning the domain");
    memmove(chain + 1, chain, disk->chain_length * sizeof *chain);
    disk->chain = chain;
    disk->chain_length++;
    failover_kept(state_dir, id, disk->key, chain[0].path);
    strcpy(chain[0].format, "qcow2");
    return access(chain[0].path, R_OK) < 0 ? error_set_errno(err, errno, "%s", chain[0].path) : 0;
}

static int load_kept(struct store *store, const char *state_dir, int64_t vm_id, unsigned id,
                     struct replica_point *point, struct error **err)
{
    struct store_failover failover;

    if (store_failover_get(store, id, &failover, err) < 0)
        return -1;
    if (failover.vm_id != vm_id || strcmp(failover.state, FAILOVER_KEPT) != 0)
        return error_set(err, "no live failover %u of this VM was rolled back and kept", id);
    if (!failover.point_id)
        return error_set(
            err,
            "live-%u stands on no restore point any more, as the VM was committed: its "
            "disks are the qcow2 images *" FAILOVER_KEPT_ENDING " in %s/failovers/%u",
            id, state_dir, id);
    if (replica_point_load(store, state_dir, vm_id, failover.point, point, err) < 0)
        return -1;
    for (size_t i = 0; i < point->count; i++) {
        if (put_on_top(&point->disks[i], state_dir, id, err) < 0)
            return -1;
    }
    return 0;
}

static int load_point(struct store *store, const char *state_dir, int64_t vm_id, unsigned number,
                      unsigned kept, struct replica_point *point, struct error **err)
{
    return kept ? load_kept(store, state_dir, vm_id, kept, point, err)
                : replica_point_load(store, state_dir, vm_id, number, point, err);
}

static int load(struct store *store, const char *state_dir, const struct store_vm *vm,
                const struct failover_options *options, struct failover_plan *plan,
                struct error **err)
{
    CLEANUP_FREE char *json = NULL;

    plan->kept = options->kept;
    if (load_point(store, state_dir, vm->id, options->point, options->kept, &plan->point, err) <
            0 ||
        store_vm_spec(store, vm->id, &json, err) < 0)
        return -1;
    return spec_parse_stored(json, "the stored description", &plan->spec, err);
}

/* The disks are the point's: the source may have others by now. */
static int plan_disks(struct failover_plan *plan, struct error **err)
{
    size_t count = plan->point.count;
    CLEANUP_FREE int *keys = calloc(count + 1, sizeof *keys);
    CLEANUP_FREE unsigned *order = calloc(count + 1, sizeof *order);
    bool boots = false;

    plan->disks = calloc(count + 1, sizeof *plan->disks);
    if (!keys || !order || !plan->disks)
        return error_set_errno(err, ENOMEM, "planning the domain");
    for (size_t i = 0; i < count; i++)
        keys[i] = plan->point.disks[i].key;
    hardware_boot_order(&plan->hardware, &plan->spec, keys, count, order);
    for (size_t i = 0; i < count; i++) {
        plan->disks[i].key = keys[i];
        plan->disks[i].boot = order[i];
        plan->disks[i].chain = plan->point.disks[i].chain;
        plan->disks[i].chain_length = plan->point.disks[i].chain_length;
        boots |= order[i] > 0;
    }
    if (!boots)
        return error_set(err, "boot = disk-%d: restore point %u has no such disk",
                         plan->hardware.boot_key, plan->point.number);
    return 0;
}

/* Where a NIC goes: all to one place, or each by its mapping. */
static int target_of(const struct failover_options *options, const struct store_vm *vm,
                     const struct spec_nic *nic, struct net_target *target, struct error **err)
{
    const struct store_netmap *mapping;

    *target = options->network;
    if (!options->networks)
        return 0;
    mapping = netmap_find(options->networks, vm, nic);
    if (!mapping)
        return error_set(err, "NIC %s is in '%s', which is mapped to no network here", nic->mac,
                         nic->network);
    return net_target_parse(mapping->target, target, err);
}

static int plan_nics(struct failover_plan *plan, const struct failover_options *options,
                     const struct store_vm *vm, struct error **err)
{
    plan->nics = calloc(plan->spec.nic_count + 1, sizeof *plan->nics);
    if (!plan->nics)
        return error_set_errno(err, ENOMEM, "planning the domain");
    for (size_t i = 0; i < plan->spec.nic_count; i++) {
        struct net_target target;
        struct domain_nic *nic;

        if (target_of(options, vm, &plan->spec.nics[i], &target, err) < 0)
            return -1;
        if (target.kind == NET_NONE)
            continue;
        nic = &plan->nics[plan->nic_count++];
        strcpy(nic->mac, plan->spec.nics[i].mac);
        nic->model = hardware_nic_model(&plan->hardware, plan->spec.nics[i].model);
        nic->bridge = target.kind == NET_BRIDGE;
        nic->isolated = target.kind == NET_ISOLATED;
        strcpy(nic->network, target.name);
        plan->isolated |= nic->isolated;
    }
    return 0;
}

int failover_plan_make(struct store *store, const char *state_dir, const struct store_vm *vm,
                       const struct failover_options *options, struct failover_plan *plan,
                       struct error **err)
{
    static const struct override nothing = { 0 };
    const struct override *override = options->override ? options->override : &nothing;

    if (load(store, state_dir, vm, options, plan, err) < 0)
        return -1;
    hardware_choose(&plan->spec, plan->point.count, plan->spec.nic_count, &plan->hardware);
    if (override_choose(override, &plan->hardware, err) < 0 || plan_disks(plan, err) < 0 ||
        plan_nics(plan, options, vm, err) < 0)
        return error_prefix(err, "%s", vm->name);
    return virt_choose(options->virt_type, &plan->virt_type, err);
}

/* Random, version 4. */
static void make_uuid(char text[STORE_UUID])
{
    unsigned char b[16];

    while (getrandom(b, sizeof b, 0) != sizeof b)
        ;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    snprintf(text, STORE_UUID,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

/* A test's domain has a name that nobody else has, a live one's is the VM's. */
static void name_domain(const struct failover_plan *plan, const struct store_vm *vm,
                        struct store_failover *failover)
{
    if (plan->hardware.name[0])
        snprintf(failover->domain_name, sizeof failover->domain_name, "%s", plan->hardware.name);
    else if (strcmp(failover->kind, "live") == 0)
        hardware_domain_name(vm->name, failover->domain_name);
    else
        snprintf(failover->domain_name, sizeof failover->domain_name, "vmferry-test-%.8s",
                 failover->domain_uuid);
}

void failover_plan_name(const struct failover_plan *plan, const struct failover_options *options,
                        const struct store_vm *vm, const char *kind,
                        struct store_failover *failover)
{
    *failover = (struct store_failover){
        .vm_id = vm->id,
        .point_id = plan->point.id,
        .point = plan->point.number,
    };
    snprintf(failover->kind, sizeof failover->kind, "%s", kind);
    strcpy(failover->state, FAILOVER_OVERLAYS);
    failover_host(failover->host);
    snprintf(failover->uri, sizeof failover->uri, "%s", options->uri ? options->uri : "");
    make_uuid(failover->domain_uuid);
    name_domain(plan, vm, failover);
    if (plan->isolated)
        snprintf(failover->network, sizeof failover->network, "vft-%.8s", failover->domain_uuid);
}

void failover_plan_place(struct failover_plan *plan, const char *state_dir,
                         const struct store_failover *failover)
{
    for (size_t i = 0; i < plan->point.count; i++)
        failover_overlay(state_dir, failover->id, plan->disks[i].key, plan->disks[i].overlay);
    for (size_t i = 0; i < plan->nic_count; i++) {
        if (plan->nics[i].isolated)
            snprintf(plan->nics[i].network, sizeof plan->nics[i].network, "%s", failover->network);
    }
}

int failover_plan_reload(struct store *store, const char *state_dir, int64_t vm_id,
                         struct failover_plan *plan, struct error **err)
{
    CLEANUP_POINT struct replica_point again = { 0 };
    struct replica_point old;

    if (load_point(store, state_dir, vm_id, plan->point.number, plan->kept, &again, err) < 0)
        return -1;
    for (size_t i = 0; i < again.count; i++) {
        if (again.count != plan->point.count || again.disks[i].key != plan->disks[i].key)
            return error_set(err, "restore point %u has changed meanwhile; try again",
                             plan->point.number);
        plan->disks[i].chain = again.disks[i].chain;
        plan->disks[i].chain_length = again.disks[i].chain_length;
    }
    old = plan->point;
    plan->point = again;
    again = old;
    return 0;
}
