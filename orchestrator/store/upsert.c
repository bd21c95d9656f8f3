/* The one statement whose SQL differs between the databases; see statement.h. */
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "store/statement.h"

/* Whether `column` (of `length` bytes) is one of the words of `list`. */
static bool lists(const char *list, const char *column, size_t length)
{
    for (const char *word = list; word && *word;) {
        size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_`");

        if (n && n == length && strncmp(word, column, n) == 0)
            return true;
        word += n ? n : 1;
    }
    return false;
}

/* The next column of a list, its length in *length, or NULL. */
static const char *next(const char **list, size_t *length)
{
    const char *column = *list + strspn(*list, ", ");

    *length = strcspn(column, ", ");
    *list = column + *length;
    return *length ? column : NULL;
}

static void write_insert(FILE *out, const struct upsert *u)
{
    const char *list = u->columns, *separator = "";
    size_t length;

    fprintf(out, "INSERT INTO %s (%s) VALUES (", u->table, u->columns);
    for (; next(&list, &length); separator = ", ")
        fprintf(out, "%s?", separator);
    fputc(')', out);
}

static bool is_updated(const struct upsert *u, const char *column, size_t length)
{
    return !lists(u->key, column, length) && !lists(u->insert_only, column, length);
}

static void write_sqlite(FILE *out, const struct upsert *u)
{
    const char *list = u->columns, *column, *separator = "";
    size_t length;

    fprintf(out, " ON CONFLICT (%s) DO UPDATE SET ", u->conflict ? u->conflict : u->key);
    for (; (column = next(&list, &length));) {
        int n = (int)length;

        if (!is_updated(u, column, length))
            continue;
        if (lists(u->unless_null, column, length))
            fprintf(out, "%s%.*s = ifnull(excluded.%.*s, %s.%.*s)", separator, n, column, n, column,
                    u->table, n, column);
        else
            fprintf(out, "%s%.*s = excluded.%.*s", separator, n, column, n, column);
        separator = ", ";
    }
    if (!u->has_no_id)
        fprintf(out, " RETURNING id");
}

/* MariaDB updates the row of ANY unique key that collides: where that is not the row that
 * was meant, an error is made (ER_SUBQUERY_NO_1_ROW, see mariadb.c). A NULL would be none:
 * an id of NULL becomes 0. */
static void write_guard(FILE *out, const struct upsert *u)
{
    const char *list = u->key, *column, *separator = "";
    size_t length;

    fprintf(out, "id = CASE WHEN ");
    for (; (column = next(&list, &length)); separator = " AND ")
        fprintf(out, "%s%.*s <=> VALUES(%.*s)", separator, (int)length, column, (int)length,
                column);
    fprintf(out, " THEN LAST_INSERT_ID(id) ELSE (SELECT 1 UNION SELECT 2) END, ");
}

static void write_mariadb(FILE *out, const struct upsert *u)
{
    const char *list = u->columns, *column, *separator = "";
    size_t length;

    fprintf(out, " ON DUPLICATE KEY UPDATE ");
    if (!u->has_no_id)
        write_guard(out, u);
    for (; (column = next(&list, &length));) {
        int n = (int)length;

        if (!is_updated(u, column, length))
            continue;
        if (lists(u->unless_null, column, length))
            fprintf(out, "%s%.*s = ifnull(VALUES(%.*s), %.*s)", separator, n, column, n, column, n,
                    column);
        else
            fprintf(out, "%s%.*s = VALUES(%.*s)", separator, n, column, n, column);
        separator = ", ";
    }
}

struct statement statement_upsert(struct store *store, const struct upsert *upsert)
{
    struct statement s = { .store = store };
    size_t size;
    FILE *out = open_memstream(&s.own_sql, &size);

    if (out) {
        write_insert(out, upsert);
        if (store->driver == &sqlite_driver)
            write_sqlite(out, upsert);
        else
            write_mariadb(out, upsert);
        if (fclose(out) != 0)
            out = NULL;
    }
    if (!out)
        s.wrong = "is too long for the memory";
    s.sql = s.own_sql ? s.own_sql : "";
    return s;
}
