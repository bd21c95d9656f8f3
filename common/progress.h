/* The one progress record of the project: the progress filter, the copy engine
 * and the jobs all report this.
 *
 * Invariants that progress_meter_update() keeps, whatever it is fed: percent
 * never goes down and never exceeds 100; 100 and eta 0 are said only by
 * progress_meter_finish(). All amounts are bytes. Not thread-safe: the caller
 * holds a lock around a meter. No allocation anywhere. */
#ifndef VMFERRY_PROGRESS_H
#define VMFERRY_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

enum progress_state { PROGRESS_RUNNING, PROGRESS_COMPLETED, PROGRESS_PAUSED, PROGRESS_FAILED };

struct progress_record {
    char label[128];      /* what moves: a disk, a job; "" when nobody said */
    char sync_type[16];   /* initial, incremental, resync; "" when unknown */
    uint64_t bytes_done;  /* distinct bytes that have moved */
    uint64_t bytes_total; /* bytes that have to move: never the capacity */
    double percent;       /* 0..100 */
    uint64_t throughput;  /* bytes/s, smoothed */
    int64_t eta_seconds;  /* -1: not known yet */
    enum progress_state state;
    int64_t time_ms; /* wall clock, milliseconds since 1970 UTC */
};

/* Smooths the rate over about the last ten seconds. */
struct progress_meter {
    struct progress_record record; /* the newest; label and sync_type are the caller's to set */
    int64_t start_ns;              /* CLOCK_MONOTONIC of the first sample; 0: none yet */
    int64_t last_ns;               /* and of the last */
    uint64_t start_done;           /* a resumed copy begins with this; it has no part in the rate */
    uint64_t last_done;
    double rate; /* bytes/s */
};

/* Strings that do not fit are cut; NULL is "". */
void progress_meter_init(struct progress_meter *meter, const char *label, const char *sync_type);
/* Bring meter->record up to date. now_ns is CLOCK_MONOTONIC. `total` may grow while the
 * work is being found out, 0 is "not known yet"; less than `done` counts as `done`. The first
 * update starts the clock: make it before anything moves. */
void progress_meter_update(struct progress_meter *meter, uint64_t done, uint64_t total,
                           int64_t now_ns);
/* The last record: state, the mean throughput of the whole run, and for PROGRESS_COMPLETED
 * percent 100 and eta 0. Amounts stay as last told. */
void progress_meter_finish(struct progress_meter *meter, enum progress_state state, int64_t now_ns);

/* CLOCK_MONOTONIC, as the functions above want it. */
int64_t progress_now_ns(void);

/* One JSON object on one line, without the newline, NUL-terminated. Returns its
 * length as snprintf does; PROGRESS_JSON_MAX is always enough. eta_seconds is null when
 * not known, time is UTC as 2026-01-31T12:00:00.000Z, percent is cut to two decimals.
 * Bytes of a string that are not UTF-8 become U+FFFD. */
#define PROGRESS_JSON_MAX 1536
size_t progress_record_to_json(const struct progress_record *record, char *buf, size_t size);

const char *progress_state_name(enum progress_state state); /* "running" … */

#endif
