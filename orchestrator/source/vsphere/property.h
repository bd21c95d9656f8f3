/* A page of RetrievePropertiesEx's, as it is read; the calls are in session.h. */
#ifndef VMFERRY_VSPHERE_PROPERTY_H
#define VMFERRY_VSPHERE_PROPERTY_H

#include "source/vsphere/session.h"

/* Objects that were handed out already, by id. */
struct seen {
    void *tree;
    size_t count;
};
void seen_free(struct seen *seen);
#define CLEANUP_SEEN CLEANUP(seen_free)

/* A session that has ended shows as properties that are missing, with HTTP 200. */
bool page_is_lost(const xmlNode *returnval);
/* Hand out every property of every object that was not seen before. */
int page_hand_out(const xmlNode *returnval, struct seen *seen, property_fn *got, void *opaque,
                  struct error **err);

#endif
