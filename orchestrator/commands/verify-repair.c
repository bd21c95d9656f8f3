/* vmferry verify --repair; see verify.h. */
#include <string.h>

#include "commands/verify.h"
#include "commands/watch.h"
#include "job/retire-steps.h"
#include "job/supply.h"
#include "replica/images-lock.h"

/* The point as it is now that nobody else can change it. */
static int load_again(struct verification *v, struct error **err)
{
    unsigned number = v->point.number;
    size_t count = v->point.count;
    struct replica_point point;

    if (replica_point_load(v->context->store, v->context->state_dir, v->vm.id, number, &point,
                           err) < 0)
        return -1;
    replica_point_free(&v->point);
    v->point = point;
    return point.count == count
               ? 0
               : error_set(err, "restore point %u changed while it was read", number);
}

static int repair_disks(struct verification *v, struct claim *claim, struct supply *supply,
                        struct error **err)
{
    const struct repair repair = { .store = v->context->store,
                                   .state_dir = v->context->state_dir,
                                   .vm = &v->vm,
                                   .point = &v->point,
                                   .cancel = &claim->stop };

    for (size_t i = 0; i < v->point.count; i++) {
        const struct replica_disk *disk = &v->point.disks[i];
        const struct check_disk *damage = &v->replica[i];
        const struct spec_disk *offered = NULL;
        const char *why = NULL;

        if (!check_passed(damage) && !damage->leaves_damaged)
            offered = supply_disk(supply, disk->key, &why);
        if (repair_disk(&repair, disk, damage, offered ? offered->place : NULL,
                        offered ? offered->capacity : 0, offered ? NULL : why, &v->repairs[i],
                        err) < 0)
            return -1;
    }
    return 0;
}

static int repair(struct verification *v, struct claim *claim, struct bar *bar, struct error **err)
{
    CLEANUP_MERGING struct merging merging = { 0 };
    struct supply supply = { 0 };
    char what[64];
    size_t finished;
    int r;

    merging_start(&merging, claim, v->context->store, v->context->state_dir);
    if (images_lock(v->context->state_dir, &v->vm, IMAGES_REWRITE, &v->reading, err) < 0 ||
        retire_unfinished(&merging, v->context->state_dir, &v->vm, &finished, err) < 0 ||
        load_again(v, err) < 0)
        return error_prefix(err, "it is damaged, and can't be repaired now");
    snprintf(what, sizeof what, "restore point %u", v->point.number);
    if (store_audit_vm(v->context->store, v->vm.id, "verify repair", what, NULL, NULL, err) < 0)
        return -1;
    supply_open(&supply, v->context->store, v->context->state_dir, &v->vm, claim, &claim->stop);
    r = repair_disks(v, claim, &supply, err);
    supply_close(&supply);
    if (supply.trouble[0])
        bar_message(bar, "%s", supply.trouble);
    return r < 0 ? -1 : verification_read(v, bar, err);
}

int verify_repair(struct verification *v, struct bar *bar, struct error **err)
{
    CLEANUP_CLAIM struct claim *claim = NULL;

    close(steal_fd(v->reading));
    v->repairs = calloc(v->point.count + 1, sizeof *v->repairs);
    if (!v->repairs)
        return error_set_errno(err, ENOMEM, "repairing");
    if (claim_hold(v->context->store, &v->vm, "repair", cancel_on_signals(), &claim, err) < 0)
        return error_prefix(err, "it is damaged, and can't be repaired now");
    return claim_let_go(claim, v->context->store, repair(v, claim, bar, err), err);
}
