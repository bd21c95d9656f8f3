/* How each disk is brought up to date; see sync.h. What comes in: what the source
 * offers, what the newest point holds, what an unfinished one left. What goes out: for
 * each disk a sync type, a place to start, and for a resync the reason. It reads
 * change maps and asks servers, and changes nothing. When in doubt it compares. */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#include "changemap.h"
#include "copy/end.h"
#include "job/sync.h"
#include "job/takeover.h"
#include "qcow2-header.h"
#include "replica/volume.h"

#define CONNECT_SECONDS 30

const char *sync_type_name(enum sync_type type)
{
    switch (type) {
    case SYNC_INITIAL:
        return "initial";
    case SYNC_RESYNC:
        return "resync";
    case SYNC_INCREMENTAL:
    case SYNC_UNCHANGED:
        break;
    }
    return "incremental";
}

static void resync(struct disk_sync *disk, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void resync(struct disk_sync *disk, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(disk->reason, sizeof disk->reason, fmt, args);
    va_end(args);
    disk->type = SYNC_RESYNC;
}

/* For a reason that is the source's: the operator says what to do then. */
#define lose(disk, ...) (resync(disk, __VA_ARGS__), (void)((disk)->lost = true))

/* The part before the slash names one life of the change tracking: when it changed,
 * tracking began anew and says nothing about the time before. Ids without a slash
 * name no life. */
static bool same_tracking(const char *a, const char *b)
{
    const char *a_slash = strchr(a, '/'), *b_slash = strchr(b, '/');

    if (!a_slash || !b_slash)
        return !a_slash && !b_slash;
    return a_slash - a == b_slash - b && strncmp(a, b, (size_t)(a_slash - a)) == 0;
}

static int check_map_file(struct disk_sync *disk, struct error **err)
{
    CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;

    if (changemap_load(disk->offered->changes, &map, err) < 0 ||
        changemap_check_size(&map, disk->capacity, err) < 0)
        return -1;
    disk->areas = (int64_t)map.count;
    return 0;
}

static int check_context(const struct disk_sync *disk, struct error **err)
{
    struct end_wants wants = { .role = END_SOURCE,
                               .changes = disk->offered->changes,
                               .timeout_s = CONNECT_SECONDS };
    struct end *end = end_open(disk->offered->place, &wants, err);

    end_close(end);
    return end ? 0 : -1;
}

/* The change map fits the newest point; now it has to be usable. */
static void check_changes(struct disk_sync *disk)
{
    CLEANUP_ERROR struct error *fault = NULL;
    int r =
        disk->offered->changes_is_file ? check_map_file(disk, &fault) : check_context(disk, &fault);

    if (r < 0)
        lose(disk, "the change map can't be used: %s", error_message(fault));
    else
        disk->type = SYNC_INCREMENTAL;
}

/* What is known of its changes may be wrong then, and its digest has another size. */
static bool has_grown(const struct disk_sync *disk)
{
    return disk->parent.id && disk->capacity != disk->parent.capacity;
}

static void choose_type(struct disk_sync *disk, bool full)
{
    const char *stored = disk->stored.change_id;
    const struct spec_disk *offered = disk->offered;

    if (disk->parent.id == 0)
        disk->type = SYNC_INITIAL;
    else if (full)
        resync(disk, "asked for with --full");
    else if (has_grown(disk))
        lose(disk, "the disk was grown from %llu to %llu bytes",
             (unsigned long long)disk->parent.capacity, (unsigned long long)disk->capacity);
    else if (!offered->change_id[0])
        lose(disk, "the source names no change id");
    else if (!stored[0])
        lose(disk, "the newest point was made without a change id");
    else if (strcmp(offered->change_id, stored) == 0)
        disk->type = SYNC_UNCHANGED;
    else if (!same_tracking(stored, offered->change_id))
        lose(disk, "change tracking was reset: the point is at %s, the source at %s", stored,
             offered->change_id);
    else if (disk->no_changes[0])
        lose(disk, "the source can't say what changed since %s: %s", stored, disk->no_changes);
    else if (!offered->since[0])
        lose(disk, "the source offers no change map; the point is at %s, the source at %s", stored,
             offered->change_id);
    else if (strcmp(offered->since, stored) != 0)
        lose(disk, "the change map starts at %s, but the newest point is at %s", offered->since,
             stored);
    else
        check_changes(disk);
}

const char *sync_since(const struct sync *sync, const struct disk_sync *disk)
{
    const char *stored = disk->stored.change_id, *offered = disk->offered->change_id;

    if (sync->options->full || !offered[0])
        return NULL;
    if (disk->parent.id == 0)
        return "*";
    return !has_grown(disk) && stored[0] && strcmp(stored, offered) != 0 &&
                   same_tracking(stored, offered)
               ? stored
               : NULL;
}

/* Whether the leaves beside the newest point still are those of its digest. */
static bool leaves_are_sound(const struct sync *sync, const struct disk_sync *disk)
{
    CLEANUP_ERROR struct error *damage = NULL;
    CLEANUP_CLOSE int fd = -1;
    char path[PATH_MAX], text[DIGEST_TEXT];
    struct digest root;

    if (volume_path(sync->state_dir, disk->parent.leaves, path, &damage) < 0)
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || digest_root(fd, disk->parent.capacity, &root, &damage) < 0)
        return false;
    digest_to_text(&root, text);
    return strcmp(text, disk->parent.digest) == 0;
}

/* The next point's digest starts from these leaves: damage would be handed on. */
static void check_leaves(const struct sync *sync, struct disk_sync *disk)
{
    if (disk->type == SYNC_INITIAL || disk->send_all || leaves_are_sound(sync, disk))
        return;
    disk->read_first = true;
    if (disk->type != SYNC_RESYNC)
        resync(disk, "the leaves of restore point %u are damaged, so the replica is read, too",
               sync->newest.number);
}

/* Its content is that of one moment, and the source offers that very moment again, at
 * the same place: two disks that were exchanged meanwhile may share a change id. */
static bool same_moment(const struct sync *sync, const struct disk_sync *disk)
{
    return disk->offered->change_id[0] &&
           strcmp(disk->left.change_id, disk->offered->change_id) == 0 &&
           strcmp(disk->left.place, sync_place(sync, disk)) == 0;
}

/* A copy that began with another change map has not sent what only this one names. */
static bool same_changes(const struct disk_sync *disk)
{
    CLEANUP_CHANGEMAP struct changemap before = CHANGEMAP_INIT;
    CLEANUP_CHANGEMAP struct changemap now = CHANGEMAP_INIT;
    CLEANUP_ERROR struct error *missing = NULL;

    if (disk->type != SYNC_INCREMENTAL || !disk->offered->changes_is_file)
        return true;
    return changemap_load(disk->changes, &before, &missing) == 0 &&
           changemap_load(disk->offered->changes, &now, &missing) == 0 &&
           before.count == now.count &&
           (now.count == 0 || /* no ranges may be NULL */
            memcmp(before.ranges, now.ranges, now.count * sizeof *now.ranges) == 0);
}

static bool can_go_on(const struct sync *sync, const struct disk_sync *disk)
{
    return !disk->read_first && same_moment(sync, disk) && same_changes(disk);
}

/* One that its maker was killed over may have no size, or stand on nothing. */
static bool is_whole(const struct disk_sync *disk)
{
    CLEANUP(qcow2_header_free) struct qcow2_header header = { 0 };
    CLEANUP_ERROR struct error *damage = NULL;
    CLEANUP_CLOSE int fd = open(disk->image, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && qcow2_header_read(fd, &header, &damage) == 0 &&
           header.size == disk->capacity && (disk->type == SYNC_INITIAL || header.backing_file);
}

static bool image_is_sound(struct disk_sync *disk)
{
    CLEANUP_ERROR struct error *damage = NULL;

    return strcmp(disk->row.format, "raw") == 0 ||
           (volume_check_overlay(disk->image, &damage) == 0 &&
            (volume_is_rbd(disk->image) || is_whole(disk)));
}

/* An image that only a complete point can have, in the way of this one: somebody put an
 * older database, or none, beside newer images. */
static int refuse_unknown(const struct disk_sync *disk, struct error **err)
{
    if (disk->left.id || !volume_is_sealed(disk->image))
        return 0;
    return error_set(err,
                     "disk-%d: %s belongs to a restore point that vmferry.db does not know; "
                     "restore the database that belongs to it, or move the image away",
                     disk->stored.key, disk->image);
}

/* Copied data is kept where it can be: a base always (its blocks are compared if
 * nothing better is known), an overlay when it is of the same kind. A base without a
 * row is one whose rows were lost: not overwritten either. */
static void choose_start(const struct sync *sync, struct disk_sync *disk)
{
    bool left = volume_exists(disk->image) &&
                (!disk->left.id || disk->left.capacity == disk->capacity) &&
                (disk->type == SYNC_INITIAL ||
                 strcmp(disk->left.sync_type, sync_type_name(disk->type)) == 0);

    disk->start = START_FRESH;
    disk->read_first |=
        (sync->options->full || has_grown(disk)) && disk->type == SYNC_RESYNC && !disk->send_all;
    if (disk->type == SYNC_UNCHANGED || !left || !image_is_sound(disk))
        return;
    if (can_go_on(sync, disk) && disk->left.complete) {
        disk->start = START_DONE;
    } else if (can_go_on(sync, disk) && volume_exists(sync_journal(disk))) {
        disk->start = START_RESUME;
    } else if (disk->type != SYNC_INCREMENTAL && !disk->send_all) {
        disk->start = START_COMPARE;
        disk->read_first = true;
    }
}

/* An unfinished base goes on as it was begun. */
static void choose_format(const struct sync *sync, struct disk_sync *disk)
{
    const char *base = sync->options->base ? sync->options->base : "raw";

    if (disk->parent.id)
        strcpy(disk->row.format, "qcow2");
    else if (disk->left.id && !disk->left.parent_id)
        memcpy(disk->row.format, disk->left.format, sizeof disk->row.format);
    else
        snprintf(disk->row.format, sizeof disk->row.format, "%s", base);
}

void sync_name_beside(const char *leaves, const char *ending, char *name, size_t size)
{
    const char *dot = strrchr(leaves, '.');

    snprintf(name, size, "%.*s.%s", dot ? (int)(dot - leaves) : (int)strlen(leaves), leaves,
             ending);
}

int sync_set_paths(const struct sync *sync, struct disk_sync *disk, struct error **err)
{
    char journal[STORE_PATH], resend[STORE_PATH], changes[STORE_PATH];

    sync_name_beside(disk->row.leaves, "journal", journal, sizeof journal);
    sync_name_beside(disk->row.leaves, "resend", resend, sizeof resend);
    sync_name_beside(disk->row.leaves, "changes", changes, sizeof changes);
    if (volume_path(sync->state_dir, disk->row.image, disk->image, err) < 0 ||
        volume_path(sync->state_dir, disk->row.leaves, disk->leaves, err) < 0 ||
        volume_path(sync->state_dir, journal, disk->journal, err) < 0 ||
        volume_path(sync->state_dir, resend, disk->resend, err) < 0 ||
        volume_path(sync->state_dir, changes, disk->changes, err) < 0)
        return -1;
    return 0;
}

/* As the unfinished point's rows have it, or as they are named where there is none. */
static int name_files(struct sync *sync, struct disk_sync *disk, struct error **err)
{
    struct volume_names names;
    bool base = disk->parent.id == 0;
    struct pool_disk place;

    volume_names(sync->vm->uuid, disk->stored.key, sync->number, base, &names);
    choose_format(sync, disk);
    place = sync_pool_disk(sync, disk);
    if (pool_image(&sync->pool, &place, base ? 0 : sync->number, disk->row.image, err) < 0)
        return -1;
    snprintf(disk->row.leaves, sizeof disk->row.leaves, "%s", names.leaves);
    if (disk->left.id) {
        memcpy(disk->row.image, disk->left.image, sizeof disk->row.image);
        memcpy(disk->row.leaves, disk->left.leaves, sizeof disk->row.leaves);
    } else if (sync->claim->contested) {
        /* Somebody may be about to make, or to remove, files of the usual names. */
        takeover_mark(disk->row.leaves, sizeof disk->row.leaves, sync->job.fence);
        if (!base || sync->pool.row.id == 0)
            takeover_mark(disk->row.image, sizeof disk->row.image, sync->job.fence);
    }
    return sync_set_paths(sync, disk, err);
}

static const struct store_point_disk *row_of(const struct store_point_disk *rows, size_t count,
                                             int64_t disk_id)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].disk_id == disk_id)
            return &rows[i];
    }
    return NULL;
}

/* The rows of `point` that belong to the disks, into their parent or left. */
static int load_rows(struct sync *sync, int64_t point_id, bool parent, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *rows = NULL;
    size_t count;

    if (point_id == 0)
        return 0;
    if (store_point_disks(sync->store, point_id, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < sync->count; i++) {
        struct disk_sync *disk = &sync->disks[i];
        const struct store_point_disk *row = row_of(rows, count, disk->stored.id);

        if (row)
            *(parent ? &disk->parent : &disk->left) = *row;
    }
    return 0;
}

int sync_load_rows(struct sync *sync, struct error **err)
{
    if (load_rows(sync, sync->newest.id, true, err) < 0)
        return -1;
    return load_rows(sync, sync->left.id, false, err);
}

int sync_load_points(struct sync *sync, struct error **err)
{
    CLEANUP_ERROR struct error *none = NULL;
    bool found;

    if (store_point_find(sync->store, sync->vm->id, 0, &sync->newest, &none) < 0) {
        if (none->errnum != ENOENT)
            return error_move(err, &none);
        sync->newest.id = 0;
    }
    if (store_point_unfinished(sync->store, sync->vm->id, &found, &sync->left, err) < 0)
        return -1;
    if (found) {
        sync->number = sync->left.number; /* its files have this in their names */
        return 0;
    }
    sync->left.id = 0;
    return store_vm_next_point(sync->store, sync->vm->id, &sync->number, err);
}

bool sync_is_up_to_date(const struct sync *sync)
{
    for (size_t i = 0; i < sync->count; i++) {
        if (sync->disks[i].type != SYNC_UNCHANGED)
            return false;
    }
    return true;
}

/* What the operator wants done with the disks whose changes can't be told. */
static int treat_lost(struct sync *sync, struct error **err)
{
    char text[2048] = "";
    size_t used = 0;

    for (size_t i = 0; i < sync->count; i++) {
        struct disk_sync *disk = &sync->disks[i];

        disk->send_all = disk->lost && sync->options->cbt_lost == CBT_LOST_FULL;
        if (disk->lost && used < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, "disk-%d: %s\n",
                                     disk->stored.key, disk->reason);
    }
    if (!used || sync->options->cbt_lost != CBT_LOST_FAIL)
        return 0;
    return error_set(err,
                     "%sThis job is not to go on without change tracking (--cbt-lost=fail), and "
                     "nothing was written. Mend what the source says, or say --cbt-lost=resync to "
                     "compare all blocks and send those that differ, or --cbt-lost=full to send "
                     "everything anew",
                     text);
}

int sync_plan(struct sync *sync, struct error **err)
{
    for (size_t i = 0; i < sync->count; i++) {
        struct disk_sync *disk = &sync->disks[i];

        disk->areas = -1;
        if (name_files(sync, disk, err) < 0)
            return -1;
        choose_type(disk, sync->options->full);
    }
    sync->planned = true;
    if (treat_lost(sync, err) < 0)
        return -1;
    if (sync_is_up_to_date(sync))
        return 0;
    for (size_t i = 0; i < sync->count; i++) {
        if (refuse_unknown(&sync->disks[i], err) < 0)
            return -1;
        check_leaves(sync, &sync->disks[i]);
        choose_start(sync, &sync->disks[i]);
    }
    return 0;
}
