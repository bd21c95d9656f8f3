/* What a failover will make, all of it decided and checked before anything is made: the
 * point, the hardware, the disks and the NICs of the domain. Only reads. */
#ifndef VMFERRY_FAILOVER_PLAN_H
#define VMFERRY_FAILOVER_PLAN_H

#include "failover/domain.h"
#include "failover/failover.h"

struct failover_plan {
    unsigned kept; /* the point is that of a live failover, with what its guest wrote */
    struct vm_spec spec;
    struct replica_point point;
    struct hardware hardware;
    const char *virt_type;
    struct domain_disk *disks; /* of the point; overlays by failover_plan_place() */
    struct domain_nic *nics;
    size_t nic_count;
    bool isolated; /* it needs a network of its own, by the name that failover_plan_place() gives */
};

int failover_plan_make(struct store *store, const char *state_dir, const struct store_vm *vm,
                       const struct failover_options *options, struct failover_plan *plan,
                       struct error **err);
void failover_plan_free(struct failover_plan *plan);
#define CLEANUP_PLAN CLEANUP(failover_plan_free)

/* A new failover of it, of this kind: uuid, domain and network have names. */
void failover_plan_name(const struct failover_plan *plan, const struct failover_options *options,
                        const struct store_vm *vm, const char *kind,
                        struct store_failover *failover);

/* Where the overlays of that failover are, and its network. */
void failover_plan_place(struct failover_plan *plan, const char *state_dir,
                         const struct store_failover *failover);

/* The point's images again: nothing changes them once the failover is in the store. */
int failover_plan_reload(struct store *store, const char *state_dir, int64_t vm_id,
                         struct failover_plan *plan, struct error **err);

#endif
