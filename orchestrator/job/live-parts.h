/* What a live failover, its rollback and its recovery share; see live.h. */
#ifndef VMFERRY_JOB_LIVE_PARTS_H
#define VMFERRY_JOB_LIVE_PARTS_H

#include "job/live-source.h"
#include "job/live.h"

#define LIVE_WAS_ON      "on"
#define LIVE_WAS_OFF     "off"
#define LIVE_WAS_LOST    "lost"
#define LIVE_WAS_VOUCHED "vouched"

struct live {
    const struct live_options *options;
    struct live_result *result;
    struct failover_options boot_options; /* the boot's, with networks */
    struct netmap map;
    struct boot boot;
    struct live_source from;
    struct live_estimate estimate;
    char source_was[8];
    bool power_known;
    enum power power;               /* at the beginning */
    int64_t off_ms, synced_ms;      /* when that was known */
    struct replicate_result synced; /* of the last sync */
};

/* Set from what the caller was given; it may not be moved. `result` is zeroed. */
void live_open(struct live *live, struct store *store, const char *state_dir,
               const struct store_vm *vm, const struct live_options *options,
               struct live_result *result);
void live_close(struct live *live);

/* All that can be known before anything is touched, and what the failover starts from: map, boot,
 * source_was, power. Blockers are no error. */
int live_check(struct live *live, struct findings *findings, struct error **err);
/* Part of the transaction that writes the row: nobody else works on the VM. */
int live_refuse_others(struct store *store, const struct store_vm *vm, struct error **err);

/* How one is gone on with after a crash: failover_jobs.options. */
struct live_wishes {
    char expect[STORE_TEXT]; /* "": the guest agent */
    char virt_type[16];
    unsigned timeout_s, shutdown_timeout_s;
    bool keep;     /* a rollback keeps the overlays */
    bool power_on; /* …and powers the source on, however it was */
};
int live_wishes_write(struct store *store, int64_t id, const struct live_wishes *wishes,
                      struct error **err);
int live_wishes_read(struct store *store, int64_t id, struct live_wishes *wishes,
                     struct error **err);

/* Remove the target, ask whether it is gone, then power the source on, if that is due; then the
 * row's end. What was confirmed by nobody is not taken for granted. May be repeated. */
struct live_undo {
    bool keep, power_on;
    unsigned stop_s;   /* for the target's guest to shut down; 0: it is stopped at once */
    unsigned settle_s; /* for the source's guest, which may be shutting down */
    void (*say)(const char *line);
};
int live_undo(struct store *store, const char *state_dir, const struct store_vm *vm,
              struct store_failover *failover, const struct live_undo *how, struct error **err);

/* Its verdict is there: booted is written down with the downtime, which it returns in seconds. */
int live_finish(struct boot *boot, double *downtime_s, struct error **err);

/* The source must be off now. One that can't tell is believed only when the operator said so. */
int live_check_off(const struct live_source *from, const char *source_was, struct error **err);

#endif
