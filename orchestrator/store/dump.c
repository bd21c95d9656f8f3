/* Writing a dump; see dump.h. Rows are written as they are read: none are gathered. */
#include "store/dump.h"

#include <json.h>
#include <string.h>

#include "store/tables.h"

struct dump {
    const struct tables *tables;
    const struct store_schema *schema;
    FILE *out;
    uint64_t rows;
    bool begun;
};

static int write_line(FILE *out, json_object *object, struct error **err)
{
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE);
    bool written = text && fputs(text, out) >= 0 && fputc('\n', out) >= 0;

    json_object_put(object);
    return written ? 0 : error_set_errno(err, errno, "writing the dump");
}

static json_object *to_json(const struct value *value)
{
    switch (value->kind) {
    case VALUE_INT:
        return json_object_new_int64(value->number);
    case VALUE_DOUBLE:
        return json_object_new_double(value->real);
    case VALUE_TEXT:
        return json_object_new_string(value->text);
    case VALUE_NULL:
        break;
    }
    return NULL;
}

static int write_row(struct dump *dump, const struct table_shape *table, const struct statement *s,
                     struct error **err)
{
    json_object *line = json_object_new_object(), *row = json_object_new_object();

    json_object_object_add(line, "table", json_object_new_string(table->name));
    for (size_t i = 0; i < table->count; i++) {
        struct value value = s->store->driver->column(s, (int)i);

        json_object_object_add(row, table->columns[i].name, to_json(&value));
    }
    json_object_object_add(line, "row", row);
    dump->rows++;
    return write_line(dump->out, line, err);
}

static char *select_all(const struct table_shape *table)
{
    char *sql = NULL;
    size_t size;
    FILE *out = open_memstream(&sql, &size);

    if (!out)
        return NULL;
    fprintf(out, "SELECT ");
    for (size_t i = 0; i < table->count; i++)
        fprintf(out, "%s`%s`", i ? ", " : "", table->columns[i].name);
    fprintf(out, " FROM `%s` ORDER BY ", table->name);
    for (int key = 1; key <= (int)table->count; key++) {
        for (size_t i = 0; i < table->count; i++) {
            if (table->columns[i].key == key)
                fprintf(out, "%s`%s`", key > 1 ? ", " : "", table->columns[i].name);
        }
    }
    fclose(out);
    return sql;
}

static int dump_table(struct store *store, struct dump *dump, const struct table_shape *table,
                      struct error **err)
{
    CLEANUP_STATEMENT struct statement s = { .store = store, .stream = true };
    int more;

    s.sql = s.own_sql = select_all(table);
    if (!s.sql)
        return error_set_errno(err, ENOMEM, "table %s", table->name);
    while ((more = read_next(&s, err)) > 0) {
        if (write_row(dump, table, &s, err) < 0)
            return -1;
    }
    return more;
}

static int write_head(struct dump *dump, struct error **err)
{
    json_object *head = json_object_new_object();

    json_object_object_add(head, "vmferry_dump", json_object_new_int(1));
    json_object_object_add(head, "schema", json_object_new_int(dump->schema->version));
    json_object_object_add(head, "name", json_object_new_string(dump->schema->name));
    return write_line(dump->out, head, err);
}

static int write_end(struct dump *dump, struct error **err)
{
    json_object *end = json_object_new_object();

    json_object_object_add(end, "end", json_object_new_boolean(1));
    json_object_object_add(end, "rows", json_object_new_uint64(dump->rows));
    if (write_line(dump->out, end, err) < 0)
        return -1;
    return fflush(dump->out) == 0 ? 0 : error_set_errno(err, errno, "writing the dump");
}

static int dump_all(struct store *store, void *opaque, struct error **err)
{
    struct dump *dump = opaque;

    if (dump->begun) { /* what was written can't be taken back */
        store->failure = STORE_OTHER;
        return error_set(err, "%s: the connection was lost; dump it again", store->path);
    }
    dump->begun = true;
    if (write_head(dump, err) < 0)
        return -1;
    for (size_t i = 0; i < dump->tables->count; i++) {
        if (dump_table(store, dump, &dump->tables->list[i], err) < 0)
            return -1;
    }
    return write_end(dump, err);
}

int store_dump(struct store *store, FILE *out, struct error **err)
{
    CLEANUP_TABLES struct tables tables = { 0 };
    struct store_schema schema;
    struct dump dump = { .tables = &tables, .schema = &schema, .out = out };

    if (store_schema(store, &schema, err) < 0 || tables_read(store, &tables, err) < 0)
        return -1;
    return store_reading(store, dump_all, &dump, err);
}

static void read_count(struct statement *s, void *count)
{
    *(int64_t *)count = take_int(s);
}

static int count_rows(struct store *store, const char *table, int64_t *rows, struct error **err)
{
    char sql[128] = "";
    CLEANUP_STATEMENT struct statement s = statement(store, sql);
    bool found;

    snprintf(sql, sizeof sql, "SELECT count(*) FROM `%s`", table);
    return read_first(&s, read_count, rows, &found, err);
}

int store_sizes(struct store *store, struct store_size **sizes, size_t *count, struct error **err)
{
    CLEANUP_TABLES struct tables tables = { 0 };
    CLEANUP_FREE struct store_size *list = NULL;

    if (tables_read(store, &tables, err) < 0)
        return -1;
    list = calloc(tables.count + 1, sizeof *list);
    if (!list)
        return error_set_errno(err, ENOMEM, "reading %s", store->path);
    for (size_t i = 0; i < tables.count; i++) {
        strcpy(list[i].table, tables.list[i].name);
        if (count_rows(store, list[i].table, &list[i].rows, err) < 0)
            return -1;
    }
    *sizes = steal_ptr(list);
    *count = tables.count;
    return 0;
}
