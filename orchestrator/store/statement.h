/* Statements for the files of this folder: prepare, give values in order, run or read.
 * The same over every database (driver.h has the rules for the SQL). Errors stick to the
 * statement and are reported by the call that runs it:
 *
 *     CLEANUP_STATEMENT struct statement s = statement(store, "… WHERE id = ?");
 *     bind_int(&s, id);
 *     return run(&s, err);
 *
 * Outside of a transaction a statement that found the database busy, or lost, is run again. */
#ifndef VMFERRY_STATEMENT_H
#define VMFERRY_STATEMENT_H

#include "store/driver.h"

#define STATEMENT_VALUES 48

struct statement {
    struct store *store;
    const char *sql;
    char *own_sql;                         /* what sql is, when it was put together, to be freed */
    struct value values[STATEMENT_VALUES]; /* texts are its own */
    int count;
    int next_column; /* to take, from 0 */
    bool stream;     /* rows may be too many to hold: they come as they are read */
    bool started;
    bool has_row;
    void *rows; /* the driver's own */
    int64_t changes;
    int64_t insert_id;
    const char *long_column; /* a text that does not fit its field, or NULL */
    const char *wrong;       /* what the program did wrong, or NULL */
};

struct statement statement(struct store *store, const char *sql);
/* To run it once more, with values of its own: without rows, and only in one transaction. */
void statement_again(struct statement *s);
void statement_end(struct statement *s);
#define CLEANUP_STATEMENT CLEANUP(statement_end)

/* INSERT, or UPDATE when a row with the same key is there; all lists are "column, column".
 * A row that collides by another unique key is an error. */
struct upsert {
    const char *table;
    const char *columns;     /* all that are given, in the order of their values */
    const char *key;         /* those that find the row */
    const char *insert_only; /* those that a row that is there keeps; NULL: none */
    const char *unless_null; /* those that it keeps when the new value is NULL; NULL: none */
    const char *conflict;    /* the unique index, where it is not just `key`: an expression */
    bool has_no_id;
};
struct statement statement_upsert(struct store *store, const struct upsert *upsert);

void bind_int(struct statement *s, int64_t value);
void bind_id(struct statement *s, int64_t id); /* 0 is NULL */
void bind_double(struct statement *s, double value);
void bind_text(struct statement *s, const char *text); /* NULL and "" are NULL */
void bind_value(struct statement *s, const struct value *value);

/* Of the current row, in the order of its columns. */
int64_t take_int(struct statement *s);
double take_double(struct statement *s);
void take_text(struct statement *s, char *buf, size_t size);

/* A statement without rows. */
int run(struct statement *s, struct error **err);
/* As run; the id of the row that was made, or changed by an upsert. */
int run_insert(struct statement *s, int64_t *id, struct error **err);
/* As run; an error when no row was touched. */
int run_on_one(struct statement *s, struct error **err);
/* As run; how many rows were touched (found: their values may have been the same). */
int run_count(struct statement *s, int64_t *count, struct error **err);

typedef void (*read_row)(struct statement *s, void *record);
int read_all(struct statement *s, read_row read, size_t record_size, void *records, size_t *count,
             struct error **err);
int read_first(struct statement *s, read_row read, void *record, bool *found, struct error **err);
/* Row by row: 1, 0 when there is no more, -1. */
int read_next(struct statement *s, struct error **err);
/* One text of the first row, the caller's to free; an error when there is no row. */
int read_only_text(struct statement *s, char **text, struct error **err);

#endif
