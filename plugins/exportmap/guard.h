/* Fencing: requests of a writer are let through only while the map file says what
 * it said when the writer came.
 *
 * Every request is one guard_enter … guard_leave. guard_enter looks at the map file
 * itself, so nothing that arrives after a change is carried out. A watcher, one
 * thread a process, looks every 50 ms, so that idle writers let go as well: it waits until no
 * request is between enter and leave, then releases the disk and, after it, the lease.
 *
 * A guard without terms belongs to a reader and is never fenced. */
#ifndef EXPORTMAP_GUARD_H
#define EXPORTMAP_GUARD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "mapdir.h"

struct guard {
    const struct mapdir *dir;
    char *name;  /* of the export */
    char *terms; /* see exportmap_file_terms; NULL: a reader. Owned */

    /* Make requests that are under way fail soon; may be NULL. */
    void (*cut)(void *opaque);
    /* Close the disk, then let go of the lease. Called once, with no request under way. */
    void (*release)(void *opaque);
    void *opaque;

    pthread_rwlock_t requests; /* held for reading by each request that is under way */
    atomic_int fenced;         /* 0, or the errno that requests get from now on */
    bool watched;
    bool released;
    pthread_mutex_t seen_lock; /* protects the next two */
    struct stat seen;          /* of the map file that last said the same terms */
    int seen_fd;               /* that file: open, so that its inode number stays taken */
    struct guard *next;
};

/* Takes `terms` and `seen_fd`. 0, or an errno. */
int guard_init(struct guard *guard, const struct mapdir *dir, const char *name, char *terms,
               int seen_fd, const struct stat *seen);
/* Whether the map still says the same. */
bool guard_unchanged(struct guard *guard);
/* The watcher looks at it from now on; its thread starts with the first writer. cut, release
 * and opaque must be set. On failure the guard can only be finished. */
int guard_watch(struct guard *guard, struct error **err);
/* Stop watching, release unless that was done, and free. No request may be under way. */
void guard_finish(struct guard *guard);

/* 0 and the disk may be used until guard_leave; or an errno, and not. */
int guard_enter(struct guard *guard);
void guard_leave(struct guard *guard);

/* End the watcher's thread, if there is one. No guard may be left. */
void watcher_stop(void);

#endif
