/* What can be known about a VM's replication before anything is touched: the source's own
 * findings, and those about the replica. Changes nothing. */
#ifndef VMFERRY_JOB_PREFLIGHT_H
#define VMFERRY_JOB_PREFLIGHT_H

#include "job/space.h"
#include "replica/pool.h"
#include "source/source.h"
#include "store/store.h"

/* Where the replica lies or will, and what stays free there. */
struct preflight_target {
    struct pool pool;
    struct space_reserve reserve;
};
/* The VM's pool, or the one that its first copy would take: `default_pool`, which may be "". */
int preflight_target(struct store *store, const char *state_dir, const struct store_vm *vm,
                     const char *default_pool, struct preflight_target *target, struct error **err);

/* `spec` is what the (open) source says of the VM now. */
int job_preflight(struct store *store, const struct preflight_target *target,
                  const struct store_vm *vm, struct source *source, const struct vm_spec *spec,
                  struct findings *findings, struct error **err);

size_t findings_count(const struct findings *findings, enum finding_level level);

#endif
