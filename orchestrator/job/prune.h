/* Retention at work: `vmferry point prune`, and the end of every sync. What comes in: a VM's
 * points and its rules (its own, or the configuration's). What goes out: which points stay and
 * why, and the others are deleted, the oldest first. */
#ifndef VMFERRY_PRUNE_H
#define VMFERRY_PRUNE_H

#include "job/claim.h"
#include "job/retention.h"
#include "store/store.h"

enum prune_outcome {
    PRUNE_STAYS,
    PRUNE_GOES, /* in a dry run */
    PRUNE_DELETED,
    PRUNE_WAITS, /* a failover stands on it, or it is being read: a later run deletes it */
};

struct prune_point {
    struct store_point point;
    struct retention_point choice;
    enum prune_outcome outcome;
    char reason[512]; /* why it waits */
};

struct prune_result {
    char keep[STORE_NAME];      /* the rules, as written */
    bool own;                   /* the VM's own, not the configuration's */
    struct prune_point *points; /* the oldest first */
    size_t count;
    size_t deleted;
    size_t waiting;
};
void prune_result_free(struct prune_result *result);
#define CLEANUP_PRUNE CLEANUP(prune_result_free)

struct prune_options {
    const char *keep;   /* of a VM that has no rules of its own; "": all */
    bool dry_run;       /* choose, and delete nothing */
    atomic_int *cancel; /* of the operator's signals; NULL: none */
};

/* Takes the VM's locks when there is something to delete. On an error *result says what was
 * done up to then. */
int job_prune(struct store *store, const char *state_dir, const struct store_vm *vm,
              const struct prune_options *options, struct prune_result *result, struct error **err);

/* The last step of a sync that made a point; the caller has the VM by a claim. What fails here
 * fails nothing else: it is said, and a later run tries again. */
void prune_after_sync(struct claim *claim, struct store *store, const char *state_dir,
                      const struct store_vm *vm, const char *keep);

/* "last, daily", "pinned", "the newest"; "" for one that goes. */
#define PRUNE_WHY 96
const char *prune_why(const struct prune_result *result, size_t i, char why[PRUNE_WHY]);

#endif
