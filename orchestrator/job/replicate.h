/* Replication of one VM: `vmferry replicate`. What comes in: a VM of the store, whose
 * source is asked anew. What goes out: a restore point over all of its disks, or an
 * error and everything as it was. */
#ifndef VMFERRY_REPLICATE_H
#define VMFERRY_REPLICATE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "copy/copy.h"
#include "job/admission.h"
#include "job/space.h"
#include "progress.h"
#include "source/source.h"
#include "store/store.h"

/* What to do with a disk whose changes can't be told. */
enum cbt_lost {
    CBT_LOST_RESYNC, /* compare source and replica, send what differs */
    CBT_LOST_FULL,   /* send everything anew */
    CBT_LOST_FAIL,   /* stop before anything is written */
};

/* resync, full, fail; ERROR_USAGE for another word. */
int cbt_lost_parse(const char *text, enum cbt_lost *lost, struct error **err);

struct replicate_options {
    bool full;                /* compare every block of source and replica, whatever CBT says */
    enum cbt_lost cbt_lost;   /* not asked for with `full`, and not of a first copy */
    bool no_verify;           /* do not re-read what was written */
    bool places_moved;        /* see identity.h */
    bool enable_tracking;     /* of a source that can, where it is off */
    enum quiesce quiesce;     /* of a source that takes snapshots */
    const char *transport;    /* instead of the source's own; NULL */
    const char *keep;         /* retention of a VM without rules of its own, see retention.h; NULL:
                                 every point stays */
    const char *pool;         /* of the first copy, as asked for now; NULL: as below */
    const char *default_pool; /* the configuration's; NULL or "": the state directory */
    const char *base;         /* format of a new base: raw, qcow2; NULL: raw */
    const char *const *devices; /* "disk-KEY=PATH": the choice of a block pool's devices */
    size_t device_count;
    struct space_reserve reserve; /* what stays free of the target */
    unsigned parallel;            /* disks copied at the same time; 0: 1 */
    unsigned connections;         /* per NBD end; 0: chosen */
    unsigned patience_s;          /* with ends that do not answer; 0: chosen */
    uint64_t rate;                /* bytes/s over all disks, of a job that has none; 0: unlimited */
    unsigned lease_seconds;       /* 0: the default */
    const struct admission *admission; /* NULL: no limits, and no windows but the job's own */
    const char *export_socket; /* of a server that others use, too; NULL: the job gets its own */
    pid_t part_of;             /* the process, our parent, that runs many of these; 0: none */
    /* What the operator says of this job, over what was said when it was made. */
    const char *given;   /* as options.h has it; NULL: nothing */
    int64_t given_rate;  /* bytes/s; -1: nothing */
    int64_t failover_id; /* the live failover that it is for; 0: none */
    atomic_int *cancel;  /* non-zero: stop cleanly; NULL: never */
    /* A question to the operator, true: yes; NULL: nobody can be asked, which is a no. */
    bool (*ask)(void *opaque, const char *question);
    /* A task that the source works on, a snapshot for one; NULL: nobody looks. */
    void (*task)(void *opaque, const char *what, unsigned percent);
    /* One disk's progress; from any thread. */
    void (*progress)(void *opaque, unsigned disk, const struct progress_record *record,
                     const char *operation);
    void *opaque;
};

struct replicate_disk {
    int key;
    int unit;
    uint64_t capacity;
    char sync_type[16];
    char reason[512]; /* why it is a resync; else "" */
    bool sent_whole;  /* a resync that compared nothing */
    char change_id[STORE_NAME];
    char digest[DIGEST_TEXT];
    uint64_t bytes;         /* that had to move: data, and zeroes over something */
    uint64_t bytes_written; /* as data */
    uint64_t bytes_zeroed;
    uint64_t bytes_resumed; /* found done from an earlier run */
    uint64_t bytes_verified;
    unsigned reconnects;
    double seconds;
};

struct replicate_result {
    int64_t job_id;
    unsigned point;  /* number of the new point, or of the newest when up to date */
    bool up_to_date; /* every disk is at the newest point's change id: nothing was made */
    double seconds;
    struct replicate_disk *disks; /* in unit order */
    size_t count;
};

/* What a job of these options (JSON, or NULL) would be refused for, so that none is made: a pool
 * that is not there, or not the replica's. */
int replicate_check_pool(struct store *store, const struct store_vm *vm, const char *given,
                         struct error **err);

/* The VM's open job is gone on with, or a new one made and run to its end.
 * Errors: ERROR_PAUSED when the next run can go on where this one stopped. */
int job_replicate(struct store *store, const char *state_dir, const struct store_vm *vm,
                  const struct replicate_options *options, struct replicate_result *result,
                  struct error **err);
/* This job, which is open and has no worker that lives. */
int job_resume(struct store *store, const char *state_dir, int64_t job_id,
               const struct replicate_options *options, struct replicate_result *result,
               struct error **err);
void replicate_result_free(struct replicate_result *result);
#define CLEANUP_REPLICATE_RESULT CLEANUP(replicate_result_free)

#endif
