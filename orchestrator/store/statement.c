/* Statements; see statement.h. */
#include "store/statement.h"

#include <string.h>

static void stick(struct statement *s, int status)
{
    if (s->status == SQLITE_OK)
        s->status = status;
}

struct statement statement(struct store *store, const char *sql)
{
    struct statement s = { .store = store, .next_parameter = 1 };

    s.status = sqlite3_prepare_v2(store->db, sql, -1, &s.stmt, NULL);
    return s;
}

void statement_end(struct statement *s)
{
    sqlite3_finalize(s->stmt);
}

void bind_int(struct statement *s, int64_t value)
{
    stick(s, sqlite3_bind_int64(s->stmt, s->next_parameter++, value));
}

void bind_id(struct statement *s, int64_t id)
{
    if (id)
        bind_int(s, id);
    else
        stick(s, sqlite3_bind_null(s->stmt, s->next_parameter++));
}

void bind_double(struct statement *s, double value)
{
    stick(s, sqlite3_bind_double(s->stmt, s->next_parameter++, value));
}

void bind_text(struct statement *s, const char *text)
{
    if (text && *text)
        stick(s, sqlite3_bind_text(s->stmt, s->next_parameter++, text, -1, SQLITE_TRANSIENT));
    else
        stick(s, sqlite3_bind_null(s->stmt, s->next_parameter++));
}

int64_t take_int(struct statement *s)
{
    return sqlite3_column_int64(s->stmt, s->next_column++);
}

double take_double(struct statement *s)
{
    return sqlite3_column_double(s->stmt, s->next_column++);
}

void take_text(struct statement *s, char *buf, size_t size)
{
    int column = s->next_column++;
    const char *text = (const char *)sqlite3_column_text(s->stmt, column);

    buf[0] = '\0';
    if (!text)
        return;
    if (strlen(text) >= size)
        s->long_column = sqlite3_column_name(s->stmt, column); /* never cut a path short */
    else
        strcpy(buf, text);
}

const char *damage_hint(struct store *store)
{
    int code = sqlite3_errcode(store->db);
    int errnum = sqlite3_system_errno(store->db);

    if (code == SQLITE_FULL || ((code & 0xff) == SQLITE_IOERR && errnum == ENOSPC))
        return "; the disk is full: make room, and run the command again";
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB
               ? "; restore it from a backup, or use another --state"
               : "";
}

static int fail(struct statement *s, struct error **err)
{
    return error_set(err, "%s: %s%s", s->store->path,
                     s->status == SQLITE_NOMEM || !s->stmt || s->status == SQLITE_OK
                         ? sqlite3_errmsg(s->store->db)
                     : sqlite3_errcode(s->store->db) == s->status ? sqlite3_errmsg(s->store->db)
                                                                  : sqlite3_errstr(s->status),
                     damage_hint(s->store));
}

/* SQLITE_ROW or SQLITE_DONE, or -1 with *err set. */
static int step(struct statement *s, struct error **err)
{
    int status;

    if (s->status != SQLITE_OK)
        return fail(s, err);
    status = sqlite3_step(s->stmt);
    s->next_column = 0;
    if (status == SQLITE_ROW || status == SQLITE_DONE)
        return status;
    s->status = status;
    return fail(s, err);
}

static int check_columns(struct statement *s, struct error **err)
{
    if (s->long_column)
        return error_set(err, "%s: a text in column '%s' is longer than this program can hold",
                         s->store->path, s->long_column);
    return 0;
}

int run(struct statement *s, struct error **err)
{
    int status;

    do
        status = step(s, err);
    while (status == SQLITE_ROW);
    return status < 0 ? -1 : 0;
}

int run_insert(struct statement *s, int64_t *id, struct error **err)
{
    if (run(s, err) < 0)
        return -1;
    *id = sqlite3_last_insert_rowid(s->store->db);
    return 0;
}

int run_on_one(struct statement *s, struct error **err)
{
    if (run(s, err) < 0)
        return -1;
    if (sqlite3_changes(s->store->db) == 0)
        return error_set(err, "%s: the row to change is not there, or may not change",
                         s->store->path);
    return 0;
}

int read_all(struct statement *s, read_row read, size_t record_size, void *records, size_t *count,
             struct error **err)
{
    CLEANUP_FREE char *list = NULL;
    size_t n = 0, room = 0;
    int status;

    while ((status = step(s, err)) == SQLITE_ROW) {
        if (n == room) {
            char *bigger;

            room = room ? room * 2 : 4;
            bigger = reallocarray(list, room, record_size);
            if (!bigger)
                return error_set_errno(err, ENOMEM, "reading %s", s->store->path);
            list = bigger;
        }
        memset(list + n * record_size, 0, record_size);
        read(s, list + n * record_size);
        n++;
    }
    if (status < 0 || check_columns(s, err) < 0)
        return -1;
    *(void **)records = steal_ptr(list);
    *count = n;
    return 0;
}

int read_first(struct statement *s, read_row read, void *record, bool *found, struct error **err)
{
    int status = step(s, err);

    if (status < 0)
        return -1;
    *found = status == SQLITE_ROW;
    if (*found)
        read(s, record);
    /* What an INSERT … RETURNING wrote is committed by the step after its row. */
    if (check_columns(s, err) < 0 || (*found && step(s, err) < 0))
        return -1;
    return 0;
}

int read_only_text(struct statement *s, char **text, struct error **err)
{
    const char *value;
    int status = step(s, err);

    if (status < 0)
        return -1;
    value = status == SQLITE_ROW ? (const char *)sqlite3_column_text(s->stmt, 0) : NULL;
    if (!value) {
        error_set(err, "%s: the row is not there", s->store->path);
        (*err)->errnum = ENOENT;
        return -1;
    }
    *text = strdup(value);
    return *text ? 0 : error_set_errno(err, ENOMEM, "reading %s", s->store->path);
}
