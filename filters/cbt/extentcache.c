/* The bounded extent cache; see extentcache.h. */
#include "extentcache.h"

#include <string.h>

#include "cleanup.h"

/* How much of the disk one question is about: enough that few are needed, little
 * enough that the plugin is not kept busy with extents nobody wants. */
#define SPAN_FIRST  (UINT64_C(4) << 20)
#define SPAN_MIN    (UINT64_C(1) << 20)
#define SPAN_MAX    (UINT64_C(1) << 30)
#define FEW_EXTENTS 64

void extentcache_init(struct extentcache *cache)
{
    memset(cache, 0, sizeof *cache);
    cache->span = SPAN_FIRST;
    pthread_mutex_init(&cache->lock, NULL);
}

void extentcache_destroy(struct extentcache *cache)
{
    pthread_mutex_destroy(&cache->lock);
}

static bool window_contains(const struct window *window, uint64_t offset)
{
    return window->start <= offset && offset < window_end(window);
}

/* The first extent that ends after `offset`, which is inside the window. */
static const struct cached_extent *window_find(const struct window *window, uint64_t offset)
{
    size_t low = 0;
    size_t high = window->count - 1;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (window->extents[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return &window->extents[low];
}

bool extentcache_find(struct extentcache *cache, uint64_t offset, struct cached_extent *found)
{
    LOCK_SCOPE(&cache->lock);

    for (size_t i = 0; i < EXTENTCACHE_WINDOWS; i++) {
        struct window *window = &cache->windows[i];

        if (window_contains(window, offset)) {
            window->used = ++cache->clock;
            *found = *window_find(window, offset);
            return true;
        }
    }
    return false;
}

void extentcache_store(struct extentcache *cache, const struct window *window)
{
    LOCK_SCOPE(&cache->lock);
    struct window *oldest = &cache->windows[0];

    for (size_t i = 1; i < EXTENTCACHE_WINDOWS; i++) {
        if (cache->windows[i].used < oldest->used)
            oldest = &cache->windows[i];
    }
    oldest->start = window->start;
    oldest->count = window->count;
    oldest->used = ++cache->clock;
    memcpy(oldest->extents, window->extents, window->count * sizeof window->extents[0]);

    if (window->count <= FEW_EXTENTS && cache->span < SPAN_MAX)
        cache->span *= 2;
    else if (window->count == WINDOW_EXTENTS && cache->span > SPAN_MIN)
        cache->span /= 2;
}

void extentcache_plan(struct extentcache *cache, uint64_t offset, uint64_t *start, uint64_t *span)
{
    LOCK_SCOPE(&cache->lock);

    *start = offset - offset % cache->span;
    *span = cache->span;
    for (size_t i = 0; i < EXTENTCACHE_WINDOWS; i++) {
        uint64_t end = window_end(&cache->windows[i]);

        if (end > *start && end <= offset)
            *start = end;
    }
}

bool window_add(struct window *window, uint64_t end, uint32_t type)
{
    struct cached_extent *last = &window->extents[window->count];

    if (window->count && last[-1].type == type) {
        last[-1].end = end;
        return true;
    }
    if (window->count == WINDOW_EXTENTS)
        return false;
    *last = (struct cached_extent){ .end = end, .type = type };
    window->count++;
    return true;
}
