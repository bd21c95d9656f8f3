/* Moments; see when.h. */
#include "when.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char wrong[] = "is neither a time (2026-11-21, \"2026-11-21 18:30\", "
                            "2026-11-21T18:30:00Z) nor an age (30m, 24h, 7d)";

static bool parse_age(const char *text, int64_t now_ms, int64_t *ms)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
    unsigned long long count;
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    count = strtoull(text, &end, 10);
    if (errno || count > 100000000 || !*end || end[1])
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (*end != units[i].letter)
            continue;
        *ms = now_ms - (int64_t)count * units[i].seconds * 1000;
        return true;
    }
    return false;
}

static bool parse_time(const char *text, int64_t *ms)
{
    static const char *const formats[] = { "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S",
                                           "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d" };

    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct tm tm = { .tm_isdst = -1 };
        const char *end = strptime(text, formats[i], &tm);
        time_t seconds;

        if (!end)
            continue;
        if (*end == '.') /* of a second, as our own JSON has them */
            end += 1 + strspn(end + 1, "0123456789");
        if (strcmp(end, "Z") != 0 && *end)
            continue;
        seconds = *end ? timegm(&tm) : mktime(&tm);
        *ms = (int64_t)seconds * 1000;
        return true;
    }
    return false;
}

const char *when_parse(const char *text, int64_t now_ms, int64_t *ms)
{
    return parse_age(text, now_ms, ms) || parse_time(text, ms) ? NULL : wrong;
}
