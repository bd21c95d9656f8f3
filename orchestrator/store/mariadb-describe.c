/* What `vmferry db status` tells about a server and its cluster; see mariadb.h. */
#include <string.h>

#include "store/mariadb.h"

static void describe_host(const struct uri *uri, const struct uri_host *host, char *text,
                          size_t size)
{
    if (uri->socket[0])
        snprintf(text, size, "%s", uri->socket);
    else if (host->port)
        snprintf(text, size, "%s:%u", host->name, host->port);
    else
        snprintf(text, size, "%s", host->name);
}

struct pair {
    char name[64], value[1024];
};

static void read_pair(struct statement *s, void *record)
{
    struct pair *pair = record;

    take_text(s, pair->name, sizeof pair->name);
    take_text(s, pair->value, sizeof pair->value);
}

static int describe_cluster(struct store *store, store_tell tell, void *opaque, struct error **err)
{
    static const char *const told[] = { "cluster_name", "cluster_size", "cluster_status",
                                        "local_state_comment", "incoming_addresses" };
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT lower(VARIABLE_NAME), VARIABLE_VALUE FROM "
                         "information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME LIKE 'wsrep!_%' "
                         "ESCAPE '!' ORDER BY VARIABLE_NAME");
    CLEANUP_FREE struct pair *pairs = NULL;
    size_t count;

    if (read_all(&s, read_pair, sizeof *pairs, &pairs, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        for (size_t j = 0; j < count; j++) {
            if (strcmp(pairs[j].name + strlen("wsrep_"), told[i]) == 0)
                tell(opaque, told[i], pairs[j].value);
        }
    }
    return 0;
}

/* Over a handle of its own for each: this one stays as it is. */
static void describe_hosts(struct store *store, store_tell tell, void *opaque)
{
    const struct uri *uri = &((struct mariadb *)store->connection)->uri;

    for (int i = 0; i < uri->host_count; i++) {
        struct mariadb db = { .uri = *uri };
        struct store probe = {
            .driver = store->driver, .connection = &db, .place = store->place, .path = store->path
        };
        CLEANUP_ERROR struct error *reason = NULL;
        char name[URI_TEXT + 16];
        bool reachable = mariadb_attach_host(&probe, i, &reason) == 0;

        describe_host(uri, &uri->hosts[i], name, sizeof name);
        tell(opaque, name, reachable ? "reachable" : "not reachable");
        mariadb_detach(&probe);
    }
}

int mariadb_describe(struct store *store, store_tell tell, void *opaque, struct error **err)
{
    const struct mariadb *db = store->connection;
    char node[URI_TEXT + 16];

    if (mariadb_attach(store, err) < 0)
        return -1;
    describe_host(&db->uri, &db->uri.hosts[db->host], node, sizeof node);
    tell(opaque, "server", mysql_get_server_info(db->mysql));
    tell(opaque, "node", node);
    tell(opaque, "tls", mysql_get_ssl_cipher(db->mysql) ? mysql_get_ssl_cipher(db->mysql) : "no");
    if (db->cluster && describe_cluster(store, tell, opaque, err) < 0)
        return -1;
    if (db->uri.host_count > 1)
        describe_hosts(store, tell, opaque);
    return 0;
}
