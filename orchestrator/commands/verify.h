/* What `vmferry verify` consists of: verify.c reads the arguments and one point, verify-print.c
 * tells of it, verify-repair.c repairs it, verify-all.c reads all points in turn. */
#ifndef VMFERRY_COMMAND_VERIFY_H
#define VMFERRY_COMMAND_VERIFY_H

#include "bar.h"
#include "commands/context.h"
#include "commands/options.h"
#include "job/check.h"
#include "job/connect.h"
#include "job/repair.h"

struct verify_arguments {
    struct common_options common;
    const char *vm; /* NULL: not given */
    uint64_t point;
    uint64_t age;  /* seconds; only points that were not verified for so long */
    uint64_t rate; /* bytes/s */
    bool rate_given;
    bool age_given;
    bool all;
    bool source;
    bool repair;
    enum bar_style style;
};

/* All that one run reads and finds of a point. */
struct verification {
    struct context *context;
    struct store_vm vm;
    struct replica_point point;
    int reading;         /* the lock of its images, or -1 */
    struct vm_spec spec; /* only with --source */
    struct check_disk *replica;
    struct check_disk *source;   /* NULL without --source */
    struct repair_disk *repairs; /* NULL: nothing was repaired */
    atomic_uint_fast64_t rate;
    bool passed;
};
#define VERIFICATION_INIT                                                                          \
    {                                                                                              \
        .reading = -1                                                                              \
    }
void verification_free(struct verification *v);

/* Point `number` (0: the newest), so that nobody changes its images meanwhile. */
int verification_load(struct verification *v, unsigned number, struct error **err);
/* Read all of it, and write down what came of that. */
int verification_read(struct verification *v, struct bar *bar, struct error **err);

int verify_print(const struct verification *v, bool json, struct error **err);

/* What was found to be damaged; then it is read again. */
int verify_repair(struct verification *v, struct bar *bar, struct error **err);

int verify_all(struct context *context, const struct verify_arguments *arguments,
               struct error **err);

#endif
