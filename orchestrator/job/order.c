/* A fair order; see order.h. */
#include "job/order.h"

#include <stdbool.h>
#include <stdlib.h>

#include "cleanup.h"

struct place {
    const struct order_item *item;
    size_t index;
    size_t turn; /* how many of its source come before it */
};

static int by_due(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->item->last_ms != y->item->last_ms)
        return x->item->last_ms < y->item->last_ms ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_turn(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->turn != y->turn)
        return x->turn < y->turn ? -1 : 1;
    return by_due(a, b);
}

/* `places` in the order of by_due(). */
static void count_turns(struct place *places, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t before = i; before-- > 0;) {
            if (places[before].item->source == places[i].item->source) {
                places[i].turn = places[before].turn + 1;
                break;
            }
        }
    }
}

int order_fair(const struct order_item *items, size_t count, size_t *order)
{
    CLEANUP_FREE struct place *places = calloc(count ? count : 1, sizeof *places);

    if (!places)
        return -1;
    for (size_t i = 0; i < count; i++)
        places[i] = (struct place){ .item = &items[i], .index = i };
    qsort(places, count, sizeof *places, by_due);
    count_turns(places, count);
    qsort(places, count, sizeof *places, by_turn);
    for (size_t i = 0; i < count; i++)
        order[i] = places[i].index;
    return 0;
}
