/* The schema of MariaDB; see mariadb.h.
 *
 * DDL commits by itself, so a migration is no transaction: table schema_migrations says how
 * many of its statements are done, and one that was cut off is gone on with at the next.
 * A statement that changes the schema may be done twice; one that changes rows is done once,
 * in a transaction with its record. A row lock keeps others waiting meanwhile. On another
 * node of a Galera cluster it does not, and what was said above is what keeps that right. */
#include <string.h>
#include <strings.h>

#include "store/mariadb.h"

#define LOCK_PATIENCE_MS 600000
#define TABLE_OPTIONS    " ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"

/* What migrating itself needs; `transactions` is described in sql/sqlite/0005-jobs.sql. */
static const char *const bootstrap[] = {
    "CREATE TABLE IF NOT EXISTS transactions (token VARCHAR(64) NOT NULL PRIMARY KEY, "
    "created_at BIGINT NOT NULL)" TABLE_OPTIONS,
    "CREATE TABLE IF NOT EXISTS schema_lock (id BIGINT NOT NULL PRIMARY KEY)" TABLE_OPTIONS,
    "CREATE TABLE IF NOT EXISTS schema_migrations (number BIGINT NOT NULL PRIMARY KEY, "
    "name VARCHAR(255) NOT NULL, statements_done BIGINT NOT NULL, completed_at "
    "BIGINT)" TABLE_OPTIONS,
    "INSERT IGNORE INTO schema_lock (id) VALUES (1)",
};

static void read_number(struct statement *s, void *number)
{
    *(int64_t *)number = take_int(s);
}

static int has_schema(struct store *store, bool *has, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() "
                         "AND TABLE_NAME = 'schema_migrations'");
    int64_t one;

    return read_first(&s, read_number, &one, has, err);
}

static void read_schema(struct statement *s, void *record)
{
    struct store_schema *schema = record;

    schema->version = (int)take_int(s);
    take_text(s, schema->name, sizeof schema->name);
}

/* One of a newer program counts as soon as it has begun. */
int mariadb_schema(struct store *store, struct store_schema *schema, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT number, name FROM schema_migrations WHERE completed_at IS NOT "
                         "NULL OR number > ? ORDER BY number DESC LIMIT 1");
    bool found;

    schema->version = 0;
    if (has_schema(store, &found, err) < 0)
        return -1;
    bind_int(&s, schema->newest);
    return found ? read_first(&s, read_schema, schema, &found, err) : 0;
}

static int run_schema_change(struct store *store, void *sql, struct error **err)
{
    if (mariadb_attach(store, err) < 0)
        return -1;
    return store->driver->execute(store, sql, err);
}

struct progress {
    const struct migration *migration;
    int64_t done;
};

static int add_migration(struct store *store, const struct migration *m, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "INSERT INTO schema_migrations (number, name, statements_done) VALUES (?, ?, 0)");

    bind_int(&s, m->number);
    bind_text(&s, m->name);
    return run(&s, err);
}

static int read_progress(struct store *store, void *opaque, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT statements_done FROM schema_migrations WHERE number = ?");
    struct progress *p = opaque;
    bool found;

    p->done = 0;
    bind_int(&s, p->migration->number);
    if (read_first(&s, read_number, &p->done, &found, err) < 0)
        return -1;
    return found ? 0 : add_migration(store, p->migration, err);
}

static int record_statement(struct store *store, const struct progress *p, int64_t *count,
                            struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE schema_migrations SET statements_done = ? WHERE number = ? AND "
                         "statements_done = ?");

    bind_int(&s, p->done + 1);
    bind_int(&s, p->migration->number);
    bind_int(&s, p->done);
    return run_count(&s, count, err);
}

static bool changes_rows(const char *sql)
{
    return strncasecmp(sql, "UPDATE", 6) == 0 || strncasecmp(sql, "INSERT", 6) == 0 ||
           strncasecmp(sql, "DELETE", 6) == 0;
}

/* With the statement itself, if that changes rows and no other process was first. */
static int finish_statement(struct store *store, void *opaque, struct error **err)
{
    struct progress *p = opaque;
    const char *sql = p->migration->statements[p->done];
    CLEANUP_STATEMENT struct statement s = statement(store, sql);
    int64_t count;

    if (record_statement(store, p, &count, err) < 0)
        return -1;
    return count && changes_rows(sql) ? run(&s, err) : 0;
}

static int complete(struct store *store, const struct migration *m, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE schema_migrations SET completed_at = ? WHERE number = ?");

    bind_int(&s, store_now_ms());
    bind_int(&s, m->number);
    return run(&s, err);
}

static int apply(struct store *store, const struct migration *m, struct error **err)
{
    struct progress p = { .migration = m };

    if (store_transaction(store, read_progress, &p, err) < 0)
        return -1;
    for (; m->statements[p.done]; p.done++) {
        const char *sql = m->statements[p.done];

        if ((!changes_rows(sql) && store_retry(store, run_schema_change, (void *)sql, err) < 0) ||
            store_transaction(store, finish_statement, &p, err) < 0)
            return error_prefix(err, "migration %s, statement %d", m->name, (int)p.done + 1);
    }
    return complete(store, m, err);
}

static int apply_missing(struct store *store, int *from, struct error **err)
{
    struct store_schema schema = { 0 };

    if (store_schema(store, &schema, err) < 0)
        return -1;
    *from = schema.version;
    for (const struct migration *m = mariadb_migrations; m->number; m++) {
        if (m->number > schema.version && apply(store, m, err) < 0)
            return -1;
    }
    return 0;
}

/* Held by a connection of its own, for DDL ends the transaction that it is in. */
static int take_lock(struct store *store, void *opaque, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT id FROM schema_lock WHERE id = 1 FOR UPDATE");
    int64_t id;
    bool found;

    (void)opaque;
    store_rollback(store);
    return store_begin(store, err) < 0 ? -1 : read_first(&s, read_number, &id, &found, err);
}

static int lock(struct store *locker, struct error **err)
{
    store_set_patience(locker, LOCK_PATIENCE_MS);
    if (store_retry(locker, take_lock, NULL, err) < 0)
        return error_prefix(err, "waiting for another vmferry that brings the schema up to date");
    return 0;
}

int mariadb_migrate(struct store *store, int *from, struct error **err)
{
    CLEANUP_STORE struct store *locker = NULL;
    struct mariadb *db = store->connection;
    int r;

    for (size_t i = 0; i < sizeof bootstrap / sizeof bootstrap[0]; i++) {
        if (store_retry(store, run_schema_change, (void *)bootstrap[i], err) < 0)
            return -1;
    }
    if (store_again(store, &locker, err) < 0 || lock(locker, err) < 0)
        return -1;
    mariadb_detach(store); /* what it does now may take long */
    db->slow = true;
    r = apply_missing(store, from, err);
    db->slow = false;
    mariadb_detach(store);
    return r;
}
