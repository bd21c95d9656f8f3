/* What tests and live failovers share: a restore point becomes a running guest that is watched.
 * What comes in: a VM, options, and the steps of one kind of failover. What goes out: a domain
 * that runs, evidence of how it came up, and before each step its name in failover_jobs.state.
 * It never touches the source, and never takes anything back: that is failover_undo(). */
#ifndef VMFERRY_FAILOVER_BOOT_H
#define VMFERRY_FAILOVER_BOOT_H

#include <json.h>
#include <regex.h>

#include "failover/failover.h"
#include "failover/pictures.h"
#include "failover/plan.h"

struct boot;

struct boot_step {
    const char *state; /* written down before it is done */
    int (*run)(struct boot *boot, struct error **err);
    bool tells; /* it takes its time, and says what it does */
};

/* One kind of failover. */
struct boot_kind {
    const char *name;              /* failover_jobs.kind */
    const char *title;             /* the domain's, before the VM's name: "test of" */
    bool persistent;               /* its host may start the domain again, without vmferry */
    const struct boot_step *steps; /* after its row is written */
    size_t step_count;
};

/* Everything about one boot while it is prepared. */
struct boot {
    const struct boot_kind *kind;
    struct store *store;
    const char *state_dir;
    const struct store_vm *vm;
    const struct failover_options *options;
    struct failover_result *result; /* result->failover is the row */
    struct failover_plan plan;
    regex_t expect;
    bool expects;
    bool remote;  /* libvirt is not on this host */
    bool by_path; /* libvirt opens the images */
    virConnectPtr connection;
    virDomainPtr domain;
    char title[STORE_NAME + 64];
    int64_t began_ns;         /* progress_now_ns() of boot_prepare() */
    double rto_s;             /* from there until it had booted */
    struct pictures pictures; /* of its screen */
    json_object *checks;      /* their results; NULL: there are none */
    json_object *more;        /* what steps want in the evidence, by its name there; or NULL */
};

void boot_free(struct boot *boot);
#define CLEANUP_BOOT CLEANUP(boot_free)

/* options->expect, for boot_watch(). */
int boot_compile(struct boot *boot, struct error **err);
/* What can be refused is refused here, before anything is made or written down: the plan, the
 * names, and the XML as it will be. */
int boot_prepare(struct boot *boot, struct error **err);
/* The same failover, of the point that is the newest by now, say. */
int boot_plan_again(struct boot *boot, struct error **err);
/* The row is written: where its files are. */
void boot_place(struct boot *boot);
/* Images at and below a point change while one of them is merged away. A merge looks for open
 * failovers in the transaction that begins it, so that one of the two always sees the other. In
 * the transaction that ties the row to its point. */
int boot_refuse_going(const struct boot *boot, struct error **err);
/* The domain's XML as it would be made; the caller's to free. Nothing is made or asked. */
int boot_print_xml(struct boot *boot, char **xml, struct error **err);

/* All steps of its kind, one after another; then its state is FAILOVER_BOOTING. */
int boot_run(struct boot *boot, struct error **err);
int boot_set_state(struct boot *boot, const char *state, struct error **err);

/* It could not be run: all that was made is removed. The error that says why stays the error. */
void boot_take_back(struct boot *boot, const struct error *why);

/* The steps. */
int boot_make_overlays(struct boot *boot, struct error **err);
int boot_convert(struct boot *boot, struct error **err); /* boot-convert.c */
int boot_check_storage(struct boot *boot, struct error **err);
int boot_make_network(struct boot *boot, struct error **err);
int boot_start_domain(struct boot *boot, struct error **err);

/* boot-watch.c */
/* Until it has booted and its checks are through, or it is clear that it has not: the verdict in
 * *result. An error when it was cancelled. */
int boot_watch(struct boot *boot, struct error **err);
/* The verdict, pictures, and what the guest says, in the row's evidence. */
int boot_keep_evidence(struct boot *boot, struct error **err);

#endif
