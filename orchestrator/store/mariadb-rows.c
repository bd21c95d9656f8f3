/* Statements of MariaDB, by its binary protocol; see mariadb.h. */
#include <string.h>

#include "store/mariadb.h"

#define FIRST_TEXT_SIZE 256

struct column {
    int64_t number;
    double real;
    char *text;
    size_t size; /* of text */
    unsigned long length;
    my_bool is_null;
    my_bool is_cut;
};

struct rows {
    MYSQL_STMT *stmt;
    MYSQL_RES *metadata; /* NULL: it has no rows */
    MYSQL_BIND *binds;
    struct column *columns;
    int count;
};

static int fail(struct statement *s, struct error **err)
{
    struct rows *rows = s->rows;

    return mariadb_fail(s->store, mysql_stmt_errno(rows->stmt), mysql_stmt_error(rows->stmt), err);
}

static int no_memory(struct statement *s, struct error **err)
{
    s->store->failure = STORE_OTHER;
    return error_set_errno(err, ENOMEM, "reading %s", s->store->path);
}

static void give_value(MYSQL_BIND *bind, const struct value *value)
{
    switch (value->kind) {
    case VALUE_NULL:
        bind->buffer_type = MYSQL_TYPE_NULL;
        break;
    case VALUE_INT:
        bind->buffer_type = MYSQL_TYPE_LONGLONG;
        bind->buffer = (void *)&value->number;
        break;
    case VALUE_DOUBLE:
        bind->buffer_type = MYSQL_TYPE_DOUBLE;
        bind->buffer = (void *)&value->real;
        break;
    case VALUE_TEXT:
        bind->buffer_type = MYSQL_TYPE_STRING;
        bind->buffer = (void *)value->text;
        bind->buffer_length = strlen(value->text);
        break;
    }
}

static enum enum_field_types kind_of(const MYSQL_FIELD *field)
{
    switch (field->type) {
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_LONGLONG:
        return MYSQL_TYPE_LONGLONG;
    case MYSQL_TYPE_FLOAT:
    case MYSQL_TYPE_DOUBLE:
        return MYSQL_TYPE_DOUBLE;
    default:
        return MYSQL_TYPE_STRING;
    }
}

static int prepare_column(struct rows *rows, int i)
{
    struct column *column = &rows->columns[i];
    MYSQL_BIND *bind = &rows->binds[i];

    bind->buffer_type = kind_of(mysql_fetch_field_direct(rows->metadata, (unsigned)i));
    bind->is_null = &column->is_null;
    bind->length = &column->length;
    bind->error = &column->is_cut;
    if (bind->buffer_type == MYSQL_TYPE_LONGLONG)
        bind->buffer = &column->number;
    if (bind->buffer_type == MYSQL_TYPE_DOUBLE)
        bind->buffer = &column->real;
    if (bind->buffer_type != MYSQL_TYPE_STRING)
        return 0;
    column->size = FIRST_TEXT_SIZE;
    bind->buffer = column->text = malloc(column->size);
    bind->buffer_length = column->size - 1;
    return column->text ? 0 : -1;
}

static int prepare_columns(struct statement *s, struct error **err)
{
    struct rows *rows = s->rows;

    rows->metadata = mysql_stmt_result_metadata(rows->stmt);
    if (!rows->metadata)
        return mysql_stmt_errno(rows->stmt) ? fail(s, err) : 0;
    rows->count = (int)mysql_num_fields(rows->metadata);
    rows->columns = calloc((size_t)rows->count, sizeof *rows->columns);
    rows->binds = calloc((size_t)rows->count, sizeof *rows->binds);
    if (!rows->columns || !rows->binds)
        return no_memory(s, err);
    for (int i = 0; i < rows->count; i++) {
        if (prepare_column(rows, i) < 0)
            return no_memory(s, err);
    }
    return mysql_stmt_bind_result(rows->stmt, rows->binds) ? fail(s, err) : 0;
}

static int give_values(struct statement *s, MYSQL_BIND binds[static STATEMENT_VALUES],
                       struct error **err)
{
    MYSQL_STMT *stmt = ((struct rows *)s->rows)->stmt;

    if (mysql_stmt_param_count(stmt) != (unsigned long)s->count) {
        s->store->failure = STORE_OTHER;
        return error_set(err, "%s: %d values for %lu parameters: %s", s->store->path, s->count,
                         mysql_stmt_param_count(stmt), s->sql);
    }
    for (int i = 0; i < s->count; i++)
        give_value(&binds[i], &s->values[i]);
    return s->count && mysql_stmt_bind_param(stmt, binds) ? fail(s, err) : 0;
}

static int prepare(struct statement *s, struct error **err)
{
    struct mariadb *db = s->store->connection;
    struct rows *rows = calloc(1, sizeof *rows);

    s->rows = rows;
    if (!rows || !(rows->stmt = mysql_stmt_init(db->mysql)))
        return no_memory(s, err);
    return mysql_stmt_prepare(rows->stmt, s->sql, strlen(s->sql)) ? fail(s, err) : 0;
}

int mariadb_start(struct statement *s, struct error **err)
{
    MYSQL_BIND binds[STATEMENT_VALUES] = { 0 };
    struct rows *rows;

    if (!s->rows && prepare(s, err) < 0)
        return -1;
    rows = s->rows;
    if (give_values(s, binds, err) < 0)
        return -1;
    if (mysql_stmt_execute(rows->stmt))
        return fail(s, err);
    if (prepare_columns(s, err) < 0)
        return -1;
    if (rows->metadata && !s->stream && mysql_stmt_store_result(rows->stmt))
        return fail(s, err);
    return 0;
}

/* The rest of the texts that did not fit; the next row gets the room, too. */
static int widen(struct statement *s, struct error **err)
{
    struct rows *rows = s->rows;
    bool widened = false;

    for (int i = 0; i < rows->count; i++) {
        struct column *column = &rows->columns[i];
        MYSQL_BIND *bind = &rows->binds[i];

        if (bind->buffer_type != MYSQL_TYPE_STRING || column->is_null ||
            column->length < column->size)
            continue;
        free(column->text);
        column->size = column->length + 1;
        bind->buffer = column->text = malloc(column->size);
        bind->buffer_length = column->size - 1;
        if (!column->text)
            return no_memory(s, err);
        if (mysql_stmt_fetch_column(rows->stmt, bind, (unsigned)i, 0))
            return fail(s, err);
        widened = true;
    }
    return widened && mysql_stmt_bind_result(rows->stmt, rows->binds) ? fail(s, err) : 0;
}

int mariadb_step(struct statement *s, struct error **err)
{
    struct rows *rows = s->rows;

    if (!rows->metadata) {
        s->changes = (int64_t)mysql_stmt_affected_rows(rows->stmt);
        s->insert_id = (int64_t)mysql_stmt_insert_id(rows->stmt);
        return 0;
    }
    switch (mysql_stmt_fetch(rows->stmt)) {
    case 0:
    case MYSQL_DATA_TRUNCATED:
        return widen(s, err) < 0 ? -1 : 1;
    case MYSQL_NO_DATA:
        return 0;
    default:
        return fail(s, err);
    }
}

void mariadb_end(struct statement *s)
{
    struct rows *rows = s->rows;

    if (!rows)
        return;
    for (int i = 0; rows->columns && i < rows->count; i++)
        free(rows->columns[i].text);
    free(rows->columns);
    free(rows->binds);
    if (rows->metadata)
        mysql_free_result(rows->metadata);
    if (rows->stmt)
        mysql_stmt_close(rows->stmt);
    free(rows);
    s->rows = NULL;
}

struct value mariadb_column(const struct statement *s, int column)
{
    const struct rows *rows = s->rows;
    struct column *c = column < rows->count ? &rows->columns[column] : NULL;

    if (!c || c->is_null)
        return (struct value){ .kind = VALUE_NULL };
    switch (rows->binds[column].buffer_type) {
    case MYSQL_TYPE_LONGLONG:
        return (struct value){ .kind = VALUE_INT, .number = c->number };
    case MYSQL_TYPE_DOUBLE:
        return (struct value){ .kind = VALUE_DOUBLE, .real = c->real };
    default:
        c->text[c->length] = '\0';
        return (struct value){ .kind = VALUE_TEXT, .text = c->text };
    }
}

const char *mariadb_column_name(const struct statement *s, int column)
{
    const struct rows *rows = s->rows;

    return mysql_fetch_field_direct(rows->metadata, (unsigned)column)->name;
}

int mariadb_columns(const struct statement *s)
{
    return ((const struct rows *)s->rows)->count;
}
