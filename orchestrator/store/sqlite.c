/* SQLite behind the store: the default, a file in the state directory; see driver.h. */
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "store/statement.h"

#define BUSY_TIMEOUT_MS 1000 /* then the transaction is tried again, as long as patience lasts */
#define WAL_TIMEOUT_MS  10000
#define WAL_RETRY_MS    10

/* SQLite tries other ways then, and says little. */
static bool is_read_only(const char *path)
{
    struct statvfs vfs;

    return statvfs(path, &vfs) == 0 && (vfs.f_flag & ST_RDONLY);
}

static const char *hint(const struct store *store)
{
    int code = store->connection ? sqlite3_errcode(store->connection) : SQLITE_OK;
    int errnum = store->connection ? sqlite3_system_errno(store->connection) : 0;

    if (code == SQLITE_FULL ||
        ((code & 0xff) == SQLITE_IOERR && (errnum == ENOSPC || errnum == EDQUOT)))
        return "; the disk is full: make room, and run the command again";
    if ((code & 0xff) == SQLITE_READONLY || errnum == EROFS || is_read_only(store->path))
        return "; Read-only file system: make it writable, and run the command again";
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB
               ? "; restore it from a backup, or use another --state"
               : "";
}

static enum store_failure failure(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return STORE_BUSY;
    case SQLITE_CONSTRAINT:
        return code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY
                   ? STORE_UNIQUE
                   : STORE_CONSTRAINT;
    default:
        return STORE_OTHER;
    }
}

static int fail(struct store *store, struct error **err)
{
    sqlite3 *db = store->connection;

    store->failure = failure(sqlite3_extended_errcode(db));
    /* A full disk, for one, undoes all of the transaction. */
    if (store->in_transaction && sqlite3_get_autocommit(db))
        store->doomed = true;
    return error_set(err, "%s: %s%s", store->path, sqlite3_errmsg(db), hint(store));
}

static int execute(struct store *store, const char *sql, struct error **err)
{
    if (strcmp(sql, "ROLLBACK") == 0 && sqlite3_get_autocommit(store->connection))
        return 0; /* SQLite has done so itself */
    if (sqlite3_exec(store->connection, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return fail(store, err);
}

static int start(struct statement *s, struct error **err)
{
    sqlite3_stmt *stmt = s->rows;

    if (stmt)
        sqlite3_reset(stmt);
    else if (sqlite3_prepare_v2(s->store->connection, s->sql, -1, &stmt, NULL) != SQLITE_OK)
        return fail(s->store, err);
    s->rows = stmt;
    if (sqlite3_bind_parameter_count(stmt) != s->count) {
        s->store->failure = STORE_OTHER;
        return error_set(err, "%s: %d values for %d parameters: %s", s->store->path, s->count,
                         sqlite3_bind_parameter_count(stmt), s->sql);
    }
    for (int i = 0; i < s->count; i++) {
        const struct value *value = &s->values[i];
        int r = SQLITE_OK;

        switch (value->kind) {
        case VALUE_NULL:
            r = sqlite3_bind_null(stmt, i + 1);
            break;
        case VALUE_INT:
            r = sqlite3_bind_int64(stmt, i + 1, value->number);
            break;
        case VALUE_DOUBLE:
            r = sqlite3_bind_double(stmt, i + 1, value->real);
            break;
        case VALUE_TEXT:
            r = sqlite3_bind_text(stmt, i + 1, value->text, -1, SQLITE_STATIC);
            break;
        }
        if (r != SQLITE_OK)
            return fail(s->store, err);
    }
    return 0;
}

static int step(struct statement *s, struct error **err)
{
    switch (sqlite3_step(s->rows)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        s->changes = sqlite3_changes(s->store->connection);
        s->insert_id = sqlite3_last_insert_rowid(s->store->connection);
        return 0;
    default:
        return fail(s->store, err);
    }
}

static void end(struct statement *s)
{
    sqlite3_finalize(s->rows);
    s->rows = NULL;
}

static struct value column(const struct statement *s, int column)
{
    sqlite3_stmt *stmt = s->rows;

    switch (sqlite3_column_type(stmt, column)) {
    case SQLITE_INTEGER:
        return (struct value){ .kind = VALUE_INT, .number = sqlite3_column_int64(stmt, column) };
    case SQLITE_FLOAT:
        return (struct value){ .kind = VALUE_DOUBLE, .real = sqlite3_column_double(stmt, column) };
    case SQLITE_TEXT:
    case SQLITE_BLOB:
        return (struct value){ .kind = VALUE_TEXT,
                               .text = (const char *)sqlite3_column_text(stmt, column) };
    default:
        return (struct value){ .kind = VALUE_NULL };
    }
}

static const char *column_name(const struct statement *s, int column)
{
    return sqlite3_column_name(s->rows, column);
}

static int columns(const struct statement *s)
{
    return sqlite3_column_count(s->rows);
}

static int64_t clock_ms(struct store *store, struct error **err)
{
    (void)store, (void)err;
    return store_now_ms(); /* everybody who has the file open is on this host */
}

/* Changing to WAL needs the database for itself, and SQLite does not wait for that:
 * where several processes open a new one at once, all but one have to try again. */
static int set_wal(struct store *store, struct error **err)
{
    for (int waited_ms = 0;; waited_ms += WAL_RETRY_MS) {
        int r = sqlite3_exec(store->connection, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);

        if (r == SQLITE_OK)
            return 0;
        if ((r != SQLITE_BUSY && r != SQLITE_LOCKED) || waited_ms >= WAL_TIMEOUT_MS)
            return fail(store, err);
        sqlite3_sleep(WAL_RETRY_MS);
    }
}

/* Only its owner reads the database: it holds leases and the shape of every VM. One that is
 * there is not opened here: closing it would drop the locks that this process's other handles
 * have on it (POSIX locks belong to the process), and another process, which then believes to be
 * the last one, removes the write-ahead log under us. */
static int create_private(const char *path, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "opening %s", path);
    return 0;
}

static int open_place(struct store *store, struct error **err)
{
    const char *path = store->place.database;

    if (strncmp(path, "sqlite://", 9) == 0)
        path += 9;
    store->path = strdup(path);
    return store->path ? 0 : error_set_errno(err, ENOMEM, "opening %s", path);
}

static void disconnect(struct store *store)
{
    sqlite3_close(store->connection);
    store->connection = NULL;
}

static int connect_file(struct store *store, struct error **err)
{
    sqlite3 *db = NULL;
    int r;

    if (store->connection)
        return 0;
    store->failure = STORE_OTHER;
    if (create_private(store->path, err) < 0)
        return -1;
    r = sqlite3_open_v2(store->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL);
    store->connection = db;
    if (r == SQLITE_OK)
        sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
    if (r != SQLITE_OK)
        fail(store, err);
    else if (set_wal(store, err) == 0 &&
             execute(store, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;", err) == 0)
        return 0;
    disconnect(store);
    return -1;
}

static int describe(struct store *store, store_tell tell, void *opaque, struct error **err)
{
    (void)store, (void)err;
    tell(opaque, "library", sqlite3_libversion());
    return 0;
}

static void read_version(struct statement *s, void *schema)
{
    ((struct store_schema *)schema)->version = (int)take_int(s);
}

static int schema(struct store *store, struct store_schema *schema, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, "PRAGMA user_version");
    bool found;

    return read_first(&s, read_version, schema, &found, err);
}

static int apply(struct store *store, const struct migration *m, struct error **err)
{
    char pragma[64];

    snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d", m->number);
    for (size_t i = 0; m->statements[i]; i++) {
        if (execute(store, m->statements[i], err) < 0)
            return error_prefix(err, "migration %s", m->name);
    }
    return execute(store, pragma, err);
}

static void read_table(struct statement *s, void *name)
{
    take_text(s, name, STORE_NAME);
}

static int check_references(struct store *store, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, "PRAGMA foreign_key_check");
    char table[STORE_NAME];
    bool found;

    if (read_first(&s, read_table, table, &found, err) < 0)
        return -1;
    return !found ? 0
                  : error_set(err,
                              "%s: table %s refers to rows that are not there; nothing was "
                              "changed",
                              store->path, table);
}

/* Another process that migrated meanwhile leaves nothing to do. */
static int apply_missing(struct store *store, void *opaque, struct error **err)
{
    struct store_schema now = { 0 };

    if (schema(store, &now, err) < 0)
        return -1;
    *(int *)opaque = now.version;
    for (const struct migration *m = sqlite_migrations; m->number; m++) {
        if (m->number > now.version && apply(store, m, err) < 0)
            return -1;
    }
    return check_references(store, err);
}

/* All of it in one transaction. A migration may make a table anew that others refer to. */
static int migrate(struct store *store, int *from, struct error **err)
{
    int r;

    if (execute(store, "PRAGMA foreign_keys = OFF", err) < 0)
        return -1;
    r = store_transaction(store, apply_missing, from, err);
    disconnect(store); /* the next connection has them on */
    return r;
}

const struct driver sqlite_driver = {
    .name = "sqlite",
    .migrations = sqlite_migrations,
    .begin = "BEGIN IMMEDIATE",
    .begin_reading = "BEGIN",
    .list_tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE "
                   "'sqlite!_%' ESCAPE '!'",
    .list_columns = "SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden = 0",
    .list_references = "SELECT \"from\", \"table\" FROM pragma_foreign_key_list(?)",
    .open = open_place,
    .close = disconnect,
    .connect = connect_file,
    .disconnect = disconnect,
    .execute = execute,
    .start = start,
    .step = step,
    .end = end,
    .column = column,
    .column_name = column_name,
    .columns = columns,
    .clock_ms = clock_ms,
    .describe = describe,
    .schema = schema,
    .migrate = migrate,
};
