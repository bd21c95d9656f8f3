/* The store: the truth about sources, VMs, disks, points, exports and jobs. SQLite or
 * MariaDB is behind it; nothing above this folder sees SQL.
 *
 * Records are plain structs: fixed text fields, "" where the database has NULL
 * and 0 for a missing id. Lists are arrays that the caller frees with free(), so
 * that CLEANUP_FREE serves. Sizes are bytes, times milliseconds since 1970 UTC,
 * paths relative to the state directory. One handle belongs to one thread at a
 * time; several processes may have the same store open.
 *
 * A finder that finds nothing is an error (errnum ENOENT) that says what is there
 * instead. Each call is a transaction of its own, unless one is open. */
#ifndef VMFERRY_STORE_H
#define VMFERRY_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "digest.h"
#include "error.h"
#include "store/database.h"

/* Sources (vms.c) */

struct store_source {
    int64_t id;
    char name[STORE_NAME];
    char kind[16];             /* nbd */
    char location[STORE_PATH]; /* absolute path of the description file or directory; host[:port] */
    char options[STORE_PLACE]; /* a JSON object of the kind's own, "": none; never a secret */
    int64_t created_ms;
};

/* name, kind, location and options; source->id is set. */
int store_source_add(struct store *store, struct store_source *source, struct error **err);
int store_source_set_options(struct store *store, int64_t id, const char *options,
                             struct error **err);
int store_source_find(struct store *store, const char *name, struct store_source *source,
                      struct error **err);
int store_source_get(struct store *store, int64_t id, struct store_source *source,
                     struct error **err);
int store_sources(struct store *store, struct store_source **sources, size_t *count,
                  struct error **err);
/* Refused while one of its VMs has a replica; forgets its other VMs. */
int store_source_remove(struct store *store, int64_t id, struct error **err);

/* VMs and disks (vms.c) */

struct store_vm {
    int64_t id;
    int64_t source_id;
    char source[STORE_NAME]; /* the source's name; read only */
    char uuid[STORE_UUID];
    char name[STORE_NAME];
    char path[STORE_PATH];
    char state[24]; /* discovered, replicating, ready_for_failover, failed_over_test … */
    int64_t created_ms;
    int64_t updated_ms;
};

struct store_disk {
    int64_t id;
    int64_t vm_id;
    int key;  /* the hypervisor's stable key */
    int unit; /* unit number: names the export, orders the disks */
    char backing_uuid[STORE_NAME];
    uint64_t capacity;
    char change_id[STORE_NAME]; /* of the newest complete point; "" before the first */
    char replica[STORE_PATH];   /* newest complete point's image; "" before the first */
    char place[STORE_PLACE];    /* the URI or file that it was read from; "" before the first */
};

/* Insert, or update the row with this uuid: id, state and creation stay. vm->id is set. */
int store_vm_upsert(struct store *store, struct store_vm *vm, const char *spec, struct error **err);
/* By uuid (any case), name or path; a name that two VMs have is an error that lists both. */
int store_vm_find(struct store *store, const char *name_or_uuid, struct store_vm *vm,
                  struct error **err);
/* Never one that is only called so, and fast also of ten thousand. */
int store_vm_by_uuid(struct store *store, const char *uuid, struct store_vm *vm,
                     struct error **err);
int store_vm_get(struct store *store, int64_t id, struct store_vm *vm, struct error **err);
int store_vms(struct store *store, struct store_vm **vms, size_t *count, struct error **err);
/* The spec JSON as it was when last discovered or replicated (source/spec.h parses it). */
int store_vm_spec(struct store *store, int64_t vm_id, char **json, struct error **err);
int store_vm_set_state(struct store *store, int64_t vm_id, const char *state, struct error **err);
/* Only when the state is `from`; returns 0 also when it is another one. */
int store_vm_change_state(struct store *store, int64_t vm_id, const char *from, const char *to,
                          struct error **err);

/* Insert, or update the row of this VM and key; change id and replica stay. disk->id is set. */
int store_disk_upsert(struct store *store, struct store_disk *disk, struct error **err);
/* In unit order. */
int store_disks(struct store *store, int64_t vm_id, struct store_disk **disks, size_t *count,
                struct error **err);
/* A disk of a VM that never had a point, with what its jobs said of it. */
int store_disk_forget(struct store *store, int64_t disk_id, struct error **err);
/* The VM has a point, finished or not: its disks are those of the replica. */
int store_vm_has_points(struct store *store, int64_t vm_id, bool *has, struct error **err);
/* What a finished sync says: part of the transaction that completes the point. */
int store_disk_synced(struct store *store, int64_t disk_id, uint64_t capacity,
                      const char *change_id, const char *replica, const char *place,
                      struct error **err);

/* Restore points (points.c) */

struct store_point {
    int64_t id;
    int64_t vm_id;
    int64_t job_id;
    unsigned number; /* 1, 2, … in the VM */
    bool complete;
    int64_t created_ms;
    int64_t completed_ms;
    bool pinned;                   /* retention leaves it alone */
    bool going;                    /* on its way out: nothing may be built on it or read from it */
    int64_t verified_ms;           /* last read and compared with its digests; 0: never */
    char verify_error[STORE_TEXT]; /* what was wrong then; "" : nothing */
};

struct store_point_disk {
    int64_t id;
    int64_t point_id;
    int64_t disk_id;
    int64_t parent_id; /* restore_point_disks.id of the image below; 0: none, this is the base */
    int key;           /* of the disk; read only, as is unit */
    int unit;
    uint64_t capacity; /* at this point: disks grow; 0 in a new one: as the disk has now */
    char image[STORE_PATH];
    char format[8]; /* raw, qcow2 */
    char leaves[STORE_PATH];
    char sync_type[16];         /* initial, incremental, resync */
    char change_id[STORE_NAME]; /* the moment that it holds; "" when the source names none */
    char place[STORE_PLACE];    /* the URI or file that it is read from */
    char digest[DIGEST_TEXT];   /* "" until complete */
    uint64_t bytes;             /* that had to move */
    bool complete;
};

/* A point of the VM, not complete yet. number 0: the next one. */
int store_point_create(struct store *store, struct store_point *point, struct error **err);
int store_point_disk_create(struct store *store, struct store_point_disk *disk, struct error **err);
/* digest and bytes of one disk, whose data is durable. */
int store_point_disk_complete(struct store *store, const struct store_point_disk *disk,
                              struct error **err);
/* image and leaves, of a point that is not complete. */
int store_point_disk_rename(struct store *store, const struct store_point_disk *disk,
                            struct error **err);
/* Refused unless every disk of the point is complete. */
int store_point_complete(struct store *store, int64_t point_id, struct error **err);
/* Only a point that is not complete can be forgotten. */
int store_point_forget(struct store *store, int64_t point_id, struct error **err);
/* Hand an unfinished point over to the job that resumes it. */
int store_point_adopt(struct store *store, int64_t point_id, int64_t job_id, struct error **err);
/* A complete point by number, 0: the newest. Not one that is going. */
int store_point_find(struct store *store, int64_t vm_id, unsigned number, struct store_point *point,
                     struct error **err);
/* The unfinished point that a dead or paused job left, if any. */
int store_point_unfinished(struct store *store, int64_t vm_id, bool *found,
                           struct store_point *point, struct error **err);
/* Complete ones only, oldest first; without those that are going. */
int store_points(struct store *store, int64_t vm_id, struct store_point **points, size_t *count,
                 struct error **err);
/* Those that are going, newest first. */
int store_points_going(struct store *store, int64_t vm_id, struct store_point **points,
                       size_t *count, struct error **err);
/* In unit order. */
int store_point_disks(struct store *store, int64_t point_id, struct store_point_disk **disks,
                      size_t *count, struct error **err);
int store_point_disk_get(struct store *store, int64_t id, struct store_point_disk *disk,
                         struct error **err);
/* Those whose parent is row `id`, complete or not. */
int store_point_disks_on(struct store *store, int64_t id, struct store_point_disk **disks,
                         size_t *count, struct error **err);

/* Points after they are made (retire.c) */

/* The number that the next point gets: none is given twice. */
int store_vm_next_point(struct store *store, int64_t vm_id, unsigned *number, struct error **err);
/* For transactions that decide by what they read of a VM: of two of them at the same time, also
 * on two nodes, the second one is tried again. */
int store_vm_touch(struct store *store, int64_t vm_id, struct error **err);
/* Part of the transaction that completes point `number`. */
int store_vm_point_taken(struct store *store, int64_t vm_id, unsigned number, struct error **err);
/* The VM's own retention rules, see job/retention.h; "": the configuration's. */
int store_vm_keep(struct store *store, int64_t vm_id, char keep[STORE_NAME], struct error **err);
int store_vm_set_keep(struct store *store, int64_t vm_id, const char *keep, struct error **err);
/* How it is tested; "": as all others. */
struct store_vm_tests {
    char checks[STORE_TEXT]; /* failover/check.h; none */
    char expect[STORE_TEXT]; /* a regular expression */
};
int store_vm_tests(struct store *store, int64_t vm_id, struct store_vm_tests *tests,
                   struct error **err);
int store_vm_set_tests(struct store *store, int64_t vm_id, const struct store_vm_tests *tests,
                       struct error **err);
int store_point_set_pinned(struct store *store, int64_t point_id, bool pinned, struct error **err);
/* It was read just now; `error` says what is wrong with it, NULL or "": nothing. */
int store_point_verified(struct store *store, int64_t point_id, const char *error,
                         struct error **err);
/* It is going. Refused for one that is pinned, or going already. */
int store_point_go(struct store *store, int64_t point_id, struct error **err);
/* upper, which stood on lower, takes over its image, format and parent; lower gets upper's
 * image, to be removed with it. */
int store_point_disk_trade(struct store *store, const struct store_point_disk *lower,
                           const struct store_point_disk *upper, struct error **err);
/* Whether a row other than `id` names this image. */
int store_image_is_used(struct store *store, const char *image, int64_t id, bool *used,
                        struct error **err);
/* Its data lies elsewhere now: that it was found clean there no longer counts. */
int store_point_moved(struct store *store, int64_t point_id, struct error **err);
/* The disk is at this row's moment, as if no later point had been. */
int store_disk_set_back(struct store *store, const struct store_point_disk *row,
                        struct error **err);
/* Only one that is going can be dropped. */
int store_point_drop(struct store *store, int64_t point_id, struct error **err);

/* Export mappings (exports.c) */

struct store_export {
    int64_t id;
    int64_t vm_id;
    int unit;
    char vm_name[STORE_NAME];
    char name[STORE_NAME];
    char path[STORE_PATH];     /* relative to the state directory, or absolute */
    char identity[STORE_TEXT]; /* which disk that is: see replica/exportrow.h */
    char lease[STORE_NAME];    /* "" when nobody may write */
    bool active;
    int64_t created_ms; /* read only, as is the next */
    int64_t updated_ms;
};

int store_export_upsert(struct store *store, struct store_export *mapping, struct error **err);
/* In the order of VMs and units; vm_id 0: of all VMs. */
int store_exports(struct store *store, int64_t vm_id, struct store_export **exports, size_t *count,
                  struct error **err);

/* Lock the row, until the transaction ends. */
int store_export_touch(struct store *store, int64_t id, struct error **err);
/* A row without a disk: what has gone can't be served. Its VM and unit keep their name. */
int store_export_withdraw(struct store *store, int64_t id, struct error **err);
/* The device of this mapping has another path now: the mapping, the disk and its points say so. */
int store_export_move(struct store *store, const struct store_export *mapping, const char *path,
                      struct error **err);

/* Pools (pools.c): where replicas lie. */

#define STORE_OPTIONS 16384

struct store_pool {
    int64_t id; /* 0: the state directory, which has no row */
    char name[STORE_NAME];
    char kind[16]; /* dir, libvirt, block, lvm, rbd */
    char location[STORE_PATH];
    char options[STORE_OPTIONS]; /* a JSON object of the kind's own; never a secret */
    int64_t created_ms;
};

int store_pool_add(struct store *store, struct store_pool *pool, struct error **err);
/* Only when its options still are `before`: two jobs may want the same device. */
int store_pool_set_options(struct store *store, const struct store_pool *pool, const char *before,
                           struct error **err);
int store_pool_find(struct store *store, const char *name, struct store_pool *pool,
                    struct error **err);
int store_pool_get(struct store *store, int64_t id, struct store_pool *pool, struct error **err);
int store_pools(struct store *store, struct store_pool **pools, size_t *count, struct error **err);
/* Refused while a VM lies in it. */
int store_pool_remove(struct store *store, int64_t id, struct error **err);
/* The ids of the VMs whose replicas lie in it; 0: in the state directory. */
int store_pool_vms(struct store *store, int64_t pool_id, int64_t **vms, size_t *count,
                   struct error **err);
/* The pool of a VM's replica; 0: the state directory, or not decided yet. */
int store_vm_pool(struct store *store, int64_t vm_id, int64_t *pool_id, struct error **err);
int store_vm_set_pool(struct store *store, int64_t vm_id, int64_t pool_id, struct error **err);
/* A VM that has no restore point any more, not even an unfinished one, lies in no pool. Devices
 * wait for their disk, and so does the VM in a pool of them. */
int store_vm_leave_pool(struct store *store, int64_t vm_id, struct error **err);

/* Jobs (jobs.c, claims.c) */

struct store_job {
    int64_t id;
    int64_t vm_id;
    char type[24];              /* replication_type: manual; or merge, repair … */
    char sync_type[16];         /* of its most expensive disk: initial, resync, incremental */
    char status[16];            /* queued, running, paused: open; completed, failed, cancelled */
    char operation[STORE_NAME]; /* at its end "Completed", "Failed: why" */
    uint64_t bytes_total;
    uint64_t bytes_done;
    uint64_t throughput;
    int64_t eta_seconds; /* -1: not known */
    double percent;
    char error[STORE_TEXT];
    char paused_by[16];       /* operator, signal, source, target, space, window, worker; "" */
    char wanted[8];           /* of the worker that runs it: pause, cancel; "" */
    int64_t rate;             /* bytes/s, 0: unlimited, -1: the configuration's */
    char options[STORE_TEXT]; /* how to run it, JSON; "": as the configuration says */
    int64_t fence;            /* grows with every worker that takes it */
    char lease[STORE_NAME];
    int64_t expires_ms; /* by the database's clock; 0: nobody owns it */
    char owner_host[STORE_NAME];
    char owner_boot[STORE_UUID];
    int64_t owner_pid;
    int64_t owner_start;
    char snapshot[STORE_NAME]; /* those that it may have at the source, the newest last, with a
                                  blank between; "" when they are known to be gone */
    int64_t created_ms;
    int64_t started_ms; /* 0: not yet */
    int64_t updated_ms;
    int64_t completed_ms;
};

static inline bool store_job_is_open(const struct store_job *job)
{
    return strcmp(job->status, "queued") == 0 || strcmp(job->status, "running") == 0 ||
           strcmp(job->status, "paused") == 0;
}

/* Insert with status queued; type, sync_type, options and rate. A VM that has an open job
 * already is refused, errnum EEXIST. */
int store_job_create(struct store *store, struct store_job *job, struct error **err);
/* Insert with status running, owned by nobody. A VM that has an open job is refused. */
int store_job_start(struct store *store, struct store_job *job, struct error **err);
int store_job_get(struct store *store, int64_t id, struct store_job *job, struct error **err);
/* operation, sync_type, the progress columns and updated_at; only while it is running under
 * job->fence: errnum ESTALE. */
int store_job_update(struct store *store, const struct store_job *job, struct error **err);
/* status, error, completed_at, of an open job; nobody owns it afterwards. Whoever runs a job ends
 * it by store_claim_end(). */
int store_job_end(struct store *store, int64_t job_id, const char *status, const char *error,
                  struct error **err);
/* Written before the snapshot is made, and cleared ("") after it is gone. */
int store_job_set_snapshot(struct store *store, int64_t job_id, const char *snapshot,
                           struct error **err);
int store_job_set_options(struct store *store, int64_t job_id, const char *options,
                          struct error **err);
/* bytes/s, 0: unlimited, -1: the configuration's. */
int store_job_set_rate(struct store *store, int64_t job_id, int64_t rate, struct error **err);
/* Ask the worker that runs it: pause, cancel. *asked is false when it does not run. */
int store_job_ask(struct store *store, int64_t job_id, const char *wanted, bool *asked,
                  struct error **err);
/* Jobs that may have a snapshot at the source, oldest first; vm_id 0: of all VMs. */
int store_jobs_with_snapshot(struct store *store, int64_t vm_id, struct store_job **jobs,
                             size_t *count, struct error **err);
/* Newest first; vm_id 0: of all VMs; limit 0: all. */
int store_jobs(struct store *store, int64_t vm_id, unsigned limit, struct store_job **jobs,
               size_t *count, struct error **err);
/* That are not at their end, oldest first; vm_id 0: of all VMs. */
int store_jobs_open(struct store *store, int64_t vm_id, struct store_job **jobs, size_t *count,
                    struct error **err);
/* The VM's job that is not at its end, if any. */
int store_job_open(struct store *store, int64_t vm_id, bool *found, struct store_job *job,
                   struct error **err);

/* Owning a job (claims.c; job/claim.h is what workers use). An owner names its fence with all
 * that it writes; ESTALE: it owns the job no longer. */

/* Take it, as it was `seen`: status running, the next fence, the owner, lease and expires_ms of
 * `mine`. *taken is false when somebody else was faster. mine->fence is set. */
int store_claim_take(struct store *store, const struct store_job *seen, struct store_job *mine,
                     bool *taken, struct error **err);
int store_claim_renew(struct store *store, int64_t job_id, int64_t fence, int64_t expires_ms,
                      struct error **err);
/* Part of a transaction: nobody takes the job before that ends. */
int store_claim_check(struct store *store, int64_t job_id, int64_t fence, struct error **err);
/* status (paused, or an end), who has to do something, and what is said of it; nobody owns it
 * afterwards. */
int store_claim_end(struct store *store, int64_t job_id, int64_t fence, const char *status,
                    const char *paused_by, const char *operation, const char *error,
                    struct error **err);

/* The row goes. */
int store_claim_forget(struct store *store, int64_t job_id, int64_t fence, struct error **err);

/* What each disk of a job does (job-disks.c). */
struct store_job_disk {
    int64_t job_id;
    int64_t disk_id;
    int key; /* read only, as is unit */
    int unit;
    char sync_type[16];
    char operation[STORE_NAME]; /* at its end as the job's */
    uint64_t bytes_total;
    uint64_t bytes_done;
    uint64_t throughput;
    int64_t eta_seconds; /* -1: not known */
    double percent;
    char error[STORE_TEXT];
};

/* Insert, or update the row of this job and disk. */
int store_job_disk_put(struct store *store, const struct store_job_disk *disk, struct error **err);
/* In unit order. */
int store_job_disks(struct store *store, int64_t job_id, struct store_job_disk **disks,
                    size_t *count, struct error **err);

struct store_step_row {
    char step[24];
    int key; /* -1: of the whole job */
    char state[16];
    int64_t started_ms;
    int64_t completed_ms;
    char detail[STORE_TEXT];
};

/* In the order in which they began. */
int store_steps(struct store *store, int64_t job_id, struct store_step_row **steps, size_t *count,
                struct error **err);

/* A step is written down before it is done ("running") and after ("done", "failed").
 * disk_id 0: a step of the whole job. detail may be NULL. */
int store_step(struct store *store, int64_t job_id, int64_t disk_id, const char *step,
               const char *state, const char *detail, struct error **err);
/* The job stops: what it was at has failed. `why` for those that have no detail; may be NULL. */
int store_steps_stop(struct store *store, int64_t job_id, const char *why, struct error **err);

/* The log of jobs (log.c); log/keep.h writes it. */

struct log_line;

#define STORE_LOG_MESSAGE 4096

struct store_log_line {
    int64_t id;
    int64_t job_id;
    int64_t disk_id; /* 0: of the whole job */
    int key;         /* of that disk; -1: none, or it is gone */
    char level[8];   /* log_level_name() */
    char part[16];
    char message[STORE_LOG_MESSAGE];
    int64_t created_ms; /* by the clock of the host that said it */
};

/* A line that has a job. A text that is too long is cut. */
int store_log_add(struct store *store, const struct log_line *line, struct error **err);
/* Up to `limit` lines of a job in the order of their times, and of their ids at one time:
 * those behind (after_ms, after_id), (0, 0) for the first ones. */
int store_job_log(struct store *store, int64_t job_id, int64_t after_ms, int64_t after_id,
                  unsigned limit, struct store_log_line **lines, size_t *count, struct error **err);

struct store_history {
    int64_t disk_id;
    int64_t job_id;
    const char *before; /* change ids; NULL: none */
    const char *after;
    const char *sync_type;
    uint64_t bytes;
    int64_t areas; /* -1: not known */
    int64_t duration_ms;
    const char *outcome; /* completed, failed, paused */
};

int store_history_add(struct store *store, const struct store_history *entry, struct error **err);

/* What one job of increments moved. */
struct store_churn {
    uint64_t bytes;      /* over all disks */
    int64_t duration_ms; /* of its longest disk */
    int64_t ended_ms;
};

/* Of the VM's last `limit` completed incremental syncs, newest first. */
int store_history_churn(struct store *store, int64_t vm_id, unsigned limit,
                        struct store_churn **list, size_t *count, struct error **err);

/* Network maps (netmaps.c): where the NICs of all VMs of a source go, or those of one VM */

struct store_netmap {
    int64_t id;
    int64_t source_id; /* one of the two, the other one is 0 */
    int64_t vm_id;
    char network[STORE_NAME]; /* the source's name of it; of a VM also a MAC address */
    char target[STORE_NAME];  /* net:NAME, bridge:NAME, isolated, none */
    int64_t created_ms;
    int64_t updated_ms;
};

/* Insert, or change the target. */
int store_netmap_set(struct store *store, struct store_netmap *netmap, struct error **err);
/* By owner and network. */
int store_netmap_remove(struct store *store, const struct store_netmap *netmap, bool *found,
                        struct error **err);
int store_netmaps(struct store *store, struct store_netmap **list, size_t *count,
                  struct error **err);
/* The VM's own and those of its source. */
int store_netmaps_of_vm(struct store *store, const struct store_vm *vm, struct store_netmap **list,
                        size_t *count, struct error **err);

/* Failovers (failovers.c) */

struct store_failover {
    int64_t id;
    int64_t vm_id;
    char kind[8];     /* test, live */
    char state[24];   /* the failover's own words */
    int64_t point_id; /* 0: it was deleted after the failover's end */
    unsigned point;   /* its number */
    char domain_uuid[STORE_UUID];
    char domain_name[STORE_NAME];
    char network[STORE_NAME]; /* made for it, and removed with it; "": none */
    char host[STORE_NAME];    /* whose state directory has its overlays; "": not known */
    char uri[STORE_PATH];     /* of libvirt; "": the default */
    int64_t keep_until_ms;    /* rolled back after it; 0: when somebody says so */
    char source_was[8]; /* live: the source's power before: on, off, lost, vouched; "": untouched */
    int64_t off_ms;     /* live: when the source was asked to shut down; 0: not yet */
    int64_t replication_job_id;
    char error[STORE_TEXT];
    int64_t created_ms;
    int64_t updated_ms;
    int64_t completed_ms; /* 0 while something of it may still exist */
};

/* Insert; `spec` is the VM's spec JSON at this moment. failover->id is set. */
int store_failover_create(struct store *store, struct store_failover *failover, const char *spec,
                          struct error **err);
/* state, point, domain, network, error, keep_until_ms, source_was, off_ms, replication_job_id,
 * completed_ms. */
int store_failover_update(struct store *store, const struct store_failover *failover,
                          struct error **err);
/* evidence: JSON; the other columns stay. */
int store_failover_evidence(struct store *store, int64_t id, const char *json, struct error **err);
int store_failover_get_evidence(struct store *store, int64_t id, char **json, struct error **err);
int store_failover_spec(struct store *store, int64_t id, char **json, struct error **err);
/* How it is to be gone on with after a crash, JSON. */
int store_failover_set_options(struct store *store, int64_t id, const char *json,
                               struct error **err);
int store_failover_options(struct store *store, int64_t id, char **json, struct error **err);
/* Newest first; vm_id 0: of all VMs; open: only those whose completed_ms is 0. */
int store_failovers(struct store *store, int64_t vm_id, bool open, struct store_failover **list,
                    size_t *count, struct error **err);
int store_failover_get(struct store *store, int64_t id, struct store_failover *failover,
                       struct error **err);

/* Audit (audit.c): who did what to which, in the transaction that does it. `what` is the verb:
 * "point delete". before and after are free text or JSON, or NULL; never a secret. */

struct store_audit_row {
    int64_t id;
    char who[STORE_NAME]; /* user, uid, and who became that user */
    char host[STORE_NAME];
    char command[STORE_PATH]; /* the command line */
    char what[STORE_NAME];
    char subject[STORE_PATH];
    char vm_uuid[STORE_UUID]; /* that it is about; "": none */
    char vm_name[STORE_NAME]; /* at that time */
    char before[STORE_PLACE];
    char after[STORE_PLACE];
    int64_t created_ms;
};

/* A subject that is a VM's uuid, or the name of its export, makes the row one about that VM. */
int store_audit(struct store *store, const char *what, const char *subject, const char *before,
                const char *after, struct error **err);
/* About this VM, whatever the subject is; it may be NULL: the VM itself. */
int store_audit_vm(struct store *store, int64_t vm_id, const char *what, const char *subject,
                   const char *before, const char *after, struct error **err);
/* About a source: NULL for what was, or is, not there. */
int store_audit_source(struct store *store, const char *what, const struct store_source *before,
                       const struct store_source *after, struct error **err);
/* Up to `limit` rows in the order of their times, behind (after_ms, after_id). `vm`: of the VM
 * with this uuid, or this name at that time; NULL: all. */
int store_audits(struct store *store, const char *vm, int64_t after_ms, int64_t after_id,
                 unsigned limit, struct store_audit_row **rows, size_t *count, struct error **err);

#endif
