/* `vmferry source add nbd`: its options. What comes in: the command line. What goes out: a
 * source's row. */
#ifndef VMFERRY_SOURCE_NBD_H
#define VMFERRY_SOURCE_NBD_H

#include "source/nbd/options.h"
#include "store/store.h"

/* Long options and where their values go. */
#define NBD_OPTIONS                                                                                \
    { "file", required_argument, NULL, 'f' }, { "hook", required_argument, NULL, OPTION_HOOK },    \
    {                                                                                              \
        "hook-timeout", required_argument, NULL, OPTION_HOOK_TIMEOUT                               \
    }
enum { OPTION_HOOK = 2100, OPTION_HOOK_TIMEOUT };

struct nbd_arguments {
    bool given; /* any of them */
    const char *file;
    struct nbd_options options;
};

/* 1: it was one of ours. 0: it was not. -1: its value is wrong. */
int nbd_option(int c, const char *value, struct nbd_arguments *arguments, struct error **err);

/* location and options of the row. */
int nbd_describe(const struct nbd_arguments *arguments, struct store_source *source,
                 struct error **err);

#endif
