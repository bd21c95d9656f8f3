/* Sizes as nbdkit writes them: a decimal number and at most one suffix letter,
 * in either case: b (bytes), k, m, g, t, p, e (powers of 1024), s (sectors of 512).
 * Nothing else: no "KB", no fractions, no hexadecimal. */
#ifndef VMFERRY_SIZE_H
#define VMFERRY_SIZE_H

#include <stdint.h>

/* Returns NULL and sets *size (bytes, at most INT64_MAX), or says what is wrong
 * in words that fit after the offending text: "is negative". */
const char *size_parse(const char *text, uint64_t *size);

#endif
