/* `vmferry failover test VM`, and the options that failovers share. Arguments in, a verdict out. */
#ifndef VMFERRY_FAILOVER_TEST_H
#define VMFERRY_FAILOVER_TEST_H

#include "commands/context.h"
#include "commands/failover-drill.h"
#include "commands/options.h"
#include "failover/failover.h"

struct failover_arguments {
    struct common_options common;
    const char *point;
    const char *timeout;
    const char *virt_type;
    const char *expect;
    const char *keep;
    const char *network;
    const char *connect;
    const char *id;
    const char *after;
    const char *check_timeout;
    const char *conversion;
    const char *virtio_win;
    bool dhcp;
    bool print_xml;
    bool roll_back;
    bool checks_given;
    bool all;
    const char *parallel;
    const char *output;
    struct drill_request drill;
    const char *words[DRILL_WORDS_MAX]; /* options of tests as they were given; ours to free */
    size_t word_count;
    struct override override;
    struct checks checks;
    /* of live failovers and their rollback: see failover-live.h */
    const char *max_downtime;
    const char *shutdown_timeout;
    bool allow_power_off, source_lost, source_is_off, dry_run, yes;
    bool discard, leave_off;
};

/* Numbers and durations as options have them; ERROR_USAGE names the option. */
int failover_number(const char *text, const char *what, uint64_t least, uint64_t most,
                    unsigned *out, struct error **err);
int failover_duration(const char *text, const char *what, unsigned *out, struct error **err);

/* The option, then the environment, then vmferry.conf. */
const char *failover_virt_type(const struct failover_arguments *arguments,
                               const struct config *config);
/* All that is given, with the defaults of vmferry.conf. It points into both. */
int failover_options(const struct failover_arguments *arguments, const struct config *config,
                     struct failover_options *options, struct error **err);

int failover_test_verb(struct context *context, const struct store_vm *vm,
                       const struct failover_arguments *arguments, struct error **err);

#endif
