/* The guard of the target's free space; see sync.h and space.h. What comes in: a planned
 * sync. What goes out: leave to write it, or ERROR_PAUSED that says how much is missing
 * where. It counts what is known: data that a change map or a source file names, tables,
 * leaves. For what is not known (how much a comparison will find) the copy is watched,
 * and stops while there is still room to end cleanly. */
#include "job/space.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "changemap.h"
#include "copy/used.h"
#include "job/full.h"
#include "job/sync.h"
#include "replica/volume.h"
#include "size.h"

#define CLUSTER     ((uint64_t)65536) /* of qcow2 as qemu-img makes it */
#define PART        (UINT64_C(512) << 20)
#define HEADERS     (8 * CLUSTER) /* header, L1, refcounts, and the first table of each kind */
#define MiB         (1024.0 * 1024.0)
#define RESERVE_MAX (UINT64_C(1) << 30)
#define LEAF        16 /* bytes of a leaf, for each block of the digest */

int space_reserve_parse(const char *text, struct space_reserve *reserve, struct error **err)
{
    size_t length = strlen(text);
    char number[32];
    const char *problem;
    bool percent = length > 1 && length < sizeof number && text[length - 1] == '%';

    snprintf(number, sizeof number, "%.*s", (int)(percent ? length - 1 : length), text);
    problem = length < sizeof number ? size_parse(number, &reserve->amount) : "is too long";
    if (!problem && percent && reserve->amount > 90)
        problem = "is more than 90%";
    if (problem)
        return error_set_kind(err, ERROR_USAGE, "'%s' %s", text, problem);
    reserve->unit = percent ? RESERVE_PERCENT : RESERVE_BYTES;
    return 0;
}

uint64_t space_reserve_of(const struct space_reserve *reserve, uint64_t total)
{
    uint64_t five_percent = total / 20;

    switch (reserve->unit) {
    case RESERVE_BYTES:
        return reserve->amount;
    case RESERVE_PERCENT:
        return total / 100 * reserve->amount;
    case RESERVE_DEFAULT:
        break;
    }
    return five_percent < RESERVE_MAX ? five_percent : RESERVE_MAX;
}

int space_room(const struct pool *pool, const struct space_reserve *reserve, uint64_t *room,
               struct error **err)
{
    struct pool_space space;
    uint64_t kept;

    if (pool_space(pool, &space, err) < 0)
        return -1;
    /* Devices are given whole. */
    kept = strcmp(pool->row.kind, "block") == 0 ? 0 : space_reserve_of(reserve, space.total);
    if (space.total == 0)
        *room = UINT64_MAX;
    else
        *room = space.free > kept ? space.free - kept : 0;
    return 0;
}

/* A table of one cluster for each 512 MiB of the disk that has data, wherever in it; a first
 * table of 8 bytes for each of those; a cluster of refcounts for each 2 GiB of the file. */
uint64_t space_of_overlay(uint64_t capacity, uint64_t data)
{
    uint64_t parts = (capacity + PART - 1) / PART, clusters = (data + CLUSTER - 1) / CLUSTER;
    uint64_t tables = clusters < parts ? clusters : parts;

    return HEADERS + parts * 8 + tables * CLUSTER +
           (data + tables * CLUSTER) / (4 * PART) * CLUSTER;
}

/* Whole clusters that the ranges touch. */
static uint64_t clusters_of(const struct changemap *map)
{
    uint64_t bytes = 0, next = 0; /* the first cluster that is not counted yet */

    for (size_t i = 0; i < map->count; i++) {
        uint64_t first = map->ranges[i].offset / CLUSTER;
        uint64_t end = (map->ranges[i].offset + map->ranges[i].length + CLUSTER - 1) / CLUSTER;

        if (first < next)
            first = next;
        if (end > first)
            bytes += (end - first) * CLUSTER;
        if (end > next)
            next = end;
    }
    return bytes;
}

/* A live source serves its disks only later; its change maps are files. */
static uint64_t ask(const struct disk_sync *disk, const char *context)
{
    CLEANUP_ERROR struct error *unknown = NULL;
    uint64_t bytes;

    if (!disk->offered->place[0] || copy_used(disk->offered->place, context, &bytes, &unknown) < 0)
        return 0;
    return bytes;
}

static uint64_t map_bytes(const struct disk_sync *disk)
{
    CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;
    CLEANUP_ERROR struct error *unreadable = NULL;

    if (!disk->offered->changes_is_file)
        return ask(disk, disk->offered->changes);
    if (!disk->offered->changes[0] || changemap_load(disk->offered->changes, &map, &unreadable) < 0)
        return 0;
    return clusters_of(&map);
}

/* What the first copy has to write, as far as anybody knows. */
static uint64_t used_bytes(const struct sync *sync, const struct disk_sync *disk)
{
    const struct spec_disk *offered = disk->offered;
    uint64_t used = 0;

    if (offered->changes[0] && strcmp(offered->since, "*") == 0)
        used = map_bytes(disk);
    else if (offered->is_file)
        used = volume_allocated(offered->place);
    else if (!sync_is_live(sync))
        used = ask(disk, NULL);
    else if (sync->count == 1)
        used = sync->spec.inventory.used;
    return used < disk->capacity ? used : disk->capacity;
}

/* What this disk's image will have grown by. */
static uint64_t image_bytes(const struct sync *sync, const struct disk_sync *disk)
{
    uint64_t data = disk->type == SYNC_INITIAL || disk->send_all ? used_bytes(sync, disk)
                    : disk->type == SYNC_INCREMENTAL             ? map_bytes(disk)
                                                                 : 0;
    uint64_t bytes = data, have = volume_allocated(disk->image);

    if (strcmp(disk->row.format, "qcow2") == 0)
        bytes += space_of_overlay(disk->capacity, data);
    return bytes > have ? bytes - have : 0;
}

/* The leaves of a point are a file of their own. */
static uint64_t leaves_bytes(const struct disk_sync *disk)
{
    uint64_t bytes = disk->capacity / DIGEST_BLOCK * LEAF + CLUSTER;
    uint64_t have = volume_allocated(disk->leaves);

    return bytes > have ? bytes - have : 0;
}

/* The two places that are written to; they may be one file system. */
struct need {
    uint64_t pool;
    uint64_t state;
};

static bool writes_to_pool(const struct sync *sync, const struct disk_sync *disk)
{
    return disk->type == SYNC_INITIAL || pool_keeps_overlays(&sync->pool);
}

static struct need count_need(const struct sync *sync)
{
    struct need need = { 0 };

    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];

        if (disk->start == START_DONE)
            continue;
        *(writes_to_pool(sync, disk) ? &need.pool : &need.state) += image_bytes(sync, disk);
        need.state += leaves_bytes(disk);
    }
    return need;
}

static int pause_for(const char *title, uint64_t space, uint64_t need, uint64_t reserve,
                     struct error **err)
{
    error_set_kind(err, ERROR_PAUSED,
                   "%s has %.1f MiB free, and this sync needs %.1f MiB, with %.1f MiB to stay free "
                   "([replicate] reserve): make room, and it goes on",
                   title, (double)space / MiB, (double)need / MiB, (double)reserve / MiB);
    (*err)->errnum = ENOSPC;
    return -1;
}

static int check_place(const struct sync *sync, const char *title, const struct pool_space *space,
                       uint64_t need, struct error **err)
{
    uint64_t reserve = space_reserve_of(&sync->options->reserve, space->total);

    if (space->total == 0) /* a cluster that does not know */
        return 0;
    if (space->free >= reserve && space->free - reserve >= need)
        return 0;
    return pause_for(title, space->free, need, reserve, err);
}

static bool same_file_system(const struct sync *sync)
{
    struct stat state, pool;

    return sync->pool.row.id == 0 ||
           (sync->pool.folder[0] && stat(sync->state_dir, &state) == 0 &&
            stat(sync->pool.folder, &pool) == 0 && state.st_dev == pool.st_dev);
}

/* A device is given whole: what is written to it takes nobody's room. */
static bool pool_has_limit(const struct sync *sync)
{
    return strcmp(sync->pool.row.kind, "block") != 0;
}

/* Thick volumes take all of their room at once. */
static uint64_t pool_need(const struct sync *sync, uint64_t counted)
{
    uint64_t need = 0;

    if (strcmp(sync->pool.row.kind, "lvm") != 0)
        return counted;
    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];

        if (disk->type == SYNC_INITIAL && disk->start == START_FRESH)
            need += disk->capacity;
    }
    return need;
}

int sync_check_space(struct sync *sync, struct error **err)
{
    struct need need = count_need(sync);
    struct pool state = { 0 };
    struct pool_space space;
    char title[POOL_TITLE];

    if (same_file_system(sync)) {
        need.state += need.pool;
        need.pool = 0;
    }
    if (need.pool && pool_has_limit(sync) &&
        (pool_space(&sync->pool, &space, err) < 0 ||
         check_place(sync, pool_title(&sync->pool, title), &space, pool_need(sync, need.pool),
                     err) < 0))
        return -1;
    snprintf(state.state_dir, sizeof state.state_dir, "%s", sync->state_dir);
    if (folder_space(sync->state_dir, &space, err) < 0)
        return -1;
    if (check_place(sync, pool_title(same_file_system(sync) ? &sync->pool : &state, title), &space,
                    need.state, err) < 0)
        return -1;
    ballast_hold(&sync->ballast, sync->state_dir);
    return 0;
}

/* Half of the reserve is for what nobody can count: the file system's own tables. */
static int watch(const struct sync *sync, const char *folder, const struct pool *pool,
                 struct error **err)
{
    struct pool_space space;
    char title[POOL_TITLE];
    uint64_t reserve;

    if (folder_space(folder, &space, err) < 0)
        return -1;
    reserve = space_reserve_of(&sync->options->reserve, space.total);
    if (space.free >= reserve / 2)
        return 0;
    error_set_kind(err, ERROR_PAUSED,
                   "%s is almost full: %.1f MiB are free, and %.1f MiB are to stay free "
                   "([replicate] reserve): make room, and it goes on",
                   pool_title(pool, title), (double)space.free / MiB, (double)reserve / MiB);
    (*err)->errnum = ENOSPC;
    return -1;
}

int sync_watch_space(const struct sync *sync, struct error **err)
{
    struct pool state = { 0 };

    snprintf(state.state_dir, sizeof state.state_dir, "%s", sync->state_dir);
    if (sync->pool.folder[0] && watch(sync, sync->pool.folder, &sync->pool, err) < 0)
        return -1;
    return watch(sync, sync->state_dir, &state, err);
}

void sync_explain_space(struct sync *sync, struct error **err)
{
    const struct full_place place = { .pool = &sync->pool, .state_dir = sync->state_dir };

    full_explain(&place, &sync->ballast, err);
}
