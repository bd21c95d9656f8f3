/* Connecting to MariaDB: which host, who we are, what a session is like; see mariadb.h.
 *
 * A host that is not this one is talked to by TLS only, and its certificate is checked:
 * there is no switch that turns that off. Nothing is retried here but the other hosts. */
#include <mysqld_error.h>
#include <string.h>

#include "password.h"
#include "store/mariadb.h"

#define PASSWORD_VARIABLE "VMFERRY_DATABASE_PASSWORD"
#define SYSTEM_CA         "/etc/ssl/certs/ca-certificates.crt"
#define ERROR_TLS         2026
#define CONNECT_TIMEOUT_S 5
/* Longer than the waits that the session below allows the server; then the host is gone. */
#define ANSWER_TIMEOUT_S 20
#define SLOW_TIMEOUT_S   7200

/* SERIALIZABLE: what a transaction read stays so until it ends, as with SQLite. A lock that
 * does not come soon is a deadlock that this node can't see. */
static const char session[] =
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT,"
    "NO_BACKSLASH_ESCAPES', tx_isolation = 'SERIALIZABLE', autocommit = 1, "
    "foreign_key_checks = 1, unique_checks = 1, innodb_lock_wait_timeout = 5, "
    "lock_wait_timeout = 10, net_write_timeout = 600, collation_connection = 'utf8mb4_nopad_bin'";

/* A read sees what any node of the cluster has committed before it. */
static const char cluster_session[] = "SET SESSION wsrep_sync_wait = 7";

static void start_library(void)
{
    mysql_library_init(0, NULL, NULL);
}

static int take_password(const struct store *store, char *password, size_t size, struct error **err)
{
    const char *variable = getenv(PASSWORD_VARIABLE);

    password[0] = '\0';
    if (store->place.password_file && *store->place.password_file)
        return password_read(store->place.password_file, password, size, err);
    if (variable && strlen(variable) >= size)
        return error_set(err, "%s is longer than %zu bytes", PASSWORD_VARIABLE, size - 1);
    if (variable)
        strcpy(password, variable);
    return 0;
}

static void set_number(MYSQL *mysql, enum mysql_option option, unsigned value)
{
    mysql_options(mysql, option, &value);
}

static int set_tls(MYSQL *mysql, const struct store *store, bool local, struct error **err)
{
    const char *ca = store->place.ca && *store->place.ca ? store->place.ca : NULL;
    const my_bool yes = 1;

    if (local && !ca)
        return 0;
    ca = ca ? ca : SYSTEM_CA;
    if (access(ca, R_OK) < 0)
        return error_set_errno(err, errno, "the database's CA certificates (database_ca), %s", ca);
    mysql_options(mysql, MYSQL_OPT_SSL_CA, ca);
    mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &yes);
    mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
    mysql_options(mysql, MARIADB_OPT_TLS_VERSION, "TLSv1.2,TLSv1.3");
    return 0;
}

static int set_options(MYSQL *mysql, const struct store *store, bool local, struct error **err)
{
    const struct mariadb *db = store->connection;
    unsigned answer = db->slow ? SLOW_TIMEOUT_S : ANSWER_TIMEOUT_S;

    set_number(mysql, MYSQL_OPT_CONNECT_TIMEOUT, CONNECT_TIMEOUT_S);
    set_number(mysql, MYSQL_OPT_READ_TIMEOUT, answer);
    set_number(mysql, MYSQL_OPT_WRITE_TIMEOUT, ANSWER_TIMEOUT_S);
    set_number(mysql, MYSQL_OPT_LOCAL_INFILE, 0); /* a server must not ask for our files */
    mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    /* None that hands the password over as it is. */
    mysql_options(mysql, MARIADB_OPT_RESTRICTED_AUTH,
                  "mysql_native_password,client_ed25519,caching_sha2_password,sha256_password,"
                  "auth_gssapi_client,parsec");
    return set_tls(mysql, store, local, err);
}

static int explain(struct store *store, const struct uri_host *host, unsigned code,
                   const char *message, struct error **err)
{
    const struct mariadb *db = store->connection;
    bool socket = db->uri.socket[0] || (strcmp(host->name, "localhost") == 0 && !host->port);
    const char *advice =
        code == ER_ACCESS_DENIED_ERROR
            ? "; the password is that of database_password_file or " PASSWORD_VARIABLE
        : code == ER_BAD_DB_ERROR
            ? "; make it with CREATE DATABASE, and give the user all rights on it"
            : "";

    store->failure = mariadb_failure(code, message);
    /* A certificate that is not right now will not be later; other errors of TLS are those
     * of a connection that was lost. */
    if (code == ERROR_TLS && (strcasestr(message, "certificate") || strstr(message, "required")))
        store->failure = STORE_OTHER;
    if (socket)
        return error_set(err, "%s: %s%s", store->path, message, advice);
    return error_set(err, "%s: %s port %u: %s%s", store->path, host->name,
                     host->port ? host->port : MYSQL_PORT, message, advice);
}

/* 0, -1, or -2 as mariadb_attach_host. */
static int log_in(struct store *store, MYSQL *mysql, const struct uri_host *host,
                  struct error **err)
{
    const struct mariadb *db = store->connection;
    const char *socket = db->uri.socket[0] ? db->uri.socket : NULL;
    /* With a port it is meant to be TCP, which "localhost" never is for the library. */
    bool tcp = !socket && (host->port || strcmp(host->name, "localhost") != 0);
    const char *name = tcp && strcmp(host->name, "localhost") == 0 ? "127.0.0.1" : host->name;
    char password[512];
    unsigned code;
    MYSQL *done;

    if (take_password(store, password, sizeof password, err) < 0)
        return -2;
    done = mysql_real_connect(mysql, name, db->uri.user, password, db->uri.database,
                              tcp ? (host->port ? host->port : MYSQL_PORT) : 0, socket,
                              CLIENT_FOUND_ROWS);
    explicit_bzero(password, sizeof password);
    if (done)
        return 0;
    code = mysql_errno(mysql);
    explain(store, host, code, mysql_error(mysql), err);
    return code == ER_ACCESS_DENIED_ERROR || code == ER_DBACCESS_DENIED_ERROR ||
                   code == ER_BAD_DB_ERROR
               ? -2
               : -1;
}

/* The value of the first row of SHOW …, or "". */
static int show(MYSQL *mysql, const char *sql, char *value, size_t size)
{
    MYSQL_RES *rows;
    MYSQL_ROW row;

    value[0] = '\0';
    if (mysql_query(mysql, sql) != 0 || !(rows = mysql_store_result(mysql)))
        return -1;
    row = mysql_fetch_row(rows);
    if (row && row[1])
        snprintf(value, size, "%s", row[1]);
    mysql_free_result(rows);
    return 0;
}

/* A node that is alone, or still copying the data, is none to work with. */
static int set_session(struct mariadb *db, MYSQL *mysql)
{
    char cluster[16], ready[16];

    if (mysql_query(mysql, session) != 0 ||
        show(mysql, "SHOW SESSION VARIABLES LIKE 'wsrep_on'", cluster, sizeof cluster) < 0)
        return -1;
    db->cluster = strcmp(cluster, "ON") == 0;
    if (!db->cluster)
        return 0;
    if (show(mysql, "SHOW STATUS LIKE 'wsrep_ready'", ready, sizeof ready) < 0)
        return -1;
    return strcmp(ready, "ON") == 0 ? mysql_query(mysql, cluster_session) : 1;
}

int mariadb_attach_host(struct store *store, int index, struct error **err)
{
    struct mariadb *db = store->connection;
    const struct uri_host *host = &db->uri.hosts[index];
    MYSQL *mysql = mysql_init(NULL);
    int r = -2;

    store->failure = STORE_OTHER;
    if (!mysql)
        return error_set_errno(err, ENOMEM, "connecting to MariaDB");
    if (set_options(mysql, store, uri_host_is_local(&db->uri, host), err) == 0)
        r = log_in(store, mysql, host, err);
    if (r == 0 && (r = set_session(db, mysql)) != 0) {
        unsigned code = r > 0 ? ER_UNKNOWN_COM_ERROR : mysql_errno(mysql);

        explain(store, host, code,
                r > 0 ? "this node is not a part of its cluster now" : mysql_error(mysql), err);
        r = -1;
    }
    if (r < 0) {
        mysql_close(mysql);
        return r;
    }
    db->mysql = mysql;
    db->host = index;
    return 0;
}

int mariadb_attach(struct store *store, struct error **err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct mariadb *db = store->connection;
    int first = db->host;

    if (db->mysql)
        return 0;
    pthread_once(&once, start_library);
    for (int i = 0;; i++) {
        int r = mariadb_attach_host(store, (first + i) % db->uri.host_count, err);

        if (r == 0)
            return 0;
        if (r < -1 || i == db->uri.host_count - 1)
            return -1;
        error_clear(err);
    }
}

void mariadb_detach(struct store *store)
{
    struct mariadb *db = store->connection;

    if (db->mysql)
        mysql_close(db->mysql);
    db->mysql = NULL;
}
