/* The source's side of a sync; see sync.h. What comes in: a live source, and a job whose
 * row names the snapshot. What goes out: one moment of all disks, with change ids and
 * change maps, readable until it is thawed. It never decides how a disk is synced, and
 * never leaves a snapshot that no row names. */
#include <inttypes.h>
#include <string.h>

#include "changemap.h"
#include "job/sync.h"
#include "log/log.h"
#include "replica/volume.h"

static const struct source_kind *kind_of(const struct sync *sync)
{
    return sync->from.source->kind;
}

static void log_step(const struct disk_sync *disk, const char *step, const char *state,
                     const char *detail)
{
    const char *part = disk && strcmp(step, "changes") != 0 ? "copy" : "job";

    if (strcmp(state, "running") == 0)
        log_info(part, "%s begins%s%s", step, detail ? ": " : "", detail ? detail : "");
    else
        log_info(part, "%s is %s%s%s", step, state, detail ? ": " : "", detail ? detail : "");
}

int sync_step(struct sync *sync, const struct disk_sync *disk, const char *step, const char *state,
              const char *detail, struct error **err)
{
    if (disk) {
        LOG_DISK(disk->stored.key, disk->stored.id);
        log_step(disk, step, state, detail);
    } else {
        log_step(NULL, step, state, detail);
    }
    return claim_step(sync->claim, sync->store, disk ? disk->stored.id : 0, step, state, detail,
                      err);
}

void sync_show(struct sync *sync, const char *operation)
{
    CLEANUP_ERROR struct error *busy = NULL;

    snprintf(sync->job.operation, sizeof sync->job.operation, "%s", operation);
    store_job_update(sync->store, &sync->job, &busy);
}

/* From the source. */
static void hear(void *opaque, const char *text)
{
    struct sync *sync = opaque;
    size_t used = strlen(sync->heard);

    log_notice(strcmp(sync->from.settings.kind, "vsphere") == 0 ? "vsphere" : "source", "%s", text);
    if (sync->freezing)
        snprintf(sync->heard + used, sizeof sync->heard - used, "%s%s", used ? "; " : "", text);
}

static void watch_task(void *opaque, const char *what, unsigned percent)
{
    struct sync *sync = opaque;
    char operation[sizeof sync->job.operation];

    if (sync->options->task)
        sync->options->task(sync->options->opaque, what, percent);
    if (!sync->freezing)
        return;
    snprintf(operation, sizeof operation, "%.*s: %u %%", (int)strcspn(what, " "), what, percent);
    if (strcmp(operation, sync->job.operation) != 0)
        sync_show(sync, operation);
}

void sync_listen(struct sync *sync)
{
    struct source_settings *settings = &sync->from.settings;

    settings->say = hear;
    settings->task = watch_task;
    settings->opaque = sync;
}

/* The snapshot still is the moment that the unfinished point was being made of. */
static bool goes_on(const struct sync *sync)
{
    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];

        if (!disk->left.id || !disk->offered->change_id[0] ||
            strcmp(disk->left.change_id, disk->offered->change_id) != 0)
            return false;
    }
    return true;
}

static int try_adopt(struct sync *sync, struct leftover *left, struct error **err)
{
    bool stands = false;

    if (!sync->left.id || sync->left.job_id != left->job_id)
        return 0;
    if (kind_of(sync)->refreeze(sync->from.source, left->name, &sync->spec, &stands, err) < 0)
        return -1;
    if (!stands || !goes_on(sync))
        return 0;
    left->adopted = sync->adopted = true;
    snprintf(sync->job.snapshot, sizeof sync->job.snapshot, "%s", left->name);
    log_notice("job", "going on with snapshot %s, which an earlier run left", left->name);
    return 0;
}

/* `forget`: nobody can be making it any more, so that its row need not name it. */
static void remove_leftover(struct sync *sync, struct leftover *left, bool forget)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (kind_of(sync)->thaw(sync->from.source, sync->vm->uuid, left->name, &err) < 0)
        log_warning("job",
                    "snapshot %s of job %" PRId64 " can't be removed: %s; `vmferry recover` tries "
                    "again",
                    left->name, left->job_id, error_message(err));
    else
        left->gone = forget;
}

/* A row may name several, with blanks between. */
static int add_leftovers(struct sync *sync, const struct store_job *job, struct error **err)
{
    char names[STORE_NAME], *rest = NULL;

    memcpy(names, job->snapshot, sizeof names);
    for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
        struct leftover *grown =
            reallocarray(sync->leftovers, sync->leftover_count + 1, sizeof *grown);

        if (!grown)
            return error_set_errno(err, ENOMEM, "%s", sync->vm->name);
        sync->leftovers = grown;
        grown += sync->leftover_count++;
        *grown = (struct leftover){ .job_id = job->id };
        snprintf(grown->name, sizeof grown->name, "%s", name);
    }
    return 0;
}

int sync_find_leftovers(struct sync *sync, struct error **err)
{
    CLEANUP_FREE struct store_job *jobs = NULL;
    size_t count;

    if (!sync_is_live(sync))
        return 0;
    if (store_jobs_with_snapshot(sync->store, sync->vm->id, &jobs, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (add_leftovers(sync, &jobs[i], err) < 0)
            return -1;
    }
    sync->job.snapshot[0] = '\0';
    /* The newest first: only that one can be gone on with. */
    for (size_t i = sync->leftover_count; i-- > 0;) {
        struct leftover *left = &sync->leftovers[i];

        if (!sync->adopted && try_adopt(sync, left, err) < 0)
            return -1;
        if (!left->adopted)
            remove_leftover(sync, left, false);
    }
    return 0;
}

int sync_snapshot_names(const struct sync *sync, char names[STORE_NAME], struct error **err)
{
    size_t used = 0;

    for (size_t i = 0; i <= sync->leftover_count && used < STORE_NAME; i++) {
        const struct leftover *left = &sync->leftovers[i];
        bool last = i == sync->leftover_count;

        if (last || (left->job_id == sync->job.id && !left->adopted && !left->gone))
            used += (size_t)snprintf(names + used, STORE_NAME - used, "%s%s", used ? " " : "",
                                     last ? sync->job.snapshot : left->name);
    }
    if (used >= STORE_NAME)
        return error_set(err,
                         "too many snapshots of '%s' may still stand: `vmferry recover` "
                         "removes them",
                         sync->vm->name);
    if (used && names[used - 1] == ' ') /* none is in use */
        names[used - 1] = '\0';
    return 0;
}

static int write_names(struct store *store, void *opaque, struct error **err)
{
    const struct sync *sync = opaque;
    char names[STORE_NAME];

    for (size_t i = 0; i < sync->leftover_count; i++) {
        const struct leftover *left = &sync->leftovers[i];

        if (left->job_id != sync->job.id && left->gone && !left->adopted &&
            store_job_set_snapshot(store, left->job_id, "", err) < 0)
            return -1;
    }
    return sync_snapshot_names(sync, names, err) < 0
               ? -1
               : store_job_set_snapshot(store, sync->job.id, names, err);
}

/* A process may die while the source still works on its snapshot: that one appears later.
 * The source does one such thing at a time, so once ours stands, it is there or never. */
int sync_forget_leftovers(struct sync *sync, struct error **err)
{
    if (!sync_is_live(sync))
        return 0;
    for (size_t i = 0; i < sync->leftover_count; i++) {
        if (!sync->leftovers[i].adopted)
            remove_leftover(sync, &sync->leftovers[i], true);
    }
    return claim_transaction(sync->claim, sync->store, write_names, sync, err);
}

static bool wants_tracking(const struct sync *sync)
{
    const struct replicate_options *options = sync->options;

    if (options->enable_tracking)
        return true;
    return strcmp(sync->spec.inventory.tracking, "off") == 0 && options->ask &&
           options->ask(options->opaque,
                        "Change tracking is off for this VM, so that each sync compares all of its "
                        "data. Turn it on?");
}

/* "KEY ID\n" of each disk that has one in the newest point. */
static char *replica_change_ids(const struct sync *sync)
{
    char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);

    for (size_t i = 0; memory && i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];

        if (disk->parent.id && disk->stored.change_id[0])
            fprintf(memory, "%d %s\n", disk->stored.key, disk->stored.change_id);
    }
    if (memory)
        fclose(memory);
    return text;
}

static int take_snapshot(struct sync *sync, struct error **err)
{
    CLEANUP_FREE char *change_ids = replica_change_ids(sync);
    char description[STORE_NAME + 64];
    struct freeze_wishes wishes = { .snapshot = sync->job.snapshot,
                                    .description = description,
                                    .quiesce = sync->options->quiesce,
                                    .change_ids = change_ids };
    const atomic_int *cancel = sync->options->cancel;
    bool tracking;

    snprintf(description, sizeof description, "vmferry, job %" PRId64 ": replication of %.200s",
             sync->job.id, sync->vm->name);
    tracking = wants_tracking(sync);
    if (cancel && atomic_load(cancel)) /* while it was asked */
        return error_set_kind(err, ERROR_PAUSED, "stopped on request");
    if (tracking) {
        sync_show(sync, "enabling change tracking");
        if (kind_of(sync)->enable_tracking(sync->from.source, &sync->spec, sync->job.snapshot,
                                           err) < 0)
            return -1;
    }
    sync_show(sync, "taking a snapshot");
    return kind_of(sync)->freeze(sync->from.source, &wishes, &sync->spec, err);
}

static void say_tracking(const struct sync *sync)
{
    size_t off = 0;

    for (size_t i = 0; i < sync->count; i++)
        off += !sync->disks[i].offered->change_id[0];
    if (off > 0)
        log_notice("job",
                   "change tracking is off for %zu of %zu disks: each sync compares all of their "
                   "data; --enable-cbt turns it on",
                   off, sync->count);
}

int sync_freeze(struct sync *sync, struct error **err)
{
    char detail[STORE_NAME + sizeof sync->heard + 2];
    int r = 0;

    if (!sync_is_live(sync))
        return 0;
    if (sync_step(sync, NULL, "snapshot", "running", sync->job.snapshot, err) < 0)
        return -1;
    sync->freezing = true;
    if (!sync->adopted)
        r = take_snapshot(sync, err);
    sync->freezing = false;
    if (r < 0)
        return error_prefix(err, "snapshot %s", sync->job.snapshot);
    for (size_t i = 0; i < sync->count; i++)
        sync->disks[i].capacity = sync->disks[i].offered->capacity;
    if (sync_forget_leftovers(sync, err) < 0)
        return -1;
    say_tracking(sync);
    snprintf(detail, sizeof detail, "%s%s%s", sync->job.snapshot, sync->heard[0] ? "; " : "",
             sync->heard);
    return sync_step(sync, NULL, "snapshot", "done", detail, err);
}

static int map_path(const struct sync *sync, const struct disk_sync *disk, char path[PATH_MAX],
                    struct error **err)
{
    char relative[128];

    snprintf(relative, sizeof relative, "run/%.40s-disk-%d.%d.changes", sync->vm->uuid,
             disk->stored.key, (int)getpid());
    if (volume_path(sync->state_dir, relative, path, err) < 0)
        return -1;
    return volume_make_folder(path, err);
}

static int ask_changes(struct sync *sync, struct disk_sync *disk, const char *since,
                       struct error **err)
{
    struct spec_disk *offered = disk->offered;
    char path[PATH_MAX], why[512] = "";
    int r;

    if (map_path(sync, disk, path, err) < 0)
        return -1;
    r = kind_of(sync)->changes(sync->from.source, &sync->spec, offered, since, path, why, err);
    if (r < 0)
        return -1;
    if (r > 0) {
        offered->changes[0] = offered->since[0] = '\0';
        /* A first copy asks for no more than a hint. */
        if (strcmp(since, "*") != 0)
            snprintf(disk->no_changes, sizeof disk->no_changes, "%s", why[0] ? why : "no reason");
        else if (why[0])
            log_notice("job", "%s", why);
    }
    return sync_step(sync, disk, "changes", "done", r > 0 ? why : since, err);
}

int sync_ask_changes(struct sync *sync, struct error **err)
{
    if (!sync_is_live(sync))
        return 0;
    sync_show(sync, "asking what changed");
    for (size_t i = 0; i < sync->count; i++) {
        struct disk_sync *disk = &sync->disks[i];
        const char *since = sync_since(sync, disk);

        if (!since)
            continue;
        if (sync_step(sync, disk, "changes", "running", since, err) < 0)
            return -1;
        if (ask_changes(sync, disk, since, err) < 0)
            return error_prefix(err, "disk-%d: what changed since %s", disk->stored.key, since);
    }
    return 0;
}

/* A map is for an incremental copy, or a first one's hint; a resync trusts none. */
static void drop_map(struct disk_sync *disk)
{
    if (disk->type == SYNC_INCREMENTAL ||
        (disk->type == SYNC_INITIAL && strcmp(disk->offered->since, "*") == 0))
        return;
    disk->offered->changes[0] = disk->offered->since[0] = '\0';
}

int sync_serve(struct sync *sync, struct error **err)
{
    if (!sync_is_live(sync))
        return 0;
    sync_show(sync, "opening the disks");
    for (size_t i = 0; i < sync->count; i++) {
        struct disk_sync *disk = &sync->disks[i];

        if (!sync_needs_copy(disk))
            continue;
        drop_map(disk);
        if (kind_of(sync)->serve(sync->from.source, &sync->spec, disk->offered, err) < 0)
            return error_prefix(err, "disk-%d", disk->stored.key);
    }
    return 0;
}

int sync_check_moment(struct sync *sync, struct error **err)
{
    if (!sync_is_live(sync))
        return 0;
    if (kind_of(sync)->still(sync->from.source, sync->job.snapshot, err) < 0)
        return error_prefix(err, "nothing that was copied can be used");
    return 0;
}

static int remove_snapshot(struct sync *sync, struct error **err)
{
    if (kind_of(sync)->thaw(sync->from.source, sync->vm->uuid, sync->job.snapshot, err) < 0)
        return -1;
    sync->job.snapshot[0] = '\0';
    return claim_transaction(sync->claim, sync->store, write_names, sync, err);
}

static void remove_maps(struct sync *sync)
{
    for (size_t i = 0; i < sync->count; i++) {
        CLEANUP_ERROR struct error *ignored = NULL;
        char path[PATH_MAX];

        if (map_path(sync, &sync->disks[i], path, &ignored) == 0)
            volume_remove(path, &ignored);
    }
}

void sync_thaw(struct sync *sync)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (!sync_is_frozen(sync))
        return;
    sync_show(sync, "removing the snapshot");
    if (remove_snapshot(sync, &err) < 0)
        log_warning("job",
                    "snapshot %s of '%s' can't be removed: %s; `vmferry recover` tries again",
                    sync->job.snapshot, sync->vm->name, error_message(err));
    remove_maps(sync);
}

void sync_keep_frozen(struct sync *sync)
{
    if (!sync_is_frozen(sync))
        return;
    log_notice("job",
               "snapshot %s of '%s' stays, so that job %" PRId64 " can go on from it: `vmferry job "
               "resume %" PRId64 "`; `vmferry job cancel %" PRId64 "` removes it",
               sync->job.snapshot, sync->vm->name, sync->job.id, sync->job.id, sync->job.id);
    remove_maps(sync);
}
