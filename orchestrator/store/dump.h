/* All that a store holds, as JSON lines, out and in: the way from one database to another.
 *
 *     {"vmferry_dump":1,"schema":7,"name":"0007-audit"}
 *     {"table":"sources","row":{"id":1,"kind":"nbd",…}}      tables and columns by a fixed order
 *     {"end":true,"rows":1234}
 *
 * The same content is the same bytes, whichever database it comes from. */
#ifndef VMFERRY_STORE_DUMP_H
#define VMFERRY_STORE_DUMP_H

#include <stdio.h>

#include "store/store.h"

/* One moment of it; others may go on writing meanwhile. */
int store_dump(struct store *store, FILE *out, struct error **err);

/* Into a store that holds nothing, all or nothing; ids stay. The dump's schema must be the
 * store's. `what` names the stream in errors. */
int store_restore(struct store *store, FILE *in, const char *what, uint64_t *rows,
                  struct error **err);

struct store_size {
    char table[64];
    int64_t rows;
};

int store_sizes(struct store *store, struct store_size **sizes, size_t *count, struct error **err);

#endif
