/* One call of copy_disk() or copy_digest(), as the engine's upper parts share it. */
#ifndef VMFERRY_COPY_RUN_H
#define VMFERRY_COPY_RUN_H

#include <stdatomic.h>

#include "changemap.h"
#include "copy/copy.h"
#include "copy/end.h"
#include "copy/journal.h"
#include "copy/plan.h"

struct run {
    const char *src_name;
    const char *dst_name;
    const struct copy_options *options;
    struct copy_result *result;
    atomic_bool stop;
    struct end *src;
    struct end *dst;
    bool changes_loaded;
    struct changemap changes; /* from a file */
    bool changes_context;     /* …or by a metadata context: */
    bool holes_unchanged;     /* base:allocation-hole */
    struct journal *journal;
    struct changemap durable; /* what an earlier run did */
    int leaves_fd;
    char *leaves_name; /* for messages */
    bool make_leaves;
    uint64_t align; /* of what is read */
    uint64_t request_size;
    unsigned lanes;
    unsigned lanes_near;
    bool copy_directly; /* see move.h */
    struct plan *plan;
    const char *operation;
};

static inline bool run_is_delta(const struct run *run)
{
    return run->options->changes != NULL;
}

/* What the options say, or what is chosen in their place. */
#define PATIENCE_S 90U
unsigned run_timeout_s(const struct copy_options *options);
unsigned run_patience_s(const struct copy_options *options); /* 0: retries alone decide */
unsigned run_retries(const struct copy_options *options);

/* open.c */
int run_open_ends(struct run *run, struct error **err);

/* resume.c, in this order. */
int run_open_journal(struct run *run, struct error **err);
int run_open_leaves(struct run *run, struct error **err);
/* Verifying failed: what they say is not what the destination holds. */
void run_spoil_leaves(struct run *run, const struct error *why);

#endif
