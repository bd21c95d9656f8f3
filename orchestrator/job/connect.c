/* Opening a source of the store; see connect.h. */
#include "job/connect.h"

int connection_open(struct store *store, int64_t source_id, const char *state_dir,
                    struct connection *connection, struct error **err)
{
    struct source_settings *settings = &connection->settings;

    if (store_source_get(store, source_id, &connection->row, err) < 0)
        return -1;
    settings->name = connection->row.name;
    settings->kind = connection->row.kind;
    settings->location = connection->row.location;
    settings->options = connection->row.options;
    settings->state_dir = state_dir;
    return source_open(settings, &connection->source, err);
}

void connection_close(struct connection *connection)
{
    source_close(connection->source);
    connection->source = NULL;
}
