/* vmferry replicate --all, or of several VMs: each by a process of its own, some at a time. */
#ifndef VMFERRY_REPLICATE_ALL_H
#define VMFERRY_REPLICATE_ALL_H

#include "commands/bar.h"
#include "commands/context.h"

struct replicate_all {
    const char *source; /* only VMs of this one; NULL: of all */
    char *const *names; /* VMs; none: all that are known */
    int name_count;
    const char *given; /* options of each job (job/options.h) */
    int64_t given_rate;
    unsigned parallel; /* VMs at a time */
    enum bar_style style;
    bool json;
};

/* 0 when all are done; else an error that counts the others: ERROR_PAUSED when none has failed. */
int replicate_all(struct context *context, const struct replicate_all *wanted, struct error **err);

#endif
