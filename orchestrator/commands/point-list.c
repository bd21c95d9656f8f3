/* vmferry point list and show. */
#include <json.h>
#include <string.h>
#include <sys/stat.h>

#include "commands/human.h"
#include "commands/options.h"
#include "commands/point.h"
#include "failover/failover.h"
#include "failover/job.h"
#include "replica/volume.h"
#include "table.h"

/* A point with all that is told of it. */
struct listed {
    struct store_point point;
    struct store_point_disk *disks;
    size_t count;
    uint64_t *own;  /* bytes that each disk's image takes in its file system */
    unsigned above; /* the number of the point that stands on it; 0: none */
};

struct listing {
    struct listed *points; /* the oldest first */
    size_t count;
    struct store_failover *failovers; /* open ones, and what live ones left: "live-ID" */
    size_t failover_count;
};

static void listing_free(struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++) {
        free(listing->points[i].disks);
        free(listing->points[i].own);
    }
    free(listing->points);
    free(listing->failovers);
}

/* 0 when it can't be told. */
static uint64_t allocated(const char *path)
{
    struct stat st;

    return stat(path, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

static uint64_t own_bytes(const char *state_dir, const char *image)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    char path[PATH_MAX];

    return volume_path(state_dir, image, path, &ignored) < 0 ? 0 : allocated(path);
}

static int load_disks(struct context *context, struct listed *listed, struct error **err)
{
    if (store_point_disks(context->store, listed->point.id, &listed->disks, &listed->count, err) <
        0)
        return -1;
    listed->own = calloc(listed->count + 1, sizeof *listed->own);
    if (!listed->own)
        return error_set_errno(err, ENOMEM, "listing restore points");
    for (size_t i = 0; i < listed->count; i++)
        listed->own[i] = own_bytes(context->state_dir, listed->disks[i].image);
    return 0;
}

static bool is_kept(const struct store_failover *failover)
{
    return strcmp(failover->state, FAILOVER_KEPT) == 0;
}

static int load_failovers(struct context *context, const struct store_vm *vm,
                          struct listing *listing, struct error **err)
{
    size_t count;

    if (store_failovers(context->store, vm->id, false, &listing->failovers, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!listing->failovers[i].completed_ms || is_kept(&listing->failovers[i]))
            listing->failovers[listing->failover_count++] = listing->failovers[i];
    }
    return 0;
}

static int load(struct context *context, const struct store_vm *vm, struct listing *listing,
                struct error **err)
{
    CLEANUP_FREE struct store_point *points = NULL;
    size_t count;

    if (store_points(context->store, vm->id, &points, &count, err) < 0 ||
        load_failovers(context, vm, listing, err) < 0)
        return -1;
    listing->points = calloc(count + 1, sizeof *listing->points);
    if (!listing->points)
        return error_set_errno(err, ENOMEM, "listing restore points");
    for (; listing->count < count; listing->count++) {
        struct listed *listed = &listing->points[listing->count];

        listed->point = points[listing->count];
        listed->above = listing->count + 1 < count ? points[listing->count + 1].number : 0;
        if (load_disks(context, listed, err) < 0)
            return -1;
    }
    return 0;
}

/* The most expensive way of its disks stands for the point. */
static const char *sync_type(const struct listed *listed)
{
    static const char *const types[] = { "initial", "resync" };

    for (size_t t = 0; t < 2; t++) {
        for (size_t i = 0; i < listed->count; i++) {
            if (strcmp(listed->disks[i].sync_type, types[t]) == 0)
                return types[t];
        }
    }
    return "incremental";
}

static uint64_t own_of(const struct listed *listed)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < listed->count; i++)
        sum += listed->own[i];
    return sum;
}

/* After a commit what was kept stands on none. */
static bool is_on(const struct store_failover *failover, const struct listed *listed)
{
    return failover->point == listed->point.number && (!is_kept(failover) || failover->point_id);
}

#define STANDS_TEXT 256
/* "point 4, failover 2, live-1" */
static const char *stands_on(const struct listing *listing, const struct listed *listed,
                             char text[STANDS_TEXT])
{
    size_t used = 0;

    text[0] = '\0';
    if (listed->above)
        used = (size_t)snprintf(text, STANDS_TEXT, "point %u", listed->above);
    for (size_t i = 0; i < listing->failover_count && used < STANDS_TEXT - 1; i++) {
        const struct store_failover *failover = &listing->failovers[i];

        if (is_on(failover, listed))
            used += (size_t)snprintf(text + used, STANDS_TEXT - used, "%s%s%lld", used ? ", " : "",
                                     is_kept(failover) ? "live-" : "failover ",
                                     (long long)failover->id);
    }
    return text;
}

/* "2026-11-21 02:14:41 ok", "DAMAGED 2026-…" */
#define VERIFIED_TEXT (TIME_TEXT + 16)
static const char *verified(const struct store_point *point, char text[VERIFIED_TEXT])
{
    char time[TIME_TEXT];

    if (point->verify_error[0])
        snprintf(text, VERIFIED_TEXT, "DAMAGED %s", time_text(time, point->verified_ms));
    else if (point->verified_ms)
        snprintf(text, VERIFIED_TEXT, "ok %s", time_text(time, point->verified_ms));
    else
        strcpy(text, "never");
    return text;
}

static void put(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, *text ? json_object_new_string(text) : NULL);
}

static void put_int(json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

static json_object *disk_to_json(const struct store_point_disk *disk, uint64_t own)
{
    json_object *object = json_object_new_object();
    char id[32];

    snprintf(id, sizeof id, "disk-%d", disk->key);
    put(object, "disk_id", id);
    put_int(object, "unit", disk->unit);
    put_int(object, "capacity", (int64_t)disk->capacity);
    put(object, "sync_type", disk->sync_type);
    put_int(object, "bytes", (int64_t)disk->bytes);
    put(object, "change_id", disk->change_id);
    put(object, "digest", disk->digest);
    put(object, "image", disk->image);
    put(object, "format", disk->format);
    put_int(object, "own_bytes", (int64_t)own);
    return object;
}

static json_object *to_json(const struct listing *listing, const struct listed *listed)
{
    const struct store_point *point = &listed->point;
    json_object *object = json_object_new_object();
    json_object *disks = json_object_new_array();
    json_object *failovers = json_object_new_array();
    json_object *kept = json_object_new_array();

    put_int(object, "point", point->number);
    put_int(object, "created_ms", point->created_ms);
    put_int(object, "completed_ms", point->completed_ms);
    put_int(object, "age_seconds", (store_now_ms() - point->created_ms) / 1000);
    put_int(object, "job", point->job_id);
    put(object, "sync_type", sync_type(listed));
    put_int(object, "own_bytes", (int64_t)own_of(listed));
    json_object_object_add(object, "pinned", json_object_new_boolean(point->pinned));
    json_object_object_add(object, "verified_ms",
                           point->verified_ms ? json_object_new_int64(point->verified_ms) : NULL);
    put(object, "verified", point->verify_error[0] ? "damaged" : point->verified_ms ? "ok" : "");
    put(object, "verify_error", point->verify_error);
    json_object_object_add(object, "above",
                           listed->above ? json_object_new_int64(listed->above) : NULL);
    for (size_t i = 0; i < listing->failover_count; i++) {
        const struct store_failover *failover = &listing->failovers[i];
        char name[FAILOVER_KEPT_NAME];

        if (!is_on(failover, listed))
            continue;
        if (is_kept(failover))
            json_object_array_add(kept,
                                  json_object_new_string(failover_kept_name(failover->id, name)));
        else
            json_object_array_add(failovers, json_object_new_int64(failover->id));
    }
    json_object_object_add(object, "failovers", failovers);
    json_object_object_add(object, "kept", kept);
    for (size_t i = 0; i < listed->count; i++)
        json_object_array_add(disks, disk_to_json(&listed->disks[i], listed->own[i]));
    json_object_object_add(object, "disks", disks);
    return object;
}

static void print_going(const struct store_point *going, size_t count, const struct store_vm *vm)
{
    for (size_t i = 0; i < count; i++)
        printf("restore point %u is being deleted; if nobody is at it, `vmferry recover %s` "
               "finishes that\n",
               going[i].number, vm->name);
}

/* What a rolled-back live failover left is a point of its own name. Its images may be on another
 * host. */
static int add_kept(struct context *context, const struct store_failover *failover,
                    struct table *table, struct error **err)
{
    CLEANUP_FREE struct store_disk *disks = NULL;
    char name[FAILOVER_KEPT_NAME], time[TIME_TEXT], age[HUMAN_MAX], bytes[HUMAN_MAX];
    char path[PATH_MAX];
    uint64_t own = 0;
    size_t count;

    if (store_disks(context->store, failover->vm_id, &disks, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        failover_kept(context->state_dir, failover->id, disks[i].key, path);
        own += allocated(path);
    }
    table_cell(table, "%s", failover_kept_name(failover->id, name));
    table_cell(table, "%s", time_text(time, failover->completed_ms));
    table_cell(table, "%s", human_seconds(age, (store_now_ms() - failover->completed_ms) / 1000));
    table_cell(table, "live");
    table_cell(table, "%s", "");
    table_cell(table, "%s", human_bytes(bytes, own));
    for (int i = 0; i < 3; i++)
        table_cell(table, "%s", "");
    return 0;
}

int point_list(struct context *context, const struct store_vm *vm, bool json, struct error **err)
{
    CLEANUP_TABLE struct table table = TABLE(">POINT", "TIME", ">AGE", "SYNC", ">MOVED", ">OWN",
                                             "?PINNED", "VERIFIED", "STANDS ON IT");
    CLEANUP(listing_free) struct listing listing = { 0 };
    CLEANUP_FREE struct store_point *going = NULL;
    json_object *array;
    size_t going_count;

    if (load(context, vm, &listing, err) < 0 ||
        store_points_going(context->store, vm->id, &going, &going_count, err) < 0)
        return -1;
    array = json_object_new_array();
    for (size_t i = 0; i < listing.count; i++) {
        const struct listed *listed = &listing.points[i];
        char time[TIME_TEXT], age[HUMAN_MAX], bytes[HUMAN_MAX], seen[VERIFIED_TEXT];
        char stands[STANDS_TEXT];
        uint64_t moved = 0;

        for (size_t d = 0; d < listed->count; d++)
            moved += listed->disks[d].bytes;
        json_object_array_add(array, to_json(&listing, listed));
        table_cell(&table, "%u", listed->point.number);
        table_cell(&table, "%s", time_text(time, listed->point.created_ms));
        table_cell(&table, "%s",
                   human_seconds(age, (store_now_ms() - listed->point.created_ms) / 1000));
        table_cell(&table, "%s", sync_type(listed));
        table_cell(&table, "%s", human_bytes(bytes, moved));
        table_cell(&table, "%s", human_bytes(bytes, own_of(listed)));
        table_cell(&table, "%s", listed->point.pinned ? "pinned" : "");
        table_cell(&table, "%s", verified(&listed->point, seen));
        table_cell(&table, "%s", stands_on(&listing, listed, stands));
    }
    if (json)
        return print_json(array, err);
    json_object_put(array);
    for (size_t i = listing.failover_count; i-- > 0;) {
        if (is_kept(&listing.failovers[i]) &&
            add_kept(context, &listing.failovers[i], &table, err) < 0)
            return -1;
    }
    table_print(&table, stdout);
    print_going(going, going_count, vm);
    return 0;
}

/* Which point an image belongs to: 0 for none that is complete. */
static unsigned owner_of(const struct listing *listing, int64_t point_id)
{
    for (size_t i = 0; i < listing->count; i++) {
        if (listing->points[i].point.id == point_id)
            return listing->points[i].point.number;
    }
    return 0;
}

/* The images of a disk, from the point's own down to the base. */
static int add_chain(struct context *context, const struct listing *listing,
                     const struct store_point_disk *disk, json_object *chain, struct table *table,
                     struct error **err)
{
    struct store_point_disk row = *disk;
    char id[32];

    snprintf(id, sizeof id, "disk-%d", disk->key);
    for (size_t depth = 0;; depth++) {
        json_object *object = json_object_new_object();
        uint64_t own = own_bytes(context->state_dir, row.image);
        char bytes[HUMAN_MAX];

        put_int(object, "point", owner_of(listing, row.point_id));
        put(object, "image", row.image);
        put(object, "format", row.format);
        put_int(object, "own_bytes", (int64_t)own);
        json_object_array_add(chain, object);
        table_cell(table, "%s", depth ? "" : id);
        table_cell(table, "%zu", depth);
        table_cell(table, "%u", owner_of(listing, row.point_id));
        table_cell(table, "%s", row.format);
        table_cell(table, "%s", human_bytes(bytes, own));
        table_cell(table, "%s", row.image);
        if (row.parent_id == 0 || depth > listing->count)
            return 0;
        if (store_point_disk_get(context->store, row.parent_id, &row, err) < 0)
            return -1;
    }
}

static const struct listed *find(const struct listing *listing, unsigned number)
{
    for (size_t i = listing->count; i-- > 0;) {
        if (number == 0 || listing->points[i].point.number == number)
            return &listing->points[i];
    }
    return NULL;
}

static void print_point(const struct listing *listing, const struct listed *listed)
{
    CLEANUP_TABLE struct table table = TABLE("DISK", ">UNIT", ">CAPACITY", "SYNC", ">MOVED", ">OWN",
                                             "CHANGE ID", "DIGEST", "LEAVES");
    const struct store_point *point = &listed->point;
    char time[TIME_TEXT], bytes[HUMAN_MAX], text[STANDS_TEXT], seen[VERIFIED_TEXT];

    printf("point     %u%s\n", point->number, point->pinned ? ", pinned" : "");
    printf("begun     %s\n", time_text(time, point->created_ms));
    printf("complete  %s, job %lld\n", time_text(time, point->completed_ms),
           (long long)point->job_id);
    printf("verified  %s\n", verified(point, seen));
    if (point->verify_error[0])
        printf("damage    %s\n", point->verify_error);
    stands_on(listing, listed, text);
    printf("below     %s\n\n", text[0] ? text : "nothing stands on it");
    for (size_t i = 0; i < listed->count; i++) {
        const struct store_point_disk *disk = &listed->disks[i];

        table_cell(&table, "disk-%d", disk->key);
        table_cell(&table, "%d", disk->unit);
        table_cell(&table, "%s", human_bytes(bytes, disk->capacity));
        table_cell(&table, "%s", disk->sync_type);
        table_cell(&table, "%s", human_bytes(bytes, disk->bytes));
        table_cell(&table, "%s", human_bytes(bytes, listed->own[i]));
        table_cell(&table, "%s", disk->change_id);
        table_cell(&table, "%s", disk->digest);
        table_cell(&table, "%s", disk->leaves);
    }
    table_print(&table, stdout);
}

int point_show(struct context *context, const struct store_vm *vm, unsigned number, bool json,
               struct error **err)
{
    CLEANUP_TABLE struct table chains =
        TABLE("DISK", ">DEPTH", ">POINT", "FORMAT", ">OWN", "IMAGE");
    CLEANUP(listing_free) struct listing listing = { 0 };
    const struct listed *listed;
    struct store_point missing;
    json_object *object, *disks;
    int r = 0;

    if (load(context, vm, &listing, err) < 0)
        return -1;
    listed = find(&listing, number);
    if (!listed) /* says what is wrong */
        return store_point_find(context->store, vm->id, number, &missing, err);
    object = to_json(&listing, listed);
    json_object_object_get_ex(object, "disks", &disks);
    for (size_t i = 0; r == 0 && i < listed->count; i++) {
        json_object *disk = json_object_array_get_idx(disks, i);
        json_object *chain = json_object_new_array();

        put(disk, "leaves", listed->disks[i].leaves);
        json_object_object_add(disk, "chain", chain);
        r = add_chain(context, &listing, &listed->disks[i], chain, &chains, err);
    }
    if (r == 0 && json)
        return print_json(object, err);
    json_object_put(object);
    if (r < 0)
        return -1;
    print_point(&listing, listed);
    printf("\n");
    table_print(&chains, stdout);
    return 0;
}
