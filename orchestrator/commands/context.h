/* What most commands start with: the configuration file, the state directory and
 * the store in it. */
#ifndef VMFERRY_CONTEXT_H
#define VMFERRY_CONTEXT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "job/space.h"
#include "job/throttle.h"
#include "store/store.h"

/* vmferry.conf, every key optional; vmferry.conf(5) explains them. A new key is a
 * field here and a row in the table of config.c. */
struct config {
    char state[PATH_MAX];       /* [general] state */
    char database[STORE_PLACE]; /* [general] database: "" is a file in the state directory */
    char database_password_file[PATH_MAX];
    char database_ca[PATH_MAX];
    uint64_t rate;                /* [replicate] rate: bytes/s over all disks, 0: unlimited */
    uint64_t parallel_disks;      /* [replicate] parallel_disks: copied at the same time */
    uint64_t connections;         /* [replicate] connections: per NBD end, 0: chosen */
    bool verify;                  /* [replicate] verify: re-read what was written */
    char pool[STORE_NAME];        /* [replicate] pool: of first copies, "": the state directory */
    char base[16];                /* [replicate] base: raw, qcow2 */
    struct space_reserve reserve; /* [replicate] reserve: of the target, stays free */
    char cbt_lost[16];            /* [replicate] cbt_lost: resync, full, fail */
    char keep[STORE_NAME];        /* [retention] keep: of VMs without rules of their own */
    uint64_t scrub_rate;          /* [verify] rate: bytes/s of `verify --all`, 0: unlimited */
    char virt_type[16];           /* [failover] virt_type: auto, kvm, qemu */
    char conversion[16];          /* the engine: auto, v2v, native, none */
    char virtio_win[PATH_MAX];
    char virt_tools[PATH_MAX];
    /* [limits] total, per_source, per_host, per_target: jobs that run at once; 0: any number */
    uint64_t limit_total, limit_source, limit_host, limit_target;
    char windows[THROTTLE_TEXT]; /* [throttle] window: see job/throttle.h */
    char uri[STORE_PATH];        /* [failover] uri: of libvirt; "": the default */
    uint64_t boot_timeout;       /* [failover] boot_timeout: seconds */
    uint64_t check_timeout;      /* [failover] check_timeout: seconds */
    char checks[STORE_TEXT];     /* [failover] checks */
    char log_level[256];         /* [log] level: as --log-level; "": the default */
    uint64_t lease_seconds;      /* [jobs] lease_seconds: of a worker without a sign of life */
};

struct context {
    struct config config;
    char state_dir[PATH_MAX]; /* absolute */
    struct store *store;
};

/* Read `path`, or the default place (which may be missing) when it is NULL:
 * $VMFERRY_CONFIG, /etc/vmferry/vmferry.conf for root, else
 * $XDG_CONFIG_HOME/vmferry/vmferry.conf. Errors name file and line. */
int config_load(const char *path, struct config *config, struct error **err);

/* A size as nbdkit writes them (size.h); ERROR_USAGE when it is none. */
int parse_size(const char *text, uint64_t *bytes, struct error **err);

/* Load the configuration and open the state directory, made when missing:
 * `state_option` (--state, or NULL), then VMFERRY_STATE, then the configuration's,
 * then /var/lib/vmferry for root and $XDG_STATE_HOME/vmferry for others. Its database
 * is VMFERRY_DATABASE, or the configuration's, or the file vmferry.db in there. */
int context_open(const char *state_option, struct context *context, struct error **err);
/* As context_open, but the database is not brought up to date. */
int context_connect(const char *state_option, struct context *context, struct error **err);
void context_close(struct context *context);
#define CLEANUP_CONTEXT CLEANUP(context_close)

#endif
