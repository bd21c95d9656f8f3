/* Sizes with a suffix; see size.h. */
#include "size.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

/* The number of bits that a suffix shifts by, or -1. */
static int suffix_shift(char suffix)
{
    static const char powers[] = "kmgtpe";
    const char *p;
    char lower = tolower((unsigned char)suffix);

    if (lower == '\0' || lower == 'b')
        return 0;
    if (lower == 's')
        return 9;
    p = strchr(powers, lower);
    return p ? 10 * (int)(p - powers + 1) : -1;
}

const char *size_parse(const char *text, uint64_t *size)
{
    uint64_t value = 0;
    const char *p = text;
    int shift;

    if (*p == '-')
        return "is negative";
    if (*p == '+')
        p++;
    if (!isdigit((unsigned char)*p))
        return "is not a number";
    for (; isdigit((unsigned char)*p); p++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return "is too large";
    }
    shift = suffix_shift(*p);
    if (shift < 0 || (*p && p[1]))
        return "has an unknown suffix (known: b k m g t p e s)";
    if (value > (uint64_t)INT64_MAX >> shift)
        return "is too large";
    *size = value << shift;
    return NULL;
}
