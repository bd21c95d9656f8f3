/* The way in: every replica disk is written through the export map, under a lease.
 * What comes in: an image and the job's lease. What goes out: an NBD URI that only
 * this lease can write through. The row in vm_export_mappings is the truth; the
 * map file, STATE/exports/migration-vm-<vm uuid>-disk<unit>, is its image and is
 * written after it. */
#ifndef VMFERRY_EXPORT_H
#define VMFERRY_EXPORT_H

#include <limits.h>
#include <sys/types.h>

#include "run-socket.h"
#include "store/store.h"

#define LEASE_TEXT 64

/* Random: no other job has the same. */
int export_new_lease(char lease[LEASE_TEXT], struct error **err);

/* What to export, and which row and map file belong to it. */
struct export_target {
    const struct store_vm *vm;
    int key;
    int unit;
    const char *image; /* relative to the state directory, or absolute */
    const char *format;
};

/* The map's folder, made when it is missing. */
int export_folder(const char *state_dir, char path[PATH_MAX], struct error **err);

/* Only `lease` may write from now on; other writers are cut off by the plugin. */
int export_grant(struct store *store, const char *state_dir, const struct export_target *target,
                 const char *lease, struct error **err);
/* Nobody may write: the image is offered read-only. */
int export_revoke(struct store *store, const char *state_dir, const struct export_target *target,
                  struct error **err);

/* A server of our own for one job, on a unix socket in STATE/run; it ends with us. */
struct export_server {
    pid_t pid;
    int log;                /* what it and its nbdkits say */
    char exports[PATH_MAX]; /* the map's folder */
    struct run_socket socket;
    bool joined; /* another process runs it */
};
#define EXPORT_SERVER_INIT                                                                         \
    {                                                                                              \
        .pid = -1, .log = -1, .socket = RUN_SOCKET_INIT                                            \
    }

/* Call it from a thread that lives as long as the server shall. vm: whose disks it serves; NULL:
 * those of all. */
int export_server_start(const char *state_dir, const struct store_vm *vm,
                        struct export_server *server, struct error **err);
/* Use one that another process of ours runs: the address of its socket. */
int export_server_join(const char *address, struct export_server *server, struct error **err);
/* Start it again if it has died. */
int export_server_keep(struct export_server *server, struct error **err);
/* Add the last error that the server reported to one that may come from it. */
void export_server_explain(const struct export_server *server, struct error **err);
void export_server_stop(struct export_server *server);
#define CLEANUP_EXPORT_SERVER CLEANUP(export_server_stop)

/* nbd+unix:///NAME@LEASE?socket=… The caller frees it; NULL only without memory. */
char *export_uri(const struct export_server *server, const struct export_target *target,
                 const char *lease);

#endif
