/* Where VMs come from. A kind of source reads its inventory and describes VMs; what
 * comes in is a location (of the nbd kind: a description file or a directory of
 * them), what goes out are VM specs as they are at this moment. A source never
 * touches the store or a replica. */
#ifndef VMFERRY_SOURCE_H
#define VMFERRY_SOURCE_H

#include "source/spec.h"

struct spec_list {
    struct vm_spec *specs;
    size_t count;
};

void spec_list_free(struct spec_list *list);
#define CLEANUP_SPECS CLEANUP(spec_list_free)

struct source_kind {
    const char *name;
    /* Every VM; an error when any of them can't be read. */
    int (*list)(const char *location, struct spec_list *list, struct error **err);
    /* One VM by its uuid, which must be there exactly once. */
    int (*find)(const char *location, const char *uuid, struct vm_spec *spec, struct error **err);
};

extern const struct source_kind source_nbd;

/* ERROR_USAGE for a kind that does not exist. */
int source_kind_find(const char *name, const struct source_kind **kind, struct error **err);

#endif
