/* Taking an unfinished point over; see takeover.h. */
#include "job/takeover.h"

#include <string.h>

#include "job/sync.h"
#include "replica/volume.h"

struct takeover {
    struct store *store;
    const char *state_dir;
    const struct store_vm *vm;
    struct claim *claim;
    bool in_pool;
    struct store_point_disk *disks; /* as the rows have them */
    struct store_point_disk *anew;  /* as they will */
    size_t count;
};

static void takeover_free(struct takeover *takeover)
{
    free(takeover->disks);
    free(takeover->anew);
}

void takeover_mark(char *name, size_t size, int64_t fence)
{
    char folder[512], stem[128], ending[16];
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    const char *end = strrchr(base, '.');

    snprintf(folder, sizeof folder, "%.*s", (int)(base - name), name);
    snprintf(stem, sizeof stem, "%.*s", (int)strcspn(base, "."), base);
    snprintf(ending, sizeof ending, "%s", end ? end : "");
    snprintf(name, size, "%.500s%.120s.f%lld%.15s", folder, stem, (long long)fence, ending);
}

struct grant {
    const struct takeover *takeover;
    const struct export_target *target;
};

static int grant(struct store *store, void *opaque, struct error **err)
{
    const struct grant *grant = opaque;
    const struct takeover *takeover = grant->takeover;

    return export_grant(store, takeover->state_dir, grant->target, takeover->claim->lease, err);
}

/* Its writers are cut off: our lease is in the map, where theirs was. An export follows its image
 * to the new name, too. */
static int fence(const struct takeover *takeover, const struct store_point_disk *disk,
                 struct error **err)
{
    struct export_target target = { .vm = takeover->vm,
                                    .key = disk->key,
                                    .unit = disk->unit,
                                    .image = disk->image,
                                    .format = disk->format };
    struct grant body = { takeover, &target };
    char path[PATH_MAX];

    if (volume_path(takeover->state_dir, disk->image, path, err) < 0)
        return -1;
    return volume_is_rbd(path) || volume_exists(path)
               ? claim_transaction(takeover->claim, takeover->store, grant, &body, err)
               : 0;
}

static int clone_if_there(const struct takeover *takeover, const char *from, const char *to,
                          struct error **err)
{
    char source[PATH_MAX], target[PATH_MAX];

    if (volume_path(takeover->state_dir, from, source, err) < 0 ||
        volume_path(takeover->state_dir, to, target, err) < 0)
        return -1;
    return volume_exists(source) ? volume_clone(source, target, err) : 0;
}

static int link_if_there(const struct takeover *takeover, const char *from, const char *to,
                         struct error **err)
{
    char source[PATH_MAX], target[PATH_MAX];

    if (strcmp(from, to) == 0)
        return 0;
    if (volume_path(takeover->state_dir, from, source, err) < 0 ||
        volume_path(takeover->state_dir, to, target, err) < 0)
        return -1;
    return volume_exists(source) ? volume_link(source, target, err) : 0;
}

/* The journals first: the leaves of what they name were written before. */
static int copy_files(const struct takeover *takeover, const struct store_point_disk *disk,
                      const struct store_point_disk *anew, struct error **err)
{
    static const char *const journals[] = { "journal", "resend", "changes" };

    for (size_t i = 0; i < sizeof journals / sizeof journals[0]; i++) {
        char from[STORE_PATH], to[STORE_PATH];

        sync_name_beside(disk->leaves, journals[i], from, sizeof from);
        sync_name_beside(anew->leaves, journals[i], to, sizeof to);
        if (clone_if_there(takeover, from, to, err) < 0)
            return -1;
    }
    if (clone_if_there(takeover, disk->leaves, anew->leaves, err) < 0)
        return -1;
    return link_if_there(takeover, disk->image, anew->image, err);
}

static int write_names(struct store *store, void *opaque, struct error **err)
{
    const struct takeover *takeover = opaque;

    for (size_t i = 0; i < takeover->count; i++) {
        if (store_point_disk_rename(store, &takeover->anew[i], err) < 0)
            return -1;
    }
    return 0;
}

static void drop(const struct takeover *takeover, const char *name)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    char path[PATH_MAX];

    if (volume_path(takeover->state_dir, name, path, &ignored) == 0)
        volume_remove(path, &ignored);
}

/* The old names are nobody's any more. */
static void drop_old(const struct takeover *takeover, size_t i)
{
    static const char *const working[] = { "journal", "resend", "changes", "leaves" };
    const struct store_point_disk *disk = &takeover->disks[i];

    for (size_t w = 0; w < sizeof working / sizeof working[0]; w++) {
        char name[STORE_PATH];

        sync_name_beside(disk->leaves, working[w], name, sizeof name);
        drop(takeover, name);
    }
    if (strcmp(disk->image, takeover->anew[i].image) != 0)
        drop(takeover, disk->image);
}

static int take(struct takeover *takeover, struct error **err)
{
    for (size_t i = 0; i < takeover->count; i++) {
        if (fence(takeover, &takeover->disks[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < takeover->count; i++) {
        struct store_point_disk *anew = &takeover->anew[i];
        int64_t number = takeover->claim->job.fence;

        takeover_mark(anew->leaves, sizeof anew->leaves, number);
        if (anew->parent_id || !takeover->in_pool)
            takeover_mark(anew->image, sizeof anew->image, number);
        if (copy_files(takeover, &takeover->disks[i], anew, err) < 0)
            return error_prefix(err, "disk-%d", anew->key);
    }
    if (claim_transaction(takeover->claim, takeover->store, write_names, takeover, err) < 0)
        return -1;
    for (size_t i = 0; i < takeover->count; i++) {
        if (fence(takeover, &takeover->anew[i], err) < 0)
            return -1;
        drop_old(takeover, i);
    }
    return 0;
}

int takeover_point(struct store *store, const char *state_dir, const struct store_vm *vm,
                   struct claim *claim, struct error **err)
{
    CLEANUP(takeover_free)
    struct takeover takeover = { .store = store, .state_dir = state_dir, .vm = vm, .claim = claim };
    struct store_point point;
    int64_t pool_id;
    bool found;

    if (!claim->contested)
        return 0;
    if (store_point_unfinished(store, vm->id, &found, &point, err) < 0 ||
        store_vm_pool(store, vm->id, &pool_id, err) < 0)
        return -1;
    if (!found)
        return 0;
    takeover.in_pool = pool_id != 0;
    if (store_point_disks(store, point.id, &takeover.disks, &takeover.count, err) < 0)
        return -1;
    takeover.anew = calloc(takeover.count ? takeover.count : 1, sizeof *takeover.anew);
    if (!takeover.anew)
        return error_set_errno(err, ENOMEM, "%s", vm->name);
    if (takeover.count)
        memcpy(takeover.anew, takeover.disks, takeover.count * sizeof *takeover.anew);
    return take(&takeover, err);
}
