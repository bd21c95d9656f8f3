/* A source of the store, opened. What comes in: its row. What goes out: a session, and
 * errors that name the source. */
#ifndef VMFERRY_JOB_CONNECT_H
#define VMFERRY_JOB_CONNECT_H

#include "source/source.h"
#include "store/store.h"

/* settings' cancel, say, task and opaque are the caller's to set before; the rest comes
 * from the row. It may not be moved while it is open. */
struct connection {
    struct store_source row;
    struct source_settings settings;
    struct source *source; /* NULL: not open */
};

int connection_open(struct store *store, int64_t source_id, const char *state_dir,
                    struct connection *connection, struct error **err);
/* Nothing to do on one that was never opened. */
void connection_close(struct connection *connection);
#define CLEANUP_CONNECTION CLEANUP(connection_close)

#endif
