/* Where a repair gets its data; see supply.h. */
#include "job/supply.h"

#include <inttypes.h>
#include <string.h>

static const struct source_kind *kind_of(const struct supply *supply)
{
    return supply->from.source->kind;
}

static void note(char text[1024], struct error *problem)
{
    snprintf(text, 1024, "%s", error_message(problem));
}

void supply_open(struct supply *supply, struct store *store, const char *state_dir,
                 const struct store_vm *vm, const struct claim *claim, atomic_int *cancel)
{
    CLEANUP_ERROR struct error *problem = NULL;

    supply->store = store;
    supply->vm = vm;
    supply->job_id = claim->job.id;
    supply->from.settings.cancel = cancel;
    if (connection_open(store, vm->source_id, state_dir, &supply->from, &problem) < 0 ||
        kind_of(supply)->find(supply->from.source, vm->uuid, &supply->spec, &problem) < 0)
        note(supply->none, problem);
}

/* The name is written down before the snapshot is made, and no two jobs give the same. */
static int freeze(struct supply *supply, struct error **err)
{
    char description[STORE_NAME + 64], random[LEASE_TEXT];
    const struct freeze_wishes wishes = { .snapshot = supply->snapshot,
                                          .description = description,
                                          .quiesce = QUIESCE_NO };

    if (export_new_lease(random, err) < 0)
        return -1;
    snprintf(supply->snapshot, sizeof supply->snapshot, "vmferry-%" PRId64 "-%.12s", supply->job_id,
             random);
    snprintf(description, sizeof description, "vmferry, job %" PRId64 ": repair of %.200s",
             supply->job_id, supply->vm->name);
    if (store_job_set_snapshot(supply->store, supply->job_id, supply->snapshot, err) < 0)
        return -1;
    return kind_of(supply)->freeze(supply->from.source, &wishes, &supply->spec, err);
}

static struct spec_disk *find_disk(struct supply *supply, int key)
{
    const struct spec_disk *disk = spec_disk_by_key(&supply->spec, key);

    return disk ? &supply->spec.disks[disk - supply->spec.disks] : NULL;
}

const struct spec_disk *supply_disk(struct supply *supply, int key, const char **why)
{
    CLEANUP_ERROR struct error *problem = NULL;
    struct spec_disk *disk = find_disk(supply, key);

    if (!supply->none[0] && !disk)
        snprintf(supply->none, sizeof supply->none, "the source does not offer this disk any more");
    if (!supply->none[0] && kind_of(supply)->freeze && !supply->snapshot[0] &&
        freeze(supply, &problem) < 0)
        note(supply->none, problem);
    *why = supply->none;
    if (supply->none[0])
        return NULL;
    disk = find_disk(supply, key);
    if (!disk || (kind_of(supply)->serve &&
                  kind_of(supply)->serve(supply->from.source, &supply->spec, disk, &problem) < 0)) {
        note(supply->none, problem);
        return NULL;
    }
    return disk;
}

void supply_close(struct supply *supply)
{
    CLEANUP_ERROR struct error *problem = NULL;

    if (supply->snapshot[0] &&
        (kind_of(supply)->thaw(supply->from.source, supply->vm->uuid, supply->snapshot, &problem) <
             0 ||
         store_job_set_snapshot(supply->store, supply->job_id, "", &problem) < 0))
        snprintf(supply->trouble, sizeof supply->trouble,
                 "snapshot %s can't be removed: %s; `vmferry recover` tries again",
                 supply->snapshot, error_message(problem));
    supply->snapshot[0] = '\0';
    spec_free(&supply->spec);
    supply->spec = (struct vm_spec){ 0 };
    connection_close(&supply->from);
}
