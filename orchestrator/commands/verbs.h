/* The verbs of a command that works on the store: `vmferry pool add …`. What comes in: the table
 * of what it can do, and the words that were given. What goes out: the verb's own result, or
 * ERROR_USAGE that says what there is. Knows no options: those are parsed before. */
#ifndef VMFERRY_VERBS_H
#define VMFERRY_VERBS_H

#include <stddef.h>

#include "commands/context.h"
#include "commands/options.h"

struct verb {
    const char *name;
    int least, most;   /* words that follow it */
    const char *usage; /* "vmferry pool show NAME" */
    /* `words`: those that follow it, and then NULL. */
    int (*run)(struct context *context, void *arguments, char *words[], struct error **err);
};

/* argv[optind] is the verb; `arguments` is passed on to it. */
int run_verb(const struct verb verbs[], size_t count, const struct common_options *common,
             void *arguments, int argc, char *argv[], struct error **err);

#endif
