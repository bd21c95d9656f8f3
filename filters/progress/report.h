/* The reporter: turns figures into records, and gives them to the sinks from its
 * own thread, so that no request ever waits for a sink.
 *
 * A record goes out when it starts, every interval while a client is connected, when
 * the first client comes or the last goes, and at the end. */
#ifndef VMFERRY_REPORT_H
#define VMFERRY_REPORT_H

#include <stdint.h>

#include "progress.h"
#include "sink.h"
#include "tally.h"

/* What the reporter asks for: the sum of all exports, and who is there. */
struct situation {
    struct figures figures;
    unsigned connections; /* now */
    bool seen;            /* there has been one */
    bool readonly;        /* no client can have written */
    bool settled;         /* readers know every byte: what they have not read, they were told
                             is zero */
};

struct report_options {
    const char *label, *sync_type; /* the caller's, or NULL */
    int64_t interval_ns;
    struct sink *sinks; /* list; the reporter closes them */
    void (*look)(struct situation *situation);
};

struct report;

/* Before nbdkit forks: -1 after nbdkit_error, when a sink can't work. */
int report_check(const struct report_options *options);
/* After it. NULL after nbdkit_error. */
struct report *report_start(const struct report_options *options);
/* A client has come or gone: say it now. Does not wait. */
void report_poke(struct report *report);
/* The last record; waits until it is delivered, SINK_LAST_MS a sink at most. */
void report_stop(struct report *report);

#endif
