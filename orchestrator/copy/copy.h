/* The copy engine: plan → move → verify. What comes in: two ends (an NBD URI, a
 * local file or block device, "null:", or "[ nbdkit … ]") and what to move.
 * What goes out: the destination holds the bytes, flushed, and a digest says
 * which. It knows nothing of jobs or VMs, never creates or removes a replica,
 * and never says success before the flush. */
#ifndef VMFERRY_COPY_H
#define VMFERRY_COPY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "digest.h"
#include "error.h"

struct copy_progress {
    uint64_t bytes_done;  /* of what has to move */
    uint64_t bytes_total; /* grows while the planner still streams extents; total_known says so */
    bool total_known;
    const char *operation; /* "copying", "flushing", "verifying" */
    const char *trouble;   /* an end does not answer, in words; NULL: all is well */
};

/* All zero is a full copy with good defaults. Strings are the caller's and live
 * as long as the call. */
struct copy_options {
    const char *changes;        /* a change map FILE, or a metadata context: qemu:dirty-bitmap:NAME,
                                   base:allocation-hole. NULL: the whole disk */
    bool target_zero;           /* DST reads as zeroes: a first copy may skip zeroes */
    unsigned connections;       /* per NBD end; 0: chosen */
    unsigned requests;          /* in flight a connection; 0: adapts to the round-trip time */
    uint64_t request_size;      /* bytes; 0: chosen */
    atomic_uint_fast64_t *rate; /* bytes/s, may change while running; NULL or 0: unlimited */
    bool verify;                /* re-read what was written and compare with its digest */
    const char *journal;        /* --resume: durable ranges are kept here and not copied again.
                                   The file stays after success, for the caller to remove; so
                                   does JOURNAL.leaves, made when `leaves` is NULL */
    uint64_t flush_bytes;    /* flush DST, and note it in the journal, after so many; 0: chosen */
    const char *journal_key; /* what the journal is of; NULL: the names of src and dst */
    bool digest;             /* say the digest of the disk, also without a leaves file */
    const char *leaves;      /* the leaves file of the digest: made by a full copy, updated in place
                                by a delta (see digest.h). NULL: no digest */
    bool compare;        /* resync: `leaves` describes DST now; move only the blocks that differ */
    unsigned retries;    /* of one range, over all reconnects, before giving up; 0: chosen, by… */
    unsigned patience_s; /* …how long an end that does not answer is waited for; 0: chosen */
    int timeout_s;       /* without an answer a connection counts as lost; 0: chosen */
    bool resumable;      /* the caller goes on where this stops without a journal, too */
    atomic_int *cancel;  /* non-zero: stop cleanly, ERROR_PAUSED when it can be resumed.
                            May be set by a signal handler. NULL: never */
    void (*progress)(void *opaque, const struct copy_progress *now); /* about 5 times a second,
                              and once at the end; from one thread of the engine at a time */
    void *opaque;
};

struct copy_result {
    uint64_t size;          /* of the disk */
    uint64_t bytes_total;   /* that had to move (data and zeroes that overwrite) */
    uint64_t bytes_read;    /* from the source */
    uint64_t bytes_written; /* as data */
    uint64_t bytes_zeroed;  /* as zeroes */
    uint64_t bytes_same;    /* compared, and left alone */
    uint64_t bytes_resumed; /* found durable in the journal */
    uint64_t bytes_verified;
    unsigned reconnects;
    double seconds;
    bool has_digest;
    struct digest digest;
};

/* Copy one disk. Blocks until all is durable. Errors: ERROR_USAGE for ends that
 * do not fit each other, ERROR_PAUSED when retries ran out or a cancel came and
 * the journal or the caller can resume it, ERROR_FAILED otherwise. On every way out, requests
 * in flight are drained and connections shut down. Thread-safe: calls share
 * nothing. */
int copy_disk(const char *src, const char *dst, const struct copy_options *options,
              struct copy_result *result, struct error **err);

/* The digest of any end that copy_disk reads, made anew. `leaves` may be NULL. */
int copy_digest(const char *disk, const char *leaves, const struct copy_options *options,
                struct copy_result *result, struct error **err);

/* That the destination lets us in, an NBD URI; waits for it as a copy does that is `resumable`. */
int copy_reach(const char *dst, const struct copy_options *options, struct error **err);

/* The name of a disk as people and programs may see it: without the lease that an export's name
 * can end in. The caller frees it; NULL: out of memory. */
char *copy_shown_name(const char *name);

#endif
