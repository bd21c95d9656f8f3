/* How the data of a frozen disk is read: by an nbdkit of our own, over one of three ways.
 *
 *   vddk    VMware's library, for every disk; not in Debian, and proprietary
 *   https   the datastore's files over the server that we are logged in to
 *   ssh     the same files from the ESXi host's file system
 *
 * What comes in: a disk of a snapshot, and how to reach its server. What goes out: an NBD
 * server on a socket in STATE/run, which ends with us. https and ssh read NAME-flat.vmdk,
 * which stands still while our snapshot stands; a disk that had a snapshot before ours has
 * its data in sparse files on top of that, which only vddk understands. */
#ifndef VMFERRY_VSPHERE_TRANSPORT_H
#define VMFERRY_VSPHERE_TRANSPORT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "run-socket.h"

enum transport { TRANSPORT_AUTO, TRANSPORT_VDDK, TRANSPORT_HTTPS, TRANSPORT_SSH };
#define TRANSPORT_COUNT 4

const char *transport_name(enum transport transport);
int transport_parse(const char *name, enum transport *transport, struct error **err);

/* The operator's; "" where nothing was said. */
struct transport_options {
    enum transport wanted;
    char vddk_libdir[PATH_MAX];
    char vddk_transports[128]; /* "nbdssl:nbd" */
    char vddk_compression[16]; /* none, zlib, fastlz, skipz */
    char ssh_host[256];
    char ssh_port[16];
    char ssh_user[128];
    char ssh_identity[PATH_MAX];
    char ssh_known_hosts[PATH_MAX];
};

/* The server, for as long as the session. Nothing secret: files of mode 0600 hold that. */
struct transport_access {
    const char *server; /* host[:port] */
    const char *user;
    const char *esxi;          /* the host that runs the VM, for ssh */
    const char *ca_file;       /* PEM that verifies the server; "": the system's */
    const char *no_cas;        /* an empty directory */
    const char *thumbprint;    /* SHA-1 of its certificate, for vddk */
    const char *no_thumbprint; /* why there is none; NULL or "": there is, or nobody looked */
    const char *cookie_file;   /* holds "vmware_soap_session=…" */
    const char *password_file;
    const char *state_dir;
};

struct transport_disk {
    int key;
    uint64_t capacity;
    const char *vm;         /* moref ids: "vm-62" */
    const char *snapshot;   /* "snapshot-76" */
    const char *uuid;       /* of the VM, for the socket's name */
    const char *datacenter; /* as dcPath wants it: "DC0", "folder/DC0", "ha-datacenter" */
    const char *file;       /* "[ds1] app01/app01.vmdk" */
    bool flat;              /* NAME-flat.vmdk is beside it */
    unsigned parents;       /* length of the chain below it */
    const char *map;        /* change map for the cbt filter; "": none */
    bool map_is_used;       /* it names what is in use: all else is zero. Else what changed */
};

/* Whether a disk can be read this way at all, as far as can be told without trying. */
bool transport_fits(enum transport transport, const struct transport_options *options,
                    const struct transport_access *access, const struct transport_disk *disk,
                    char why[512]);

/* What would be used for it: `text` says which and why not the better ones, or why there is
 * none. Nothing is tried over the network. */
bool transport_possible(const struct transport_options *options,
                        const struct transport_access *access, const struct transport_disk *disk,
                        char text[1024]);
/* nbdkit's vddk plugin is there and finds the library. */
bool transport_has_vddk(const struct transport_options *options, char why[512]);

/* transport-command.c: a command line, to be freed by command_free(). */
struct command_line {
    char *words[64]; /* NULL at the end */
    size_t count;
    bool failed; /* out of memory, or too many */
};
int transport_command(enum transport transport, const struct transport_options *options,
                      const struct transport_access *access, const struct transport_disk *disk,
                      struct command_line *command, struct error **err);
void command_free(struct command_line *command);
#define CLEANUP_COMMAND CLEANUP(command_free)

/* transport-server.c */
struct transport_server {
    pid_t pid;
    int log;         /* what nbdkit says */
    off_t log_began; /* what it said while it was starting is before that */
    struct run_socket socket;
    enum transport transport;
};
#define TRANSPORT_SERVER_INIT                                                                      \
    {                                                                                              \
        .pid = -1, .log = -1, .socket = RUN_SOCKET_INIT                                            \
    }

/* Start nbdkit, and open the disk through it once: it answers and has its capacity. Call it
 * from a thread that lives as long as the server shall. */
int transport_start(enum transport transport, const struct transport_options *options,
                    const struct transport_access *access, const struct transport_disk *disk,
                    struct transport_server *server, struct error **err);
void transport_stop(struct transport_server *server);
/* nbdkit's last error since then; "" when there was none. */
void transport_complaint(const struct transport_server *server, char *text, size_t size);

/* The one that was asked for, or with auto the best that works. `said` tells which and why,
 * "" when it was asked for. */
int transport_serve(const struct transport_options *options, const struct transport_access *access,
                    const struct transport_disk *disk, struct transport_server *server,
                    char said[1024], struct error **err);

#endif
