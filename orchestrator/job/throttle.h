/* Rates by the time of the day: what comes in is what an operator wrote,
 *
 *     mon-fri 08:00-18:00 50M; sat,sun unlimited; 22:00-06:00 0; * 200M
 *
 * and a moment. What goes out: the rate then, and until when. The first rule that fits is the
 * one; where none does there is no limit. Times are the clock's on the wall (TZ): on the day on
 * which it jumps, a window lasts as long as that clock shows it. It never sleeps and never looks
 * at a clock itself. */
#ifndef VMFERRY_JOB_THROTTLE_H
#define VMFERRY_JOB_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "error.h"

#define THROTTLE_UNLIMITED UINT64_MAX
#define THROTTLE_RULES     32
#define THROTTLE_TEXT      1024

struct throttle_rule {
    unsigned days; /* on which it begins: bit 0 is Sunday */
    int from, to;  /* minutes of the day; to <= from: it ends on the next one */
    uint64_t rate; /* bytes/s; 0: nothing may move; THROTTLE_UNLIMITED */
};

struct throttle {
    struct throttle_rule rules[THROTTLE_RULES];
    size_t count; /* 0: no limit, ever */
};

/* "" is no limit. ERROR_USAGE that names the rule. */
int throttle_parse(const char *text, struct throttle *throttle, struct error **err);
uint64_t throttle_rate(const struct throttle *throttle, time_t now);
/* The next moment at which the rate is another one; 0: not within eight days. */
time_t throttle_until(const struct throttle *throttle, time_t now);

/* An equal share of `all` bytes/s for one of `jobs` that move data now, and no more than `own`.
 * 0 is unlimited in `all`, `own` and the answer; never 0 where there is a limit. */
uint64_t throttle_share(uint64_t all, unsigned jobs, uint64_t own);

#endif
