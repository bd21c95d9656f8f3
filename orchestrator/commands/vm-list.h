/* `vmferry vm list`. What comes in: the store, or a source asked now. What goes out: a table
 * or JSON. Nothing is written down. */
#ifndef VMFERRY_VM_LIST_H
#define VMFERRY_VM_LIST_H

#include "commands/context.h"
#include "source/source.h"

/* What the store knows of a VM's replica. */
struct vm_summary {
    size_t disks;
    uint64_t capacity;
    unsigned points;
    int64_t newest_ms;     /* 0: no point */
    char pool[STORE_NAME]; /* where the replica lies; "": there is none yet */
};
int vm_summarize(struct store *store, int64_t vm_id, struct vm_summary *summary,
                 struct error **err);

/* source NULL: those that are written down. */
int vm_list(struct context *context, const char *source, const struct source_filter *filter,
            bool json, struct error **err);

#endif
