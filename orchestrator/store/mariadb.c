/* MariaDB behind the store, for many hosts that share it; see driver.h. */
#include <mysqld_error.h>
#include <string.h>

#include "store/mariadb.h"

/* mysqld_error.h has those of the server's first years; the library's are in errmsg.h. */
#define ERROR_LIBRARY_FIRST    2000
#define ERROR_LIBRARY_LAST     2999
#define ERROR_AUTH_PLUGIN      2059
#define ERROR_OUT_OF_MEMORY    2008
#define ERROR_COMMANDS_MIXED   2014
#define ERROR_KILLED           1927
#define ERROR_CHECK_CONSTRAINT 4025
#define ERROR_RECORD_CHANGED   1020

enum store_failure mariadb_failure(unsigned code, const char *message)
{
    switch (code) {
    case ER_LOCK_DEADLOCK: /* also: another node of a Galera cluster was first */
    case ER_LOCK_WAIT_TIMEOUT:
    case ERROR_RECORD_CHANGED:
    case ER_NEED_REPREPARE:
    case ER_TABLE_DEF_CHANGED:
    case ER_QUERY_INTERRUPTED:
        return STORE_BUSY;
    case ER_SERVER_SHUTDOWN:
    case ER_UNKNOWN_COM_ERROR: /* a Galera node that is not a part of its cluster now */
    case ER_CON_COUNT_ERROR:
    case ER_OPTION_PREVENTS_STATEMENT: /* read only: no more the one to write to */
    case ER_NET_READ_ERROR:
    case ER_NET_READ_INTERRUPTED:
    case ER_NET_ERROR_ON_WRITE:
    case ER_NET_WRITE_INTERRUPTED:
    case ERROR_KILLED:
        return STORE_LOST;
    case ER_SUBQUERY_NO_1_ROW: /* an upsert of another row than it meant, see upsert.c */
    case ER_DUP_ENTRY:
    case ER_DUP_ENTRY_WITH_KEY_NAME:
        return STORE_UNIQUE;
    case ER_BAD_NULL_ERROR:
    case ER_NO_REFERENCED_ROW:
    case ER_NO_REFERENCED_ROW_2:
    case ER_ROW_IS_REFERENCED:
    case ER_ROW_IS_REFERENCED_2:
    case ERROR_CHECK_CONSTRAINT:
        return STORE_CONSTRAINT;
    case ERROR_AUTH_PLUGIN:
    case ERROR_OUT_OF_MEMORY:
    case ERROR_COMMANDS_MIXED:
        return STORE_OTHER;
    default:
        break;
    }
    if ((code >= ERROR_LIBRARY_FIRST && code <= ERROR_LIBRARY_LAST) || strstr(message, "WSREP"))
        return STORE_LOST;
    return STORE_OTHER;
}

int mariadb_fail(struct store *store, unsigned code, const char *message, struct error **err)
{
    store->failure = mariadb_failure(code, message);
    return error_set(err, "%s: %s", store->path,
                     code == ER_SUBQUERY_NO_1_ROW ? "another row has this name or key" : message);
}

static int execute(struct store *store, const char *sql, struct error **err)
{
    MYSQL *mysql = ((struct mariadb *)store->connection)->mysql;

    if (mysql_real_query(mysql, sql, strlen(sql)) == 0)
        return 0;
    return mariadb_fail(store, mysql_errno(mysql), mysql_error(mysql), err);
}

static void read_clock(struct statement *s, void *ms)
{
    *(int64_t *)ms = take_int(s);
}

static int64_t clock_ms(struct store *store, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)");
    int64_t ms = 0;
    bool found;

    return read_first(&s, read_clock, &ms, &found, err) < 0 ? -1 : ms;
}

/* What messages call it: the URI, which has no password in it (uri.c sees to that). */
static int open_place(struct store *store, struct error **err)
{
    struct mariadb *db = calloc(1, sizeof *db);

    store->connection = db;
    store->path = strdup(store->place.database);
    if (!db || !store->path)
        return error_set_errno(err, ENOMEM, "opening the store");
    return uri_parse(store->place.database, &db->uri, err);
}

/* Nobody will ask any more what became of its last transaction. */
static void forget_token(struct store *store)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    char sql[128];

    snprintf(sql, sizeof sql, "DELETE FROM transactions WHERE token = '%s'", store->token);
    if (store->token[0])
        execute(store, sql, &ignored);
}

static void close_place(struct store *store)
{
    struct mariadb *db = store->connection;

    if (db && db->mysql)
        forget_token(store);
    if (db)
        mariadb_detach(store);
    free(db);
    store->connection = NULL;
}

const struct driver mariadb_driver = {
    .name = "mariadb",
    .migrations = mariadb_migrations,
    .needs_token = true,
    .begin = "START TRANSACTION",
    .begin_reading = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    .list_tables = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = "
                   "DATABASE() AND TABLE_TYPE = 'BASE TABLE'",
    .list_columns = "SELECT c.COLUMN_NAME, ifnull(s.SEQ_IN_INDEX, 0) FROM "
                    "information_schema.COLUMNS c LEFT JOIN information_schema.STATISTICS s ON "
                    "s.TABLE_SCHEMA = c.TABLE_SCHEMA AND s.TABLE_NAME = c.TABLE_NAME AND "
                    "s.COLUMN_NAME = c.COLUMN_NAME AND s.INDEX_NAME = 'PRIMARY' WHERE "
                    "c.TABLE_SCHEMA = DATABASE() AND c.TABLE_NAME = ? AND "
                    "c.IS_GENERATED = 'NEVER'",
    .list_references = "SELECT COLUMN_NAME, REFERENCED_TABLE_NAME FROM "
                       "information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = DATABASE() AND "
                       "TABLE_NAME = ? AND REFERENCED_TABLE_NAME IS NOT NULL",
    .open = open_place,
    .close = close_place,
    .connect = mariadb_attach,
    .disconnect = mariadb_detach,
    .execute = execute,
    .start = mariadb_start,
    .step = mariadb_step,
    .end = mariadb_end,
    .column = mariadb_column,
    .column_name = mariadb_column_name,
    .columns = mariadb_columns,
    .clock_ms = clock_ms,
    .describe = mariadb_describe,
    .schema = mariadb_schema,
    .migrate = mariadb_migrate,
};
