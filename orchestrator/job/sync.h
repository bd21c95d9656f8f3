/* One run of `vmferry replicate`, as its parts see it. The order is
 *
 *     replicate.c   lock → what is offered → identity → sizes →
 *     plan.c        how each disk is brought up to date, and from where →
 *     prepare.c     rows, then files: everything is written down before it is made →
 *     transfer.c    all disks copied, flushed, verified →
 *     publish.c     ONE transaction: point complete, change ids, history
 *
 * A crash anywhere leaves an unfinished point behind, which the next run's plan
 * resumes or replaces. Complete points are never touched. */
#ifndef VMFERRY_SYNC_H
#define VMFERRY_SYNC_H

#include <limits.h>

#include "copy/copy.h"
#include "job/connect.h"
#include "job/replicate.h"
#include "replica/export.h"
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
    const struct spec_disk *offered;
    struct store_disk stored;
    struct store_point_disk parent; /* in the newest complete point; id 0: none */
    struct store_point_disk left;   /* in the unfinished point; id 0: none */
    struct store_point_disk row;    /* in the point that this run makes */
    enum sync_type type;
    enum sync_start start;
    bool read_first;  /* the leaves are made by reading the image: they are not trusted */
    char reason[512]; /* why it is a resync; else "" */
    int64_t areas;    /* ranges in the change map; -1: not known */

    char image[PATH_MAX]; /* absolute */
    char leaves[PATH_MAX];
    char journal[PATH_MAX];
    char changes[PATH_MAX]; /* our own copy of the change map */

    char *uri; /* to write through; owned */
    atomic_uint_fast64_t rate;
    struct copy_result result;
    int64_t began_ms, ended_ms;
};

struct sync {
    struct store *store;
    const char *state_dir;
    const struct store_vm *vm;
    const struct replicate_options *options;

    struct connection from;
    struct vm_spec spec;     /* as offered now */
    struct disk_sync *disks; /* in unit order */
    size_t count;
    struct store_point newest; /* complete; id 0: none */
    struct store_point left;   /* unfinished; id 0: none */
    struct store_point point;  /* that this run makes */
    struct store_job job;
    char lease[LEASE_TEXT];
};

const char *sync_type_name(enum sync_type type); /* as it is stored */
struct export_target sync_target(const struct sync *sync, const struct disk_sync *disk);

/* plan.c; neither changes anything. */
/* newest and left. */
int sync_load_points(struct sync *sync, struct error **err);
/* parent and left of every disk. */
int sync_load_rows(struct sync *sync, struct error **err);
/* Type, start, reason and paths of every disk. */
int sync_plan(struct sync *sync, struct error **err);
/* No disk has anything to be copied. */
bool sync_is_up_to_date(const struct sync *sync);

/* prepare.c */
/* Remove what earlier runs left and this one does not use. */
int sync_clear(struct sync *sync, struct error **err);
/* The job, the point and its disks' rows, in one transaction. */
int sync_write_down(struct sync *sync, struct error **err);
/* Images, leaves and change maps of the disks that start afresh. */
int sync_make_files(struct sync *sync, struct error **err);

/* transfer.c: every disk is durable and verified on return. */
int sync_transfer(struct sync *sync, struct error **err);

/* publish.c */
/* What a run leaves to do that was killed right after it completed the newest point. */
void sync_tidy(const struct sync *sync);
int sync_publish(struct sync *sync, struct error **err);
/* The job ended without a point: write down why. Problems in here are not reported: the
 * next run finds everything out for itself. */
void sync_fail(struct sync *sync, const struct error *reason);

#endif
