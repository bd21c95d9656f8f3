/* A moment as people say it. */
#ifndef VMFERRY_WHEN_H
#define VMFERRY_WHEN_H

#include <stdint.h>

/* A time ("2026-11-21", "2026-11-21 18:30", with seconds or not; local, or UTC with a "Z" at
 * the end and "T" between), or how long ago ("90s", "30m", "24h", "7d", "2w"), seen from now_ms.
 * Returns NULL, or what is wrong: "is neither …". */
const char *when_parse(const char *text, int64_t now_ms, int64_t *ms);

#endif
