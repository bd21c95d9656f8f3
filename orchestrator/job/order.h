/* In which order VMs are replicated when there are many: fair to each and to their sources. What
 * comes in: of each VM its source and when it was replicated last. What goes out: an order. */
#ifndef VMFERRY_JOB_ORDER_H
#define VMFERRY_JOB_ORDER_H

#include <stddef.h>
#include <stdint.h>

struct order_item {
    int64_t source;
    int64_t last_ms; /* of its newest restore point; 0: it has none */
};

/* The one that waits for longest first (of equals, as they came), but one of each source in turn:
 * a source with a hundred VMs does not keep another one's only VM waiting. `order` gets the
 * numbers of the items. -1 only without memory. */
int order_fair(const struct order_item *items, size_t count, size_t *order);

#endif
