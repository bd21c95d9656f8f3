/* What a database has to offer to be behind the store: one struct driver each, in
 * sqlite.c and mariadb.c. Only the files of this folder see it; what they share is in
 * statement.c, transaction.c and migrate.c, and SQL is the same text for both:
 *
 *   positional ? only; no ON CONFLICT (statement_upsert), RETURNING, iif(); `before`,
 *   `after` and other reserved words in backticks; LIMIT never negative; no INSERT …
 *   VALUES with a subquery on the same table.
 *
 * A driver's function that fails sets *err and store->failure. */
#ifndef VMFERRY_DRIVER_H
#define VMFERRY_DRIVER_H

#include "store/migrations.h"
#include "store/store.h"

#define TOKEN_SIZE 40 /* of a transaction: hexadecimal digits */

enum value_kind { VALUE_NULL, VALUE_INT, VALUE_DOUBLE, VALUE_TEXT };

struct value {
    enum value_kind kind;
    int64_t number;   /* of a VALUE_INT */
    double real;      /* of a VALUE_DOUBLE */
    const char *text; /* of a VALUE_TEXT */
};

struct statement;

struct driver {
    const char *name;
    const struct migration *migrations;
    /* A COMMIT's answer can be lost: each transaction that writes leaves a token. */
    bool needs_token;
    const char *begin; /* SQL: a transaction that may write */
    const char *begin_reading;
    /* SQL: all tables; of one: its columns, each with its place in the primary key, or 0, and
     * those columns that refer to a table, with that. */
    const char *list_tables, *list_columns, *list_references;

    /* Make store->connection from store->place, and store->path; connects nothing yet. */
    int (*open)(struct store *store, struct error **err);
    void (*close)(struct store *store);
    /* Nothing to do while it is connected. */
    int (*connect)(struct store *store, struct error **err);
    void (*disconnect)(struct store *store);
    /* SQL without parameters and rows. */
    int (*execute)(struct store *store, const char *sql, struct error **err);
    /* Prepare s->sql, give it s->values, and run it up to its first row. */
    int (*start)(struct statement *s, struct error **err);
    /* 1: s has a row, 0: no more, and s->changes and s->insert_id are set. */
    int (*step)(struct statement *s, struct error **err);
    void (*end)(struct statement *s);
    /* Of the current row; texts are good until the next step. */
    struct value (*column)(const struct statement *s, int column);
    const char *(*column_name)(const struct statement *s, int column);
    int (*columns)(const struct statement *s);
    int64_t (*clock_ms)(struct store *store, struct error **err); /* -1: *err */
    int (*describe)(struct store *store, store_tell tell, void *opaque, struct error **err);
    /* Which version, and its name if this program does not know it; schema->newest is set. */
    int (*schema)(struct store *store, struct store_schema *schema, struct error **err);
    /* Apply what is missing at `from`; another process may do so at the same time. */
    int (*migrate)(struct store *store, int *from, struct error **err);
};

extern const struct driver sqlite_driver;
extern const struct driver mariadb_driver;

struct store {
    const struct driver *driver;
    void *connection;           /* the driver's own */
    struct store_place place;   /* its texts are the store's */
    char *path;                 /* what messages call it: a path, or a URI; never a secret */
    enum store_failure failure; /* of the last statement */
    bool in_transaction;
    bool doomed; /* the database has undone the transaction: nothing more of it may run */
    bool wrote;  /* something, in this transaction */
    int64_t patience_ms;
    char token[TOKEN_SIZE]; /* in table transactions: of the last transaction of this handle, or ""
                             */
};

/* Run `work` until it succeeds, or fails for another reason than that the database was
 * busy or lost, or patience ends. Only for what may be done twice. */
int store_retry(struct store *store, store_work work, void *opaque, struct error **err);

/* Those of handles that were never closed: their processes died. */
void store_forget_old_tokens(struct store *store);

#endif
