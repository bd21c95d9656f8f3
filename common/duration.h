/* Durations as people write them: a whole number and one of s, m, h, d; without a letter,
 * seconds. */
#ifndef VMFERRY_DURATION_H
#define VMFERRY_DURATION_H

#include <stdint.h>

/* Returns NULL and sets *seconds (at most INT32_MAX), or says what is wrong in words that fit
 * after the offending text: "is no duration such as 90s, 30m, 2h". */
const char *duration_parse(const char *text, uint32_t *seconds);

#endif
