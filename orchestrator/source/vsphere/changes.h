/* What changed on one disk since a change id: QueryChangedDiskAreas, page by page. What
 * comes in: a snapshot, the disk's key, ITS change id. What goes out: a change map in text
 * form. A server's areas are checked, never believed; in memory is one page. */
#ifndef VMFERRY_VSPHERE_CHANGES_H
#define VMFERRY_VSPHERE_CHANGES_H

#include <stdio.h>

#include "source/vsphere/session.h"

#define CHANGES_WHY 512

struct changes_query {
    struct moref vm, snapshot;
    const char *vm_name; /* for messages */
    int key;
    uint64_t capacity; /* of the disk in the snapshot */
    const char *since; /* a change id of this disk; "*": the areas in use */
    const char *now;   /* the disk's change id in the snapshot; "": tracking is off */
};

struct changes_result {
    uint64_t areas, bytes, pages;
};

/* Write the map to `path`, which appears whole or not at all. 0: done. 1: it can't be told,
 * `why` says it, and the whole disk has to be looked at; with "*" that is the only way to
 * fail but a lost connection. -1: an error that a later run may not have, or a server whose
 * answers contradict each other. */
int changes_fetch(struct session *session, const struct changes_query *query, const char *path,
                  struct changes_result *result, char why[CHANGES_WHY], struct error **err);

/* Whether `since` can be a moment in the life of the disk whose change id is `now`; else
 * `why` says what happened. */
bool changes_same_life(const char *since, const char *now, char why[CHANGES_WHY]);

/* One answer. `offset` is what was asked for; it moves to where the answer ends. */
struct changes_cursor {
    uint64_t capacity;
    uint64_t offset;
    uint64_t end;   /* of the last area */
    unsigned small; /* answers that were suspiciously short */
    FILE *out;
    struct changes_result result;
};
int changes_page(const xmlNode *returnval, struct changes_cursor *cursor, struct error **err);

#endif
