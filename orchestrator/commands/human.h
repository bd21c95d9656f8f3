/* Numbers for people. Thread-safe; each writes into the caller's buffer and
 * returns it, so that it can stand in a printf. */
#ifndef VMFERRY_HUMAN_H
#define VMFERRY_HUMAN_H

#include <stdint.h>

#define HUMAN_MAX 24

/* "0 B", "512 B", "1.50 KiB", "64.0 MiB", "931 GiB": three digits, powers of 1024. */
const char *human_bytes(char buf[HUMAN_MAX], uint64_t bytes);
/* "0:07", "12:34", "3:25:45", "12d 4h"; "?" when negative. */
const char *human_seconds(char buf[HUMAN_MAX], int64_t seconds);

#endif
