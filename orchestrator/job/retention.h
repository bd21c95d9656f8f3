/* Which restore points stay. What comes in: rules, "last:7 daily:14 weekly:4 monthly:6",
 * and the points with their times. What goes out: for each point whether it stays, and by
 * which rule. Pure: it reads no clock but the local time zone, and deletes nothing.
 *
 *     last:N      the N newest points
 *     hourly:N    the newest point of each of the N newest hours that have one
 *     daily:N     likewise of days, from 0:00 to 24:00 local time
 *     weekly:N    of weeks, from Monday on
 *     monthly:N   of months
 *     yearly:N    of years
 *     all         every point
 *
 * A point stays if any rule keeps it, or when it is pinned; pinned ones take no rule's place.
 * The newest point always stays. */
#ifndef VMFERRY_RETENTION_H
#define VMFERRY_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum retention_rule {
    KEEP_LAST,
    KEEP_HOURLY,
    KEEP_DAILY,
    KEEP_WEEKLY,
    KEEP_MONTHLY,
    KEEP_YEARLY,
    KEEP_RULES,
};

struct retention {
    unsigned keep[KEEP_RULES]; /* 0: no such rule */
    bool all;
};

/* One point, as the choice sees it. */
struct retention_point {
    int64_t ms; /* its moment, since 1970 UTC */
    bool pinned;
    bool stays;     /* out */
    unsigned rules; /* out: a bit (1 << enum retention_rule) for each that keeps it */
};

/* ERROR_USAGE names the position, counted from 1, and what is wrong there. "" is `all`. */
int retention_parse(const char *text, struct retention *retention, struct error **err);

/* points are in order, the oldest first. */
void retention_choose(const struct retention *retention, struct retention_point *points,
                      size_t count);

/* "last", "daily" … */
const char *retention_rule_name(enum retention_rule rule);

#endif
