/* The tables of a database; see tables.h. */
#include "store/tables.h"

#include <string.h>

struct name {
    char text[64];
};

static bool is_own(const char *name)
{
    return strcmp(name, "transactions") == 0 || strncmp(name, "schema_", 7) == 0;
}

static void read_name(struct statement *s, void *name)
{
    take_text(s, ((struct name *)name)->text, sizeof(struct name));
}

static void read_column(struct statement *s, void *record)
{
    struct column *column = record;

    take_text(s, column->name, sizeof column->name);
    column->key = (int)take_int(s);
}

struct reference {
    char column[64], table[64];
};

static void read_reference(struct statement *s, void *record)
{
    struct reference *reference = record;

    take_text(s, reference->column, sizeof reference->column);
    take_text(s, reference->table, sizeof reference->table);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b); /* the name is the first member of each */
}

static int read_columns(struct store *store, struct table_shape *table, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, store->driver->list_columns);
    CLEANUP_FREE struct column *columns = NULL;

    bind_text(&s, table->name);
    if (read_all(&s, read_column, sizeof *columns, &columns, &table->count, err) < 0)
        return -1;
    if (table->count == 0 || table->count > TABLE_COLUMNS)
        return error_set(err, "%s: table %s has %zu columns", store->path, table->name,
                         table->count);
    qsort(columns, table->count, sizeof *columns, by_name);
    memcpy(table->columns, columns, table->count * sizeof *columns);
    return 0;
}

static int read_references(struct store *store, struct table_shape *table, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, store->driver->list_references);
    CLEANUP_FREE struct reference *references = NULL;
    size_t count;

    bind_text(&s, table->name);
    if (read_all(&s, read_reference, sizeof *references, &references, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct column *column =
            bsearch(references[i].column, table->columns, table->count, sizeof *column, by_name);

        if (column)
            memcpy(column->refers_to, references[i].table, sizeof column->refers_to);
    }
    return 0;
}

/* Whether all that `table` refers to is among the first `done` ones, or itself. */
static bool is_ready(const struct tables *tables, size_t done, const struct table_shape *table)
{
    struct tables before = { tables->list, done };

    for (size_t i = 0; i < table->count; i++) {
        const char *to = table->columns[i].refers_to;

        if (*to && strcmp(to, table->name) != 0 && !tables_find(&before, to))
            return false;
    }
    return true;
}

/* The first ready one by name comes next; in a circle, the first one. */
static void sort(struct tables *tables)
{
    qsort(tables->list, tables->count, sizeof *tables->list, by_name);
    for (size_t done = 0; done < tables->count; done++) {
        struct table_shape chosen;
        size_t next = done;

        while (next < tables->count && !is_ready(tables, done, &tables->list[next]))
            next++;
        if (next == tables->count)
            next = done;
        chosen = tables->list[next];
        memmove(&tables->list[done + 1], &tables->list[done], (next - done) * sizeof *tables->list);
        tables->list[done] = chosen;
    }
}

int tables_read(struct store *store, struct tables *tables, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, store->driver->list_tables);
    CLEANUP_FREE struct name *names = NULL;
    size_t count;

    *tables = (struct tables){ 0 };
    if (read_all(&s, read_name, sizeof *names, &names, &count, err) < 0)
        return -1;
    tables->list = calloc(count + 1, sizeof *tables->list);
    if (!tables->list)
        return error_set_errno(err, ENOMEM, "reading %s", store->path);
    for (size_t i = 0; i < count; i++) {
        struct table_shape *table = &tables->list[tables->count];

        if (is_own(names[i].text))
            continue;
        memcpy(table->name, names[i].text, sizeof table->name);
        if (read_columns(store, table, err) < 0 || read_references(store, table, err) < 0)
            return -1;
        tables->count++;
    }
    sort(tables);
    return 0;
}

void tables_free(struct tables *tables)
{
    free(tables->list);
}

const struct table_shape *tables_find(const struct tables *tables, const char *name)
{
    for (size_t i = 0; i < tables->count; i++) {
        if (strcmp(tables->list[i].name, name) == 0)
            return &tables->list[i];
    }
    return NULL;
}

bool tables_refers_ahead(const struct tables *tables, const struct table_shape *table,
                         const struct column *column)
{
    const struct table_shape *to =
        *column->refers_to ? tables_find(tables, column->refers_to) : NULL;

    return to && to >= table;
}
