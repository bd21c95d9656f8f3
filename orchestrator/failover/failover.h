/* Test failover: boot a restore point on overlays, in a network of its own, see it
 * come up, and leave no trace but the evidence. The source and the point are never
 * written; replication may go on meanwhile, and other tests of the same VM beside it.
 *
 * Everything that is made is named in failover_jobs before it is made:
 *   STATE/failovers/ID/disk-KEY.qcow2   one overlay a disk
 *   STATE/failovers/ID/console.log      the guest's serial console; stays as evidence, as does
 *   STATE/failovers/ID/screen.png       its screen at the verdict, and before it (pictures.h)
 *   libvirt network and domain          network, domain_name, domain_uuid, uri of the row
 * So a rollback finds it all again, whatever died when; it may be repeated. */
#ifndef VMFERRY_FAILOVER_H
#define VMFERRY_FAILOVER_H

#include <limits.h>

#include "failover/check.h"
#include "failover/evidence.h"
#include "failover/netmap.h"
#include "failover/override.h"
#include "store/store.h"

/* failover_jobs.state: what was about to be done when it was written. */
#define FAILOVER_OVERLAYS     "making overlays"
#define FAILOVER_CONVERTING   "converting"
#define FAILOVER_STORAGE      "looking at storage"
#define FAILOVER_NETWORK      "making network"
#define FAILOVER_DOMAIN       "starting domain"
#define FAILOVER_BOOTING      "booting"
#define FAILOVER_CHECKING     "checking"
#define FAILOVER_BOOTED       "booted"
#define FAILOVER_NOT_BOOTED   "not booted"
#define FAILOVER_CHECK_FAILED "check failed" /* booted, but */
#define FAILOVER_ROLLING_BACK "rolling back"
#define FAILOVER_ROLLED_BACK  "rolled back"
#define FAILOVER_KEPT         "rolled back, kept" /* its disks are there: "live-ID" */

struct failover_options {
    unsigned point;                  /* its number, 0: the newest */
    unsigned kept;                   /* instead: what live failover of this id left; 0: none */
    const char *expect;              /* extended regular expression for a console line, or NULL */
    unsigned timeout_s;              /* for the boot */
    unsigned keep_s;                 /* rolled back so long after its verdict; 0: when asked to */
    const char *virt_type;           /* auto, kvm, qemu */
    const char *uri;                 /* of libvirt; "": the default */
    struct net_target network;       /* of all NICs */
    const struct netmap *networks;   /* each NIC by its mapping, instead; NULL */
    bool dhcp;                       /* in the isolated network */
    const struct override *override; /* or NULL */
    const char *conversion;          /* the engine, see convert/convert.h; NULL: auto */
    const char *virtio_win;          /* Windows' drivers, or NULL */
    const char *virt_tools;          /* where virt-v2v's rhsrvany.exe is, or NULL */
    const struct checks *checks;     /* once it has booted; or NULL */
    unsigned check_timeout_s;        /* for all of them */
    bool roll_back;                  /* as soon as there is a verdict */
    atomic_int *cancel;              /* not 0: taken back, and an error; or NULL */
    /* Right before the domain is started, for the last time that it can be stopped; or NULL. */
    int (*before_start)(void *opaque, struct error **err);
    void *opaque;
    void (*say)(const char *line); /* what happens, for people; or NULL */
    evidence_tick *tick;           /* while it boots; or NULL */
};

struct failover_result {
    struct store_failover failover;
    unsigned point;
    unsigned kept;         /* on top of it what this live failover left; 0: nothing */
    const char *virt_type; /* what it ran under */
    char console[PATH_MAX];
    char screen[PATH_MAX]; /* PNG; "": there is none */
    struct evidence evidence;
    bool passed;   /* it booted, and no check failed */
    char why[640]; /* it did not; "" */
};

/* Boot `vm` and wait for its verdict. That it did not pass is no error: the domain is
 * left for a look at it. On an error all that was made is removed again. */
int failover_test(struct store *store, const char *state_dir, const struct store_vm *vm,
                  const struct failover_options *options, struct failover_result *result,
                  struct error **err);

/* The XML of the domain that a test would make, but for its uuid and the names that come
 * from that; nothing is made. The caller's to free. */
int failover_print_xml(struct store *store, const char *state_dir, const struct store_vm *vm,
                       const struct failover_options *options, char **xml, struct error **err);

/* Remove what open tests of `vm` made: all of them, or the one of this id. Their number is
 * in *count; 0 is no error. One that another process works on is left, which is an error. */
int failover_rollback(struct store *store, const char *state_dir, const struct store_vm *vm,
                      int64_t id, size_t *count, struct error **err);

/* Roll back the tests whose process died before it had a verdict, and those that were to be
 * kept until now; of one VM, or of all (NULL). Those that live are left alone. The error is
 * the last one: the others are done. */
int failover_recover(struct store *store, const char *state_dir, const struct store_vm *vm,
                     size_t *count, struct error **err);

/* It was not rolled back on this host yet. */
bool failover_is_standing(const char *state_dir, int64_t id);

/* "live-7": how --point and `point list` name what live failover `id` left. Returns `name`. */
#define FAILOVER_KEPT_NAME 32
const char *failover_kept_name(int64_t id, char name[FAILOVER_KEPT_NAME]);

/* The picture of its screen at the verdict. */
void failover_screen(const char *state_dir, int64_t id, char path[PATH_MAX]);
/* What a conversion said. */
void failover_conversion_log(const char *state_dir, int64_t id, char path[PATH_MAX]);
/* The console log of failover `id`. */
void failover_console(const char *state_dir, int64_t id, char path[PATH_MAX]);

#endif
