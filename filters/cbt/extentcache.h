/* What a plugin has said of a disk's blocks, as far as it has been asked. What
 * comes in: extents, a stretch of the disk ("window") at a time. What goes out:
 * the type at an offset and how far it reaches. Memory is fixed; the window that
 * has not been of use for longest makes room. It never guesses: what has not been
 * stored is unknown. The disk must not change while it is cached.
 *
 * All amounts are bytes. Thread-safe: a mutex of its own protects the windows, and
 * is held only to look up or to copy. */
#ifndef EXTENTCACHE_H
#define EXTENTCACHE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXTENTCACHE_WINDOWS 8
#define WINDOW_EXTENTS      1024

/* Begins where the one before it ends; the first, at the start of its window. */
struct cached_extent {
    uint64_t end;
    uint32_t type; /* NBDKIT_EXTENT_* */
};

struct window {
    uint64_t start;
    uint64_t used; /* the cache's clock when it was last of use */
    size_t count;  /* of extents; 0: a free window */
    struct cached_extent extents[WINDOW_EXTENTS];
};

struct extentcache {
    pthread_mutex_t lock;
    uint64_t clock; /* counts uses */
    uint64_t span;  /* bytes to ask about next: grows with few extents in an answer, and shrinks */
    struct window windows[EXTENTCACHE_WINDOWS];
};

void extentcache_init(struct extentcache *cache);
void extentcache_destroy(struct extentcache *cache);

/* What is known at `offset`: the type there and where the extent ends. False when
 * nothing is. */
bool extentcache_find(struct extentcache *cache, uint64_t offset, struct cached_extent *found);

/* Remember a window, of which `used` is not looked at. */
void extentcache_store(struct extentcache *cache, const struct window *window);

/* Where to ask, and about how much, to learn about `offset`: a stretch that holds
 * it, begins where what is known ends, and is long where the disk has few extents. */
void extentcache_plan(struct extentcache *cache, uint64_t offset, uint64_t *start, uint64_t *span);

/* Put an extent at the end of a window that is being made; same types join. False
 * when the window is full. `end` must be past the end of the window so far. */
bool window_add(struct window *window, uint64_t end, uint32_t type);

static inline uint64_t window_end(const struct window *window)
{
    return window->count ? window->extents[window->count - 1].end : window->start;
}

#endif
