/* Opening a store: which database, and its schema; see store.h. */
#include <string.h>

#include "store/statement.h"

#define CONNECT_PATIENCE_MS 3000

static const struct driver *choose(const char *database)
{
    return strncmp(database, "mariadb://", 10) == 0 ? &mariadb_driver : &sqlite_driver;
}

static int keep(const char *given, const char **own, struct error **err)
{
    if (!given || (*own = strdup(given)))
        return 0;
    return error_set_errno(err, ENOMEM, "opening the store");
}

static int newest_migration(const struct store *store)
{
    int newest = 0;

    for (const struct migration *m = store->driver->migrations; m->number; m++)
        newest = m->number;
    return newest;
}

int store_schema(struct store *store, struct store_schema *schema, struct error **err)
{
    const char *name;

    *schema = (struct store_schema){ .newest = newest_migration(store) };
    if (store->driver->schema(store, schema, err) < 0)
        return -1;
    name = store_migration_name(store, schema->version);
    if (name)
        snprintf(schema->name, sizeof schema->name, "%s", name);
    return 0;
}

const char *store_migration_name(const struct store *store, int number)
{
    for (const struct migration *m = store->driver->migrations; m->number; m++) {
        if (m->number == number)
            return m->name;
    }
    return NULL;
}

static int refuse_newer(const struct store *store, const struct store_schema *schema,
                        struct error **err)
{
    if (schema->version <= schema->newest)
        return 0;
    return error_set(err,
                     "%s was written by a newer vmferry (schema %d%s%s, this one knows %d): "
                     "use that version, or another %s",
                     store->path, schema->version, schema->name[0] ? ", " : "", schema->name,
                     schema->newest, store->driver == &sqlite_driver ? "--state" : "database");
}

int store_migrate(struct store *store, int *from, struct error **err)
{
    struct store_schema schema;
    int unused;

    if (store_schema(store, &schema, err) < 0 || refuse_newer(store, &schema, err) < 0)
        return -1;
    from = from ? from : &unused;
    *from = schema.version;
    return schema.version < schema.newest ? store->driver->migrate(store, from, err) : 0;
}

int store_check_schema(struct store *store, struct error **err)
{
    struct store_schema schema;

    if (store_schema(store, &schema, err) < 0 || refuse_newer(store, &schema, err) < 0)
        return -1;
    return schema.version == schema.newest
               ? 0
               : error_set(err, "%s has an older schema (%d, not %d): run `vmferry db migrate`",
                           store->path, schema.version, schema.newest);
}

/* A server that is being restarted, or a cluster whose node just went, is waited for. */
static int connect_store(struct store *store, void *opaque, struct error **err)
{
    (void)opaque;
    return store->driver->connect(store, err);
}

int store_connect(const struct store_place *place, struct store **store, struct error **err)
{
    CLEANUP_STORE struct store *s = calloc(1, sizeof *s);

    if (!s)
        return error_set_errno(err, ENOMEM, "opening the store");
    s->driver = choose(place->database);
    if (keep(place->database, &s->place.database, err) < 0 ||
        keep(place->password_file, &s->place.password_file, err) < 0 ||
        keep(place->ca, &s->place.ca, err) < 0 || s->driver->open(s, err) < 0)
        return -1;
    store_set_patience(s, CONNECT_PATIENCE_MS);
    if (store_retry(s, connect_store, NULL, err) < 0)
        return -1;
    store_set_patience(s, 0);
    *store = steal_ptr(s);
    return 0;
}

int store_open_place(const struct store_place *place, struct store **store, struct error **err)
{
    CLEANUP_STORE struct store *s = NULL;

    if (store_connect(place, &s, err) < 0 || store_migrate(s, NULL, err) < 0 ||
        s->driver->connect(s, err) < 0)
        return -1;
    if (s->driver->needs_token)
        store_forget_old_tokens(s);
    *store = steal_ptr(s);
    return 0;
}

int store_open(const char *database, struct store **store, struct error **err)
{
    struct store_place place = { .database = database };

    return store_open_place(&place, store, err);
}

int store_again(const struct store *store, struct store **second, struct error **err)
{
    return store_connect(&store->place, second, err);
}

const char *store_name(const struct store *store)
{
    return store->path;
}

const char *store_backend(const struct store *store)
{
    return store->driver->name;
}

int store_describe(struct store *store, store_tell tell, void *opaque, struct error **err)
{
    return store->driver->describe(store, tell, opaque, err);
}

int store_clock_ms(struct store *store, int64_t *ms, struct error **err)
{
    *ms = store->driver->clock_ms(store, err);
    return *ms < 0 ? -1 : 0;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    store_rollback(store);
    store->driver->close(store);
    free((char *)store->place.database);
    free((char *)store->place.password_file);
    free((char *)store->place.ca);
    free(store->path);
    free(store);
}
