/* How much is in flight. What comes in: how long each piece took from its read to
 * its last write. What goes out: how many bytes one lane may have in flight. On a
 * machine or a LAN few requests are best, as their buffers stay in the CPU's cache;
 * on a long link as many are needed as the link holds (bandwidth x round-trip
 * time). The window grows while pieces take hardly longer than the fastest did,
 * which means that nobody queues them, and shrinks when they take twice as long.
 * It never leaves [floor, cap]. Not thread-safe: one for each lane. */
#ifndef VMFERRY_COPY_WINDOW_H
#define VMFERRY_COPY_WINDOW_H

#include <stdint.h>

struct window {
    uint64_t limit; /* bytes that may be in flight now */
    uint64_t floor;
    uint64_t cap;
    int64_t fastest_ns; /* of any piece; 0: none yet */
    int64_t sum_ns;     /* of this round */
    unsigned pieces;    /* of this round */
    uint64_t bytes;     /* of this round */
};

#define WINDOW_ROUND 2 /* a round is one window, but at least so many smallest ones */

static inline void window_init(struct window *window, uint64_t floor, uint64_t cap)
{
    *window = (struct window){ .limit = floor, .floor = floor, .cap = cap > floor ? cap : floor };
}

/* Start anew on another connection: another way may be longer. */
static inline void window_forget(struct window *window)
{
    window_init(window, window->floor, window->cap);
}

static inline void window_sample(struct window *window, uint64_t bytes, int64_t took_ns)
{
    int64_t mean_ns;

    if (window->fastest_ns == 0 || took_ns < window->fastest_ns)
        window->fastest_ns = took_ns > 0 ? took_ns : 1;
    window->sum_ns += took_ns;
    window->pieces++;
    window->bytes += bytes;
    if (window->bytes < window->limit || window->bytes < WINDOW_ROUND * window->floor)
        return;
    mean_ns = window->sum_ns / window->pieces;
    if (mean_ns < window->fastest_ns + window->fastest_ns / 4)
        window->limit *= 2;
    else if (mean_ns > 2 * window->fastest_ns)
        window->limit -= window->limit / 8;
    if (window->limit < window->floor)
        window->limit = window->floor;
    if (window->limit > window->cap)
        window->limit = window->cap;
    window->sum_ns = 0;
    window->pieces = 0;
    window->bytes = 0;
}

#endif
