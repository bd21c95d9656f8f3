/* Preflight; see preflight.h. */
#include "job/preflight.h"

#include <string.h>

#include "job/identity.h"
#include "job/sync.h"

#define MiB (UINT64_C(1) << 20)

size_t findings_count(const struct findings *findings, enum finding_level level)
{
    size_t count = 0;

    for (size_t i = 0; i < findings->count; i++)
        count += findings->list[i].level == level;
    return count;
}

static int no_memory(struct error **err)
{
    return error_set_errno(err, ENOMEM, "preflight");
}

/* The first copy takes what the VM uses; later ones what changes, which nobody knows now. */
static int check_space(const struct preflight_target *target, bool replicated,
                       const struct vm_spec *spec, struct findings *findings, struct error **err)
{
    uint64_t capacity = 0, used = spec->inventory.used, space;
    enum finding_level level = FINDING_OK;
    char title[POOL_TITLE];

    /* Its overlays lie in the state directory, and nobody knows how large they get. */
    if (replicated && !pool_keeps_overlays(&target->pool))
        return 0;
    if (space_room(&target->pool, &target->reserve, &space, err) < 0)
        return -1;
    for (size_t i = 0; i < spec->disk_count; i++)
        capacity += spec->disks[i].capacity;
    if (used > capacity || used == 0)
        used = capacity;
    if (!replicated && space < used)
        level = spec->inventory.used ? FINDING_BLOCKER : FINDING_WARNING;
    else if (space < (replicated ? capacity / 10 : capacity))
        level = FINDING_WARNING;
    if (findings_add(findings, level, "space",
                     level == FINDING_OK ? NULL : "make room, or use another pool",
                     "%llu MiB can be used in %s; the disks hold %llu MiB, %llu MiB at most",
                     (unsigned long long)(space / MiB), pool_title(&target->pool, title),
                     (unsigned long long)(used / MiB), (unsigned long long)(capacity / MiB)) < 0)
        return no_memory(err);
    return 0;
}

static int check_identity(struct store *store, const struct store_vm *vm,
                          const struct source *source, const struct vm_spec *spec,
                          struct findings *findings, struct error **err)
{
    const struct identity_leave leave = { .places_moved = true,
                                          .may_grow = source->kind->freeze != NULL };
    CLEANUP_FREE struct store_disk *stored = NULL;
    CLEANUP_ERROR struct error *differs = NULL;
    size_t count;
    bool same;

    if (store_disks(store, vm->id, &stored, &count, err) < 0)
        return -1;
    same = identity_check(vm, stored, count, spec, &leave, &differs) == 0;
    if (findings_add(findings, same ? FINDING_OK : FINDING_BLOCKER, "disks",
                     same ? NULL : "`vmferry replicate` prints both maps",
                     same ? "they are those of the replica"
                          : "they are not those that the replica was made from") < 0)
        return no_memory(err);
    return 0;
}

/* A disk without a uuid could be exchanged for another one, and nobody would know. */
static int check_uuids(const struct vm_spec *spec, struct findings *findings, struct error **err)
{
    for (size_t i = 0; i < spec->disk_count; i++) {
        char check[48];

        if (spec->disks[i].backing_uuid[0])
            continue;
        snprintf(check, sizeof check, "disk-%d: uuid", spec->disks[i].key);
        if (findings_add(findings, FINDING_BLOCKER, check, "look at the disk's descriptor",
                         "the source names no uuid of this disk, so that it can't be told from "
                         "another") < 0)
            return no_memory(err);
    }
    return 0;
}

static int has_points(struct store *store, const struct store_vm *vm, bool *replicated,
                      struct error **err)
{
    CLEANUP_FREE struct store_point *points = NULL;
    size_t count;

    if (store_points(store, vm->id, &points, &count, err) < 0)
        return -1;
    *replicated = count > 0;
    return 0;
}

int preflight_target(struct store *store, const char *state_dir, const struct store_vm *vm,
                     const char *default_pool, struct preflight_target *target, struct error **err)
{
    struct store_pool row = { 0 };
    int64_t id;
    bool has;

    if (store_vm_pool(store, vm->id, &id, err) < 0 ||
        store_vm_has_points(store, vm->id, &has, err) < 0)
        return -1;
    if (!has && !id && default_pool[0] && strcmp(default_pool, "state") != 0) {
        if (store_pool_find(store, default_pool, &row, err) < 0)
            return -1;
        id = row.id;
    }
    return pool_open(store, state_dir, id, &target->pool, err);
}

int job_preflight(struct store *store, const struct preflight_target *target,
                  const struct store_vm *vm, struct source *source, const struct vm_spec *spec,
                  struct findings *findings, struct error **err)
{
    bool replicated;

    if (source->kind->preflight && source->kind->preflight(source, spec, findings, err) < 0)
        return -1;
    if (has_points(store, vm, &replicated, err) < 0 || check_uuids(spec, findings, err) < 0 ||
        (replicated && check_identity(store, vm, source, spec, findings, err) < 0))
        return -1;
    return check_space(target, replicated, spec, findings, err);
}

/* Room can be made, and then it goes on. */
static bool only_space_is_missing(const struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (findings->list[i].level == FINDING_BLOCKER &&
            strcmp(findings->list[i].check, "space") != 0)
            return false;
    }
    return true;
}

static int list_blockers(const struct findings *findings, const char *name, struct error **err)
{
    CLEANUP_FREE char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);

    if (!memory)
        return no_memory(err);
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->list[i];

        if (finding->level == FINDING_BLOCKER)
            fprintf(memory, "\n  %s: %s%s%s", finding->check, finding->text,
                    finding->remedy[0] ? "; " : "", finding->remedy);
    }
    fclose(memory);
    error_set(err, "'%s' can't be replicated now; nothing was changed:%s", name, text ? text : "");
    if (only_space_is_missing(findings)) {
        (*err)->kind = ERROR_PAUSED;
        (*err)->errnum = ENOSPC;
    }
    return -1;
}

int sync_preflight(struct sync *sync, struct error **err)
{
    CLEANUP_FINDINGS struct findings findings = { 0 };
    const struct preflight_target target = { sync->pool, sync->options->reserve };

    /* Who goes on with a dead job's snapshot goes on behind its preflight. */
    if (!sync_is_live(sync) || sync->adopted)
        return 0;
    if (job_preflight(sync->store, &target, sync->vm, sync->from.source, &sync->spec, &findings,
                      err) < 0)
        return -1;
    if (findings_count(&findings, FINDING_BLOCKER) > 0)
        return list_blockers(&findings, sync->vm->name, err);
    return 0;
}
