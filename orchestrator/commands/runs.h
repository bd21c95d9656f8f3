/* The VMs of one `vmferry replicate --all`: which they are, in what order, what became of them.
 * What comes in: the store, names or a source. What goes out: a queued job for each, and at the
 * end a table. It runs nothing. */
#ifndef VMFERRY_RUNS_H
#define VMFERRY_RUNS_H

#include <json.h>

#include "job/claim.h"

enum run_state {
    RUN_QUEUED,
    RUN_RUNS,
    RUN_DONE,
    RUN_PAUSED,
    RUN_FAILED,
    RUN_ELSEWHERE, /* another worker has it: it gets its point, and not by us */
};

struct run {
    struct store_vm vm;
    int64_t job_id; /* 0: it has none */
    enum run_state state;
    char reason[STORE_TEXT]; /* why not; "" */
    int errnum;              /* of that; 0 */
    json_object *result;     /* as `vmferry replicate --json` says it; NULL */
    double seconds;
};

struct runs {
    struct run *list; /* in the order in which they are to start */
    size_t count;
};

/* By name, or all known VMs that are replicated, of one source when it is given. */
int runs_choose(struct store *store, const char *state_dir, char *const *names, int name_count,
                const char *source, struct runs *runs, struct error **err);
/* Write a job down for each; those that others run are left to them, and, unless the VMs were
 * named, those that the operator has paused. */
int runs_queue(struct store *store, struct runs *runs, const char *options, int64_t rate,
               bool named, struct error **err);
/* It failed: if that is because another worker has its job by now, it is left to that one. */
void runs_leave(struct store *store, struct run *run);
/* Those that were not begun are paused. */
void runs_lay_down(struct store *store, struct runs *runs);

int runs_print(const struct runs *runs, double seconds, bool json, struct error **err);
/* 0, or an error that says how many are not done. */
int runs_verdict(const struct runs *runs, struct error **err);
void runs_free(struct runs *runs);
#define CLEANUP_RUNS CLEANUP(runs_free)

#endif
