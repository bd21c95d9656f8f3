/* Ends of a copy on the command line: an URI, a file, or a command in brackets, which has
 * options of its own. What comes in: argv; what goes out: an end as the engine reads it
 * (copy/server.h).
 *
 *     while ((c = ends_option(&ends, argc, argv, options)) != -1 || optind < argc)
 *         if (c == -1) end = ends_take(argc, argv, err);
 *         else switch (c) …                                                                */
#ifndef VMFERRY_ENDS_H
#define VMFERRY_ENDS_H

#include <getopt.h>
#include <stdbool.h>

#include "error.h"

/* All zero at first. */
struct ends {
    bool no_options; /* "--" was there, as nbdcopy wants it before a bracket */
};

/* What getopt_long() says of the next option (with -h, and ':' for a missing value); -1: the
 * word at optind is an end, or there are no more. */
int ends_option(struct ends *ends, int argc, char *argv[], const struct option *options);

/* The end at optind: one word, or all from "[" to its "]". The caller frees it. */
char *ends_take(int argc, char *argv[], struct error **err);

#endif
