/* Reading a dump; see dump.h. A reference to a row that comes later is written at the end. */
#include <errno.h>
#include <json.h>
#include <string.h>

#include "store/dump.h"
#include "store/tables.h"

struct late {
    const struct table_shape *table;
    const struct column *column;
    int64_t id, value;
};

struct restore {
    const struct tables *tables;
    const struct store_schema *schema;
    FILE *in;
    const char *what;
    uint64_t line, rows;
    bool begun;
    struct late *late;
    size_t late_count, late_room;
    const struct table_shape *table; /* of `insert` */
    struct statement insert;
};

static int wrong(const struct restore *r, struct error **err, const char *what)
{
    return error_set(err, "%s: line %llu: %s", r->what, (unsigned long long)r->line, what);
}

/* The next line as an object, or NULL. */
static json_object *read_line(struct restore *r, struct error **err)
{
    CLEANUP_FREE char *text = NULL;
    json_object *object;
    size_t room = 0;
    ssize_t length = getline(&text, &room, r->in);

    r->line++;
    if (ferror(r->in)) {
        error_set_errno(err, errno, "reading %s", r->what);
        return NULL;
    }
    if (length <= 0 || text[length - 1] != '\n') {
        wrong(r, err, "the dump ends here, but it is not complete");
        return NULL;
    }
    object = json_tokener_parse(text);
    if (json_object_is_type(object, json_type_object))
        return object;
    json_object_put(object);
    wrong(r, err, "this is no JSON object");
    return NULL;
}

static int check_head(struct restore *r, struct error **err)
{
    json_object *head = read_line(r, err);
    bool is_dump = head && json_object_get_int(json_object_object_get(head, "vmferry_dump")) == 1;
    int schema = json_object_get_int(json_object_object_get(head, "schema"));

    if (!head)
        return -1;
    json_object_put(head);
    if (!is_dump)
        return wrong(r, err, "this is no dump of vmferry");
    if (schema != r->schema->version)
        return error_set(err,
                         "%s has schema %d, and this vmferry has %d: restore it with the vmferry "
                         "that made it, into any database, which `vmferry db migrate` of this one "
                         "then brings up to date",
                         r->what, schema, r->schema->version);
    return 0;
}

static int check_empty(struct store *store, struct error **err)
{
    CLEANUP_FREE struct store_size *sizes = NULL;
    size_t count;

    if (store_sizes(store, &sizes, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (sizes[i].rows)
            return error_set(err,
                             "%s is not empty: table %s has %lld rows; a dump is restored into a "
                             "new database",
                             store->path, sizes[i].table, (long long)sizes[i].rows);
    }
    return 0;
}

static char *insert_sql(const struct table_shape *table)
{
    char *sql = NULL;
    size_t size;
    FILE *out = open_memstream(&sql, &size);

    if (!out)
        return NULL;
    fprintf(out, "INSERT INTO `%s` (", table->name);
    for (size_t i = 0; i < table->count; i++)
        fprintf(out, "%s`%s`", i ? ", " : "", table->columns[i].name);
    fprintf(out, ") VALUES (");
    for (size_t i = 0; i < table->count; i++)
        fprintf(out, "%s?", i ? ", " : "");
    fputc(')', out);
    fclose(out);
    return sql;
}

/* r->insert is that of `table`. */
static int use_table(struct store *store, struct restore *r, const struct table_shape *table,
                     struct error **err)
{
    if (r->table == table) {
        statement_again(&r->insert);
        return 0;
    }
    if (r->table)
        statement_end(&r->insert);
    r->table = table;
    r->insert = (struct statement){ .store = store };
    r->insert.sql = r->insert.own_sql = insert_sql(table);
    return r->insert.sql ? 0 : error_set_errno(err, ENOMEM, "%s", r->what);
}

static int remember(struct restore *r, const struct late *late, struct error **err)
{
    if (r->late_count == r->late_room) {
        size_t room = r->late_room ? r->late_room * 2 : 64;
        struct late *bigger = reallocarray(r->late, room, sizeof *bigger);

        if (!bigger)
            return error_set_errno(err, ENOMEM, "%s", r->what);
        r->late = bigger;
        r->late_room = room;
    }
    r->late[r->late_count++] = *late;
    return 0;
}

static int bind_json(struct restore *r, json_object *json, struct error **err)
{
    struct value value = { .kind = VALUE_NULL };

    switch (json_object_get_type(json)) {
    case json_type_null:
        break;
    case json_type_int:
        value = (struct value){ .kind = VALUE_INT, .number = json_object_get_int64(json) };
        break;
    case json_type_double:
        value = (struct value){ .kind = VALUE_DOUBLE, .real = json_object_get_double(json) };
        break;
    case json_type_string:
        value = (struct value){ .kind = VALUE_TEXT, .text = json_object_get_string(json) };
        break;
    default:
        return wrong(r, err, "a column is neither a number nor a text");
    }
    bind_value(&r->insert, &value);
    return 0;
}

static int insert_row(struct store *store, struct restore *r, const struct table_shape *table,
                      json_object *row, struct error **err)
{
    if (use_table(store, r, table, err) < 0)
        return -1;
    if (json_object_object_length(row) != (int)table->count)
        return wrong(r, err, "it does not have the columns of its table");
    for (size_t i = 0; i < table->count; i++) {
        const struct column *column = &table->columns[i];
        json_object *json;

        if (!json_object_object_get_ex(row, column->name, &json))
            return wrong(r, err, "it does not have the columns of its table");
        if (json && tables_refers_ahead(r->tables, table, column)) {
            struct late late = { table, column,
                                 json_object_get_int64(json_object_object_get(row, "id")),
                                 json_object_get_int64(json) };

            if (remember(r, &late, err) < 0)
                return -1;
            json = NULL;
        }
        if (bind_json(r, json, err) < 0)
            return -1;
    }
    r->rows++;
    return run(&r->insert, err) < 0
               ? error_prefix(err, "%s: line %llu", r->what, (unsigned long long)r->line)
               : 0;
}

/* 1: it was the last one. */
static int restore_line(struct store *store, struct restore *r, json_object *line,
                        struct error **err)
{
    const char *name = json_object_get_string(json_object_object_get(line, "table"));
    json_object *row = json_object_object_get(line, "row");
    const struct table_shape *table = name ? tables_find(r->tables, name) : NULL;

    if (json_object_get_boolean(json_object_object_get(line, "end"))) {
        if (json_object_get_uint64(json_object_object_get(line, "rows")) != r->rows)
            return wrong(r, err, "rows are missing before it");
        return fgetc(r->in) == EOF ? 1 : wrong(r, err, "something follows");
    }
    if (!table || !json_object_is_type(row, json_type_object))
        return wrong(r, err, "it is of no table that this vmferry knows");
    return insert_row(store, r, table, row, err);
}

static int write_late(struct store *store, const struct late *late, struct error **err)
{
    char sql[256] = "";
    CLEANUP_STATEMENT struct statement s = statement(store, sql);

    snprintf(sql, sizeof sql, "UPDATE `%s` SET `%s` = ? WHERE id = ?", late->table->name,
             late->column->name);
    bind_int(&s, late->value);
    bind_int(&s, late->id);
    return run_on_one(&s, err);
}

static int rewind_dump(struct store *store, struct restore *r, struct error **err)
{
    if (r->begun && fseek(r->in, 0, SEEK_SET) < 0) {
        store->failure = STORE_OTHER;
        return error_set(err, "%s: the connection was lost, and %s can't be read again",
                         store->path, r->what);
    }
    r->begun = true;
    r->line = r->rows = 0;
    r->late_count = 0;
    if (r->table)
        statement_end(&r->insert);
    r->table = NULL;
    return 0;
}

static int restore_all(struct store *store, void *opaque, struct error **err)
{
    struct restore *r = opaque;
    int done = 0;

    if (rewind_dump(store, r, err) < 0 || check_head(r, err) < 0 || check_empty(store, err) < 0)
        return -1;
    while (done == 0) {
        json_object *line = read_line(r, err);

        if (!line)
            return -1;
        done = restore_line(store, r, line, err);
        json_object_put(line);
    }
    for (size_t i = 0; done > 0 && i < r->late_count; i++) {
        if (write_late(store, &r->late[i], err) < 0)
            return -1;
    }
    return done > 0 ? 0 : -1;
}

int store_restore(struct store *store, FILE *in, const char *what, uint64_t *rows,
                  struct error **err)
{
    CLEANUP_TABLES struct tables tables = { 0 };
    struct store_schema schema;
    struct restore r = { .tables = &tables, .schema = &schema, .in = in, .what = what };
    int result;

    if (store_schema(store, &schema, err) < 0 || tables_read(store, &tables, err) < 0)
        return -1;
    result = store_transaction(store, restore_all, &r, err);
    if (r.table)
        statement_end(&r.insert);
    free(r.late);
    *rows = r.rows;
    return result;
}
