/* The store's database: where it is, its schema, handles, transactions and the clock. A part
 * of store.h, which includes it; what is kept in there is told by that. */
#ifndef VMFERRY_DATABASE_H
#define VMFERRY_DATABASE_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#define STORE_UUID  40
#define STORE_NAME  256
#define STORE_PATH  1024
#define STORE_TEXT  2048
#define STORE_PLACE 4096

struct store;

/* Which database: a path, sqlite:///PATH, or mariadb://USER@HOST[:PORT][,HOST…]/NAME
 * (vmferry.conf(5) has the details). A path's folder must exist. */
struct store_place {
    const char *database;
    const char *password_file; /* NULL: $VMFERRY_DATABASE_PASSWORD, or none */
    const char *ca;            /* who signed the server's certificate; NULL: the system's */
};

/* Open it, or make it, and bring its schema up to date. A newer schema than this
 * program's is refused. */
int store_open_place(const struct store_place *place, struct store **store, struct error **err);
/* Of a place that needs no more than its name. */
int store_open(const char *database, struct store **store, struct error **err);
/* A handle of its own for another thread. */
int store_again(const struct store *store, struct store **second, struct error **err);
/* Open it as it is, to look at its schema. */
int store_connect(const struct store_place *place, struct store **store, struct error **err);
void store_close(struct store *store);
/* What messages call it; never has a secret. */
const char *store_name(const struct store *store);
const char *store_backend(const struct store *store); /* sqlite, mariadb */

struct store_schema {
    int version;           /* of the database: its newest migration's number */
    int newest;            /* that this program knows */
    char name[STORE_NAME]; /* of the version, "" when it is not known */
};

int store_schema(struct store *store, struct store_schema *schema, struct error **err);
/* Refuse a newer schema, bring an older one up to date. `from`, or NULL: the version that this
 * process brought up to date, while no other could. */
int store_migrate(struct store *store, int *from, struct error **err);
/* Refuse both. */
int store_check_schema(struct store *store, struct error **err);
/* "0005-jobs", or NULL. */
const char *store_migration_name(const struct store *store, int number);

/* Call `tell` with what there is to know about the server, if it is one: "server", "node",
 * "cluster_size", … and with "reachable" or "not reachable" for each host of the place. */
typedef void (*store_tell)(void *opaque, const char *name, const char *value);
int store_describe(struct store *store, store_tell tell, void *opaque, struct error **err);

/* Transactions.
 *
 * The work of one may be done several times, and only the last time counts: after a
 * deadlock, a conflict with another node of a cluster, a lost connection. So it touches
 * nothing but the store and what is its own (`opaque`), which it sets anew each time; it
 * fails as soon as a call of the store does. Trying again ends after a minute, or what
 * store_set_patience() said. When a transaction is open already, the work becomes a part
 * of that. It sees no change of others while it runs; but on another node of a Galera
 * cluster only those rows are safe from others that it writes, so a decision about a row
 * that it only read must write that row, too. */
typedef int (*store_work)(struct store *store, void *opaque, struct error **err);
int store_transaction(struct store *store, store_work work, void *opaque, struct error **err);
/* As store_transaction, but it sees one moment and changes nothing; not within another. */
int store_reading(struct store *store, store_work work, void *opaque, struct error **err);
#define STORE_PATIENCE_MS 60000
/* 0: as it is at first. */
void store_set_patience(struct store *store, int64_t ms);

/* Why the last call of the store failed, for callers that know what to do about it. */
enum store_failure {
    STORE_FINE,
    STORE_UNIQUE,     /* a row with this name or key is there already */
    STORE_CONSTRAINT, /* another promise of the schema would be broken */
    STORE_BUSY,       /* the database has undone it for the sake of another one's work */
    STORE_LOST,       /* the connection */
    STORE_OTHER,
};
enum store_failure store_last_failure(const struct store *store);

/* By hand, without trying again but of the begin; nothing of it is kept before the commit
 * returns 0. CLEANUP_ROLLBACK struct store *transaction = store; undoes it on early return. */
int store_begin(struct store *store, struct error **err);
int store_commit(struct store *store, struct error **err);
void store_rollback(struct store *store); /* nothing to do when none is open */

static inline void cleanup_store(struct store **store)
{
    store_close(*store);
}
static inline void cleanup_rollback(struct store **store)
{
    if (*store)
        store_rollback(*store);
}
#define CLEANUP_STORE    CLEANUP(cleanup_store)
#define CLEANUP_ROLLBACK CLEANUP(cleanup_rollback)

/* This host's clock, and the database's: leases, which hosts compare, are by the latter. */
int64_t store_now_ms(void);
int store_clock_ms(struct store *store, int64_t *ms, struct error **err);

#endif
