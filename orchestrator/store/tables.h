/* Which tables there are, as the database itself tells: for what treats them all alike. */
#ifndef VMFERRY_STORE_TABLES_H
#define VMFERRY_STORE_TABLES_H

#include "store/statement.h"

#define TABLE_COLUMNS STATEMENT_VALUES

struct column {
    char name[64];
    int key;            /* its place in the primary key, from 1; 0: not of it */
    char refers_to[64]; /* a table, or "" */
};

struct table_shape {
    char name[64];
    struct column columns[TABLE_COLUMNS]; /* by name, the same in both databases */
    size_t count;
};

struct tables {
    struct table_shape *list; /* each after those that it refers to */
    size_t count;
};

/* Without those that only serve the store itself: the schema's own, transactions. */
int tables_read(struct store *store, struct tables *tables, struct error **err);
void tables_free(struct tables *tables);
#define CLEANUP_TABLES CLEANUP(tables_free)

const struct table_shape *tables_find(const struct tables *tables, const char *name);
/* Whether the row that the column refers to may come later than its own. */
bool tables_refers_ahead(const struct tables *tables, const struct table_shape *table,
                         const struct column *column);

#endif
