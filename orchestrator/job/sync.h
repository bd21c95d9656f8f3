/* One run of `vmferry replicate`, as its parts see it. The order is
 *
 *     replicate.c   the job is claimed → what is offered → identity → preflight →
 *     prepare.c     the name of the snapshot that it will make →
 *     moment.c      the snapshot, what changed up to it, its disks readable →
 *     plan.c        how each disk is brought up to date, and from where →
 *     prepare.c     rows, then files: everything is written down before it is made →
 *     transfer.c    all disks copied, flushed, verified →
 *     publish.c     ONE transaction: point complete, change ids, history →
 *     moment.c      the snapshot is removed, but for a pause that can go on with it →
 *     publish.c     the job ends
 *
 * A source that offers a moment already (nbd) needs neither preflight nor snapshot; it is
 * planned first, and when nothing is to be done the job ends there.
 *
 * A crash anywhere leaves an unfinished point behind, which the next run's plan
 * resumes or replaces, and a snapshot that the job's row names, which the next run takes
 * over or removes. Complete points are never touched.
 *
 * Everything that is written names the claim (claim.h): a worker that was replaced while
 * it was stopped changes nothing any more. */
#ifndef VMFERRY_SYNC_H
#define VMFERRY_SYNC_H

#include <limits.h>
#include <stdio.h>

#include "copy/copy.h"
#include "job/claim.h"
#include "job/connect.h"
#include "job/replicate.h"
#include "replica/export.h"
#include "replica/pool.h"
#include "replica/volume.h"
#include "store/store.h"

enum sync_type {
    SYNC_INITIAL,     /* the whole disk into a new base */
    SYNC_INCREMENTAL, /* the change map into a new overlay */
    SYNC_RESYNC,      /* compare all blocks, what differs into a new overlay */
    SYNC_UNCHANGED,   /* an overlay with nothing in it */
};

/* Where a disk's copy begins. */
enum sync_start {
    START_FRESH,   /* with a new image; what an earlier run left is removed */
    START_RESUME,  /* with the image and the journal that an earlier run left */
    START_COMPARE, /* with the image that is there, whatever it holds: read it, then send
                      the blocks that differ */
    START_DONE,    /* an earlier run finished this disk, but not the others */
};

struct disk_sync {
    struct spec_disk *offered; /* in sync->spec */
    struct store_disk stored;
    struct store_point_disk parent; /* in the newest complete point; id 0: none */
    struct store_point_disk left;   /* in the unfinished point; id 0: none */
    struct store_point_disk row;    /* in the point that this run makes */
    uint64_t capacity;              /* now; more than stored.capacity when the disk has grown */
    enum sync_type type;
    enum sync_start start;
    bool read_first;      /* the leaves are made by reading the image: they are not trusted */
    bool lost;            /* a resync as nobody can tell what changed */
    bool send_all;        /* …that compares nothing */
    char reason[512];     /* why it is a resync; else "" */
    char no_changes[512]; /* why the source can't say what changed; else "" */
    int64_t areas;        /* ranges in the change map; -1: not known */

    char image[PATH_MAX]; /* absolute */
    char leaves[PATH_MAX];
    char journal[PATH_MAX];
    char resend[PATH_MAX];  /* the journal of a copy that sends all */
    char changes[PATH_MAX]; /* our own copy of the change map */

    char *uri; /* to write through; owned */
    atomic_uint_fast64_t rate;
    struct store_job_disk shown; /* in job_disks */
    struct copy_result result;
    int64_t began_ms, ended_ms;
};

/* A snapshot that a job's row names. */
struct leftover {
    int64_t job_id;
    char name[SOURCE_SNAPSHOT];
    bool adopted;
    bool gone;
};

struct sync {
    struct store *store;
    const char *state_dir;
    const struct store_vm *vm;
    struct claim *claim;
    const struct replicate_options *options;

    struct connection from;
    struct vm_spec spec;     /* as offered now */
    struct disk_sync *disks; /* in unit order */
    size_t count;
    struct store_point newest; /* complete; id 0: none */
    struct store_point left;   /* unfinished; id 0: none */
    struct store_point point;  /* that this run makes */
    unsigned number;           /* of that one */
    struct pool pool;          /* where the replica lies, or will */
    struct store_job job; /* the claim's, with what has become of it; snapshot: the one in use */
    bool begun;           /* something was tried that is worth a line of history */
    bool committed;       /* the point is complete */
    bool planned;         /* the disks' types are known */
    struct leftover *leftovers; /* snapshots of this job's workers before, and of other jobs */
    size_t leftover_count;
    FILE *ballast;    /* see full.h; NULL: none */
    bool freezing;    /* the source makes its snapshot now */
    char heard[1024]; /* what the source had to say about it */
    bool adopted;     /* one of the leftovers is gone on with */
};

/* The source has to be frozen: it offers a moment only while a snapshot stands. */
static inline bool sync_is_live(const struct sync *sync)
{
    return sync->from.source && sync->from.source->kind->freeze;
}

/* A snapshot of ours stands, or may stand. */
static inline bool sync_is_frozen(const struct sync *sync)
{
    return sync_is_live(sync) && sync->job.snapshot[0];
}

/* What is remembered of where a disk was read from: of a live source nothing, as it
 * serves each time from another place. */
static inline const char *sync_place(const struct sync *sync, const struct disk_sync *disk)
{
    return sync_is_live(sync) ? "" : disk->offered->place;
}

static inline bool sync_needs_copy(const struct disk_sync *disk)
{
    return disk->type != SYNC_UNCHANGED && disk->start != START_DONE;
}

/* What is durable is written down there; one that compares can't go on from one that does not. */
static inline const char *sync_journal(const struct disk_sync *disk)
{
    return disk->send_all ? disk->resend : disk->journal;
}

/* In a transaction of its own; disk NULL: of the whole job. */
int sync_step(struct sync *sync, const struct disk_sync *disk, const char *step, const char *state,
              const char *detail, struct error **err);
/* What it does now, for whoever watches. */
void sync_show(struct sync *sync, const char *operation);

const char *sync_type_name(enum sync_type type); /* as it is stored */
struct export_target sync_target(const struct sync *sync, const struct disk_sync *disk);

/* place.c */
/* The VM's pool, and that its devices are there. Changes at most a device's link. */
int sync_choose_pool(struct sync *sync, struct error **err);
struct pool_disk sync_pool_disk(const struct sync *sync, const struct disk_sync *disk);
/* In the transaction that begins a first copy: the pool stays, and each device is one
 * disk's. */
int sync_keep_pool(struct sync *sync, struct error **err);

/* space.c */
/* There is room for all that this sync will write; else ERROR_PAUSED. */
int sync_check_space(struct sync *sync, struct error **err);
/* Room is getting short while it is written: ERROR_PAUSED. */
int sync_watch_space(const struct sync *sync, struct error **err);
/* An error that came of a full target means: paused. */
void sync_explain_space(struct sync *sync, struct error **err);

/* plan.c; neither changes anything. */
/* newest, left and number. */
int sync_load_points(struct sync *sync, struct error **err);
/* parent and left of every disk. */
int sync_load_rows(struct sync *sync, struct error **err);
/* The change id to ask the source from, "*" for a first copy's hint; NULL: its answer
 * would be of no use. */
const char *sync_since(const struct sync *sync, const struct disk_sync *disk);
/* Type, start, reason and paths of every disk. */
int sync_plan(struct sync *sync, struct error **err);
/* No disk has anything to be copied. */
bool sync_is_up_to_date(const struct sync *sync);

/* preflight.c: an error that lists the blockers, when there are any. */
int sync_preflight(struct sync *sync, struct error **err);

/* What the job's row names: its leftovers that may stand, and the snapshot in use. */
int sync_snapshot_names(const struct sync *sync, char names[STORE_NAME], struct error **err);

/* moment.c: the source's side; nothing to do for one that is not live */
/* What the source says goes to the operator, and to the job what concerns its snapshot. Call
 * it before the source is opened. */
void sync_listen(struct sync *sync);
/* Snapshots that were left: one that the unfinished point goes on from is taken over
 * (adopted, job.snapshot), the others are removed. */
int sync_find_leftovers(struct sync *sync, struct error **err);
/* The rows need not name what is gone. Call it when nobody can be making one of them any more. */
int sync_forget_leftovers(struct sync *sync, struct error **err);
/* The snapshot; every disk's change id. */
int sync_freeze(struct sync *sync, struct error **err);
/* Every disk's change map, where one can be of use. */
int sync_ask_changes(struct sync *sync, struct error **err);
/* Every disk that is to be copied can be read. */
int sync_serve(struct sync *sync, struct error **err);
/* All that was read is of that moment. */
int sync_check_moment(struct sync *sync, struct error **err);
/* Nothing of this job stays at the source. What can't be removed is said and stays
 * written down; a point is as good as it is. */
void sync_thaw(struct sync *sync);
/* The snapshot stays, for the worker that goes on. */
void sync_keep_frozen(struct sync *sync);

/* prepare.c */
/* What the source says of the VM, and in the job's row the name of the snapshot. */
int sync_start_job(struct sync *sync, struct error **err);
/* Remove what earlier runs left and this one does not use. */
int sync_clear(struct sync *sync, struct error **err);
/* The point and its disks' rows, in one transaction. */
int sync_write_down(struct sync *sync, struct error **err);
/* The lease of this claim goes into the disk's export; NULL: nobody may write. */
int sync_grant(struct sync *sync, const struct export_target *target, const char *lease,
               struct error **err);
/* Images, leaves and change maps of the disks that start afresh. */
int sync_make_files(struct sync *sync, struct error **err);

/* transfer.c: every disk is durable and verified on return. */
int sync_transfer(struct sync *sync, struct error **err);

/* publish.c */
/* What a run leaves to do that was killed right after it completed the newest point. */
void sync_tidy(const struct sync *sync);
int sync_publish(struct sync *sync, struct error **err);
/* All is done. */
int sync_end(struct sync *sync, struct error **err);
/* The job ends, or is paused, without a point: write down why. Problems in here are not reported:
 * the next run finds everything out for itself. */
void sync_fail(struct sync *sync, const char *status, const char *paused_by,
               const struct error *reason);
void sync_withdraw(struct sync *sync);
/* disk's image, leaves, journal and changes, from the names in its row. */
int sync_set_paths(const struct sync *sync, struct disk_sync *disk, struct error **err);
/* leaves → journal, changes: "…/point-0002.leaves" and the same with another ending. */
void sync_name_beside(const char *leaves, const char *ending, char *name, size_t size);

#endif
