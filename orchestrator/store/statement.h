/* SQLite statements for the files of this folder: prepare, bind in order, run or
 * read. Errors stick to the statement and are reported by the call that runs it:
 *
 *     CLEANUP_STATEMENT struct statement s = statement(store, "… WHERE id = ?");
 *     bind_int(&s, id);
 *     return run(&s, err);
 */
#ifndef VMFERRY_STATEMENT_H
#define VMFERRY_STATEMENT_H

#include <sqlite3.h>

#include "store/store.h"

struct store {
    sqlite3 *db;
    char *path;
};

struct statement {
    struct store *store;
    sqlite3_stmt *stmt;
    int next_parameter;      /* to bind, from 1 */
    int next_column;         /* to take, from 0 */
    int status;              /* the first SQLite error, or SQLITE_OK */
    const char *long_column; /* a text that does not fit its field, or NULL */
};

struct statement statement(struct store *store, const char *sql);
void statement_end(struct statement *s);
#define CLEANUP_STATEMENT CLEANUP(statement_end)

void bind_int(struct statement *s, int64_t value);
void bind_id(struct statement *s, int64_t id); /* 0 is NULL */
void bind_double(struct statement *s, double value);
void bind_text(struct statement *s, const char *text); /* NULL and "" are NULL */

/* Of the current row, in the order of its columns. */
int64_t take_int(struct statement *s);
double take_double(struct statement *s);
void take_text(struct statement *s, char *buf, size_t size);

/* A statement without rows. */
int run(struct statement *s, struct error **err);
/* As run; the new row's id. */
int run_insert(struct statement *s, int64_t *id, struct error **err);
/* As run; an error when no row was touched. */
int run_on_one(struct statement *s, struct error **err);

typedef void (*read_row)(struct statement *s, void *record);
int read_all(struct statement *s, read_row read, size_t record_size, void *records, size_t *count,
             struct error **err);
int read_first(struct statement *s, read_row read, void *record, bool *found, struct error **err);
/* One text of the first row, the caller's to free; an error when there is no row. */
/* What to do about it: "" or "; …". */
const char *damage_hint(struct store *store);

int read_only_text(struct statement *s, char **text, struct error **err);

#endif
