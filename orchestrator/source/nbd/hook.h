/* A source's hook: the operator's program that does with a VM what a description can't. It is
 * started as COMMAND VERB VM-NAME VM-UUID [MORE…], without a shell, and says how it went by
 * its exit status: 0 done, 69 (EX_UNAVAILABLE) can't be done with this VM, else failed, and then
 * the last line of its stderr says why. vmferry-source(1) has the verbs. */
#ifndef VMFERRY_NBD_HOOK_H
#define VMFERRY_NBD_HOOK_H

#include <stdatomic.h>

#include "source/nbd/options.h"
#include "source/source.h"

struct hook_call {
    const char *verb;
    const char *vm_name;
    const char *uuid;
    const char *file;         /* that describes the VM */
    const char *more[3];      /* further arguments, NULL ends them */
    const char *moment;       /* begin and end: its name; else NULL */
    const char *change_ids;   /* begin: what the replica has, as source.h says; else NULL */
    const atomic_int *cancel; /* non-zero: it is ended, with ERROR_PAUSED; NULL: never */
};

/* What it wrote to stdout goes to *out (the caller's to free; NULL: nobody wants it), what it
 * wrote to stderr although it succeeded to settings->say. Exit status 69: errnum ENOTSUP. */
int hook_run(const struct nbd_options *options, const struct source_settings *settings,
             const struct hook_call *call, char **out, struct error **err);

#endif
