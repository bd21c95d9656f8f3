/* Opening, migrating and transactions of the SQLite store; see store.h. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "store/migrations.h"
#include "store/statement.h"

#define BUSY_TIMEOUT_MS 10000
#define WAL_RETRY_MS    10

int64_t store_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int execute(struct store *store, const char *sql, struct error **err)
{
    if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return error_set(err, "%s: %s%s", store->path, sqlite3_errmsg(store->db), damage_hint(store));
}

int store_begin(struct store *store, struct error **err)
{
    return execute(store, "BEGIN IMMEDIATE", err);
}

int store_commit(struct store *store, struct error **err)
{
    if (execute(store, "COMMIT", err) == 0)
        return 0;
    store_rollback(store);
    return -1;
}

void store_rollback(struct store *store)
{
    if (!sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

static void read_version(struct statement *s, void *version)
{
    *(int64_t *)version = take_int(s);
}

static int schema_version(struct store *store, int64_t *version, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, "PRAGMA user_version");
    bool found;

    return read_first(&s, read_version, version, &found, err);
}

static int apply(struct store *store, const struct migration *m, struct error **err)
{
    char pragma[64];

    snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d", m->number);
    if (execute(store, m->sql, err) < 0 || execute(store, pragma, err) < 0)
        return error_prefix(err, "migration %s", m->name);
    return 0;
}

static int newest_migration(void)
{
    int newest = 0;

    for (const struct migration *m = migrations; m->number; m++)
        newest = m->number;
    return newest;
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

/* All missing migrations in one transaction; another process that migrates at the
 * same time makes this one wait and then find nothing to do. */
static int migrate(struct store *store, struct error **err)
{
    CLEANUP_ROLLBACK struct store *transaction = NULL;
    int64_t version = 0;

    if (schema_version(store, &version, err) < 0)
        return -1;
    if (version > newest_migration())
        return error_set(err,
                         "%s was written by a newer vmferry (schema %d, this one knows %d): "
                         "use that version, or another --state",
                         store->path, (int)version, newest_migration());
    if (version == newest_migration())
        return 0;
    if (store_begin(store, err) < 0)
        return -1;
    transaction = store;
    if (schema_version(store, &version, err) < 0)
        return -1;
    for (const struct migration *m = migrations; m->number; m++) {
        if (m->number > version && apply(store, m, err) < 0)
            return -1;
    }
    if (check_references(store, err) < 0)
        return -1;
    return store_commit(store, err);
}

/* Changing to WAL needs the database for itself, and SQLite does not wait for that:
 * where several processes open a new one at once, all but one have to try again. */
static int set_wal(struct store *store, struct error **err)
{
    for (int waited_ms = 0;; waited_ms += WAL_RETRY_MS) {
        int r = sqlite3_exec(store->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);

        if (r == SQLITE_OK)
            return 0;
        if ((r != SQLITE_BUSY && r != SQLITE_LOCKED) || waited_ms >= BUSY_TIMEOUT_MS)
            return error_set(err, "%s: %s%s", store->path, sqlite3_errmsg(store->db),
                             damage_hint(store));
        sqlite3_sleep(WAL_RETRY_MS);
    }
}

/* Only its owner reads the database: it holds leases and the shape of every VM. */
static int create_private(const char *path, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return error_set_errno(err, errno, "opening %s", path);
    return 0;
}

int store_open(const char *path, struct store **store, struct error **err)
{
    CLEANUP_STORE struct store *s = calloc(1, sizeof *s);

    if (!s || !(s->path = strdup(path)))
        return error_set_errno(err, ENOMEM, "opening %s", path);
    if (create_private(path, err) < 0)
        return -1;
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL) !=
        SQLITE_OK)
        return error_set(err, "%s: %s", path, sqlite3_errmsg(s->db));
    sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MS);
    /* A migration may make a table anew that others refer to. */
    if (set_wal(s, err) < 0 ||
        execute(s, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF;", err) < 0 ||
        migrate(s, err) < 0 || execute(s, "PRAGMA foreign_keys = ON;", err) < 0)
        return -1;
    *store = steal_ptr(s);
    return 0;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    sqlite3_close(store->db);
    free(store->path);
    free(store);
}
