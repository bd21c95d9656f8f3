/* What a test boot shows: watches the guest's serial console and its agent until
 * one of them says that it booted, or the console that it never will. Only reads. */
#ifndef VMFERRY_FAILOVER_EVIDENCE_H
#define VMFERRY_FAILOVER_EVIDENCE_H

#include <regex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "failover/libvirt.h"

struct evidence {
    bool booted;
    char by[16];    /* console, agent; or why not: timeout, stopped, stuck, cancelled, lost */
    char line[512]; /* of the console: that matched, that it is stuck at, or the last; or "" */
    double seconds; /* from the start of watching */
};

/* "lost" is the connection to libvirt: of the guest nothing is known. */

/* Called a few times a second while nothing is decided; seconds from the start. */
typedef void evidence_tick(double seconds, unsigned timeout_s);

struct evidence_options {
    const regex_t *expect; /* or NULL: then the guest agent's answer counts; else only a console
                              line that matches */
    unsigned timeout_s;
    int64_t start_ns;    /* progress_now_ns() when it was begun to be watched; 0: now */
    evidence_tick *tick; /* or NULL */
    void (*look)(void *opaque, double seconds); /* as often; or NULL */
    void *opaque;
    atomic_int *cancel; /* not 0: it ends by "cancelled"; or NULL */
};

void evidence_watch(virDomainPtr domain, const char *console,
                    const struct evidence_options *options, struct evidence *evidence);

#endif
