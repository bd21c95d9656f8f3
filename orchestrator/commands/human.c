/* Numbers for people; see human.h. */
#include "human.h"

#include <inttypes.h>
#include <stdio.h>

#define SECONDS_PER_DAY INT64_C(86400)

const char *human_bytes(char buf[HUMAN_MAX], uint64_t bytes)
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = (double)bytes / 1024;
    int unit = 0;

    if (bytes < 1024) {
        snprintf(buf, HUMAN_MAX, "%" PRIu64 " B", bytes);
        return buf;
    }
    /* 1023.5 would be printed as 1024 */
    for (; value >= 1023.5; unit++)
        value /= 1024;
    snprintf(buf, HUMAN_MAX, "%.*f %s",
             value < 9.995   ? 2
             : value < 99.95 ? 1
                             : 0,
             value, units[unit]);
    return buf;
}

const char *human_seconds(char buf[HUMAN_MAX], int64_t seconds)
{
    if (seconds < 0)
        snprintf(buf, HUMAN_MAX, "?");
    else if (seconds < 3600)
        snprintf(buf, HUMAN_MAX, "%d:%02d", (int)(seconds / 60), (int)(seconds % 60));
    else if (seconds < SECONDS_PER_DAY)
        snprintf(buf, HUMAN_MAX, "%d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60 % 60),
                 (int)(seconds % 60));
    else
        snprintf(buf, HUMAN_MAX, "%" PRId64 "d %dh", seconds / SECONDS_PER_DAY,
                 (int)(seconds % SECONDS_PER_DAY / 3600));
    return buf;
}
