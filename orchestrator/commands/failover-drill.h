/* `vmferry failover test --all`: a recoverability drill. What comes in: which VMs, and the options
 * of each test. What goes out: each of them booted from its newest point and rolled back, and one
 * report at the end. */
#ifndef VMFERRY_FAILOVER_DRILL_H
#define VMFERRY_FAILOVER_DRILL_H

#include "commands/context.h"
#include "source/source.h"

struct drill_request {
    const char *source; /* of which source; NULL: of all */
    struct source_filter filter;
    unsigned parallel;
    bool json;
    const char *output;       /* a file for the whole report; NULL */
    const char *format;       /* of that file: text, json, html; NULL: by its name */
    const char *virt_type;    /* kvm or qemu: it was found out already */
    const char *const *words; /* options of each test */
    size_t word_count;
};

/* With the words of failover_drill() itself. */
#define DRILL_WORDS_MAX 48

int failover_drill(struct context *context, const struct drill_request *request,
                   struct error **err);

#endif
