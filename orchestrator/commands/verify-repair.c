/* vmferry verify --repair; see verify.h. */
#include <string.h>

#include "commands/verify.h"
#include "commands/watch.h"
#include "job/claim.h"
#include "job/retire-steps.h"
#include "replica/images-lock.h"

/* Where right data may come from. A source that can't be asked is no error: zeroes, and leaves
 * files, are repaired without it. */
struct supply {
    struct connection from;
    struct vm_spec spec;
    char none[1024]; /* why there is nothing; "" */
};

static void supply_free(struct supply *supply)
{
    spec_free(&supply->spec);
    connection_close(&supply->from);
}

static void open_supply(const struct verification *v, struct supply *supply)
{
    CLEANUP_ERROR struct error *problem = NULL;
    struct connection *from = &supply->from;

    from->settings.cancel = cancel_on_signals();
    if (connection_open(v->context->store, v->vm.source_id, v->context->state_dir, from, &problem) <
        0)
        snprintf(supply->none, sizeof supply->none, "%s", error_message(problem));
    else if (from->source->kind->serve)
        snprintf(
            supply->none, sizeof supply->none,
            "source '%s' offers its disks only to a replication: `vmferry replicate %s --full` "
            "makes a new point that is sound",
            from->row.name, v->vm.name);
    else if (from->source->kind->find(from->source, v->vm.uuid, &supply->spec, &problem) < 0)
        snprintf(supply->none, sizeof supply->none, "%s", error_message(problem));
}

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

static int repair_disks(struct verification *v, struct supply *supply, struct error **err)
{
    const struct repair repair = { .store = v->context->store,
                                   .state_dir = v->context->state_dir,
                                   .vm = &v->vm,
                                   .point = &v->point,
                                   .cancel = cancel_on_signals() };

    for (size_t i = 0; i < v->point.count; i++) {
        const struct replica_disk *disk = &v->point.disks[i];
        const struct spec_disk *offered = spec_disk_by_key(&supply->spec, disk->key);
        const char *none = supply->none[0] ? supply->none : NULL;

        if (!offered && !none)
            none = "the source does not offer this disk any more";
        if (repair_disk(&repair, disk, &v->replica[i], offered ? offered->place : NULL,
                        offered ? offered->capacity : 0, none, &v->repairs[i], err) < 0)
            return -1;
    }
    return 0;
}

static int repair(struct verification *v, struct bar *bar, struct error **err)
{
    CLEANUP(supply_free) struct supply supply = { 0 };
    char what[64];
    size_t finished;

    if (images_lock(v->context->state_dir, &v->vm, IMAGES_REWRITE, &v->reading, err) < 0 ||
        retire_unfinished(v->context->store, v->context->state_dir, &v->vm, &finished, err) < 0 ||
        load_again(v, err) < 0)
        return error_prefix(err, "it is damaged, and can't be repaired now");
    snprintf(what, sizeof what, "restore point %u", v->point.number);
    open_supply(v, &supply);
    if (store_audit_vm(v->context->store, v->vm.id, "verify repair", what, NULL, NULL, err) < 0 ||
        repair_disks(v, &supply, err) < 0)
        return -1;
    return verification_read(v, bar, err);
}

int verify_repair(struct verification *v, struct bar *bar, struct error **err)
{
    CLEANUP_CLAIM struct claim *claim = NULL;

    close(steal_fd(v->reading));
    v->repairs = calloc(v->point.count + 1, sizeof *v->repairs);
    if (!v->repairs)
        return error_set_errno(err, ENOMEM, "repairing");
    if (claim_hold(v->context->store, &v->vm, "repair", &claim, err) < 0)
        return error_prefix(err, "it is damaged, and can't be repaired now");
    return claim_let_go(claim, v->context->store, repair(v, bar, err), err);
}
