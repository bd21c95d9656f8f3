/* Parsing durations; see duration.h. */
#include "duration.h"

#include <string.h>

static const char wrong[] = "is no duration such as 90s, 30m, 2h, 1d";

const char *duration_parse(const char *text, uint32_t *seconds)
{
    static const struct {
        char letter;
        uint32_t seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
    size_t digits = strspn(text, "0123456789");
    uint64_t number = 0, unit = text[digits] ? 0 : 1;

    if (digits == 0 || digits > 10 || (text[digits] && text[digits + 1]))
        return wrong;
    for (size_t i = 0; i < digits; i++)
        number = number * 10 + (uint64_t)(text[i] - '0');
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (text[digits] && text[digits] == units[i].letter)
            unit = units[i].seconds;
    }
    if (!unit)
        return wrong;
    if (number * unit > INT32_MAX)
        return "is too long";
    *seconds = (uint32_t)(number * unit);
    return NULL;
}
