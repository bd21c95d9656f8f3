/* VMs that live somewhere else now; see moved.h. */
#include "job/moved.h"

#include <inttypes.h>
#include <string.h>

static int refuse(const struct store_vm *vm, const struct store_failover *failover,
                  struct error **err)
{
    if (failover->completed_ms)
        error_set(err,
                  "'%s' was moved for good by failover %" PRId64
                  " (domain %s): its source is out of "
                  "service, and nothing is replicated from it",
                  vm->name, failover->id, failover->domain_name);
    else
        error_set(
            err,
            "live failover %" PRId64 " of '%s' (%s, domain %s): nothing is replicated from its "
            "source. `vmferry failover rollback %s` goes back to the source, `vmferry "
            "failover commit %s` stays",
            failover->id, vm->name, failover->state, failover->domain_name, vm->name, vm->name);
    (*err)->errnum = EPERM;
    return -1;
}

int moved_refuse(struct store *store, int64_t vm_id, int64_t ours, struct error **err)
{
    CLEANUP_FREE struct store_failover *list = NULL;
    struct store_vm vm;
    size_t count;
    bool committed;

    if (store_vm_touch(store, vm_id, err) < 0 || store_vm_get(store, vm_id, &vm, err) < 0 ||
        store_failovers(store, vm_id, false, &list, &count, err) < 0)
        return -1;
    committed = strcmp(vm.state, "committed") == 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].kind, "live") == 0 && list[i].id != ours &&
            (!list[i].completed_ms || committed))
            return refuse(&vm, &list[i], err);
    }
    return 0;
}
