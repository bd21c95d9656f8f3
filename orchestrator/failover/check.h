/* What a test VM must do once it has booted, besides booting. What comes in: checks as operators
 * write them, and the domain. What goes out: for each its result, with the seconds after the boot
 * and what was seen, as JSON for the evidence. They change nothing but what their commands do.
 *
 *   tcp:PORT             something takes a TCP connection, on any NIC
 *   tcp:PORT@nicN        on this NIC, counted from 0 in the source's order
 *   tcp:PORT@A.B.C.D/N   on this address, whose network has this prefix (24)
 *   command:PATH ARG…    the guest agent runs it, it exits with 0; "…" or '…' holds blanks */
#ifndef VMFERRY_FAILOVER_CHECK_H
#define VMFERRY_FAILOVER_CHECK_H

#include <json.h>
#include <netinet/in.h>
#include <stdatomic.h>

#include "failover/domain.h"

#define CHECK_WHY 512

enum check_kind { CHECK_TCP, CHECK_COMMAND };

struct check {
    enum check_kind kind;
    char *text; /* as it was written */
    unsigned port;
    int nic;                /* -1: any */
    struct in_addr address; /* 0.0.0.0: the NIC's */
    unsigned prefix;        /* of that address */
    char **argv;            /* of a command; NULL at its end */
};

struct checks {
    struct check *list;
    size_t count;
};

/* One check. ERROR_USAGE when it is none. */
int checks_add(struct checks *checks, const char *text, struct error **err);
/* Several: a comma before "tcp:" or "command:" is between two. "" and "none": no check. */
int checks_add_list(struct checks *checks, const char *text, struct error **err);
void checks_free(struct checks *checks);
#define CLEANUP_CHECKS CLEANUP(checks_free)

/* Where the guest runs. */
struct check_place {
    virDomainPtr domain;
    bool remote;          /* not on this host */
    bool dhcp;            /* it gives addresses out */
    const char *isolated; /* the bridge of a network that is this test's alone; "": it has none */
    const struct domain_nic *nics;
    size_t nic_count;
};

/* All of them, again and again until each has passed or the time is over; each one once at least.
 * Returns how many did not pass; `why` is of the first of them. *results is a JSON array, the
 * caller's to put. `cancel` may be NULL. */
size_t checks_run(const struct checks *checks, const struct check_place *place, unsigned timeout_s,
                  atomic_int *cancel, json_object **results, char why[CHECK_WHY]);

/* What one check knows while it is tried; the two kinds fill it in. */
struct check_try {
    const struct check *check;
    bool done, passed;
    bool last;     /* there is no other try */
    bool hopeless; /* another try would not help */
    unsigned tries;
    double seconds;      /* after the boot: when it passed, or was given up */
    char way[16];        /* network, agent: how it was found out */
    char why[CHECK_WHY]; /* what was seen, or why it did not pass */
    int64_t process;     /* a command that runs in the guest; 0: none */
    int exit_code;       /* of a command; -1: it did not end */
    char *output;        /* of a command; or NULL */
};
void check_tcp(struct check_try *try, const struct check_place *place);
void check_command(struct check_try *try, const struct check_place *place);

#endif
