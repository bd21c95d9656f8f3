/* What the files of the MariaDB driver share. */
#ifndef VMFERRY_STORE_MARIADB_H
#define VMFERRY_STORE_MARIADB_H

#include <mysql.h>

#include "store/statement.h"
#include "store/uri.h"

struct mariadb {
    struct uri uri;
    MYSQL *mysql; /* NULL while there is no connection */
    int host;     /* of uri.hosts: the one that it is connected to, or was last */
    bool cluster; /* it is a node of a Galera cluster */
    bool slow;    /* its statements may take as long as they like */
};

/* What an error of the server or the library says about the work that met it. */
enum store_failure mariadb_failure(unsigned code, const char *message);
/* Set *err and store->failure. */
int mariadb_fail(struct store *store, unsigned code, const char *message, struct error **err);

/* mariadb-describe.c */
int mariadb_describe(struct store *store, store_tell tell, void *opaque, struct error **err);

/* mariadb-connect.c */
/* 0, with the connection in db->mysql; -1; -2: it would be the same at any other host. */
int mariadb_attach_host(struct store *store, int host, struct error **err);
int mariadb_attach(struct store *store, struct error **err);
void mariadb_detach(struct store *store);

/* mariadb-rows.c */
int mariadb_start(struct statement *s, struct error **err);
int mariadb_step(struct statement *s, struct error **err);
void mariadb_end(struct statement *s);
struct value mariadb_column(const struct statement *s, int column);
const char *mariadb_column_name(const struct statement *s, int column);
int mariadb_columns(const struct statement *s);

/* mariadb-migrate.c */
int mariadb_schema(struct store *store, struct store_schema *schema, struct error **err);
int mariadb_migrate(struct store *store, int *from, struct error **err);

#endif
