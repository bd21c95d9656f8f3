/* What the commands' option tables share.
 *
 *     static const struct option options[] = { { "force", no_argument, NULL, 'f' },
 *                                              COMMON_OPTIONS };
 *     while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
 *         switch (c) {
 *         case 'f': …
 *         default: if (common_option(c, argv, &common, err) < 0) return -1;
 *         }
 *     if (common.help) return print_help(help);                                    */
#ifndef VMFERRY_OPTIONS_H
#define VMFERRY_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>

#include "error.h"

struct json_object;

struct common_options {
    const char *state; /* NULL: not given */
    bool json;
    bool help;
};

enum { OPTION_STATE = 1000, OPTION_JSON, OPTION_HELP };

#define COMMON_OPTIONS                                                                             \
    { "state", required_argument, NULL, OPTION_STATE },                                            \
        { "json", no_argument, NULL, OPTION_JSON }, { "help", no_argument, NULL, OPTION_HELP },    \
    {                                                                                              \
        NULL, 0, NULL, 0                                                                           \
    }

/* One of COMMON_OPTIONS, or ERROR_USAGE that names the wrong option. */
int common_option(int c, char *argv[], struct common_options *common, struct error **err);

/* ERROR_USAGE for what getopt_long() said is '?' or ':'. */
int wrong_option(int c, char *argv[], struct error **err);

/* Print to stdout; returns 0, for `return print_help(…)`. */
int print_help(const char *text);

/* Print the object on stdout and put it. An error when stdout can't take it. */
int print_json(struct json_object *object, struct error **err);

/* { KIND: NAME, DONE: true } on stdout, of what else has nothing to say. */
int print_done(const char *kind, const char *name, const char *done, struct error **err);

/* `text` is one of the words in "a|b|c". */
bool is_one_of(const char *words, const char *text);
/* The same of the value of --OPTION, else ERROR_USAGE. */
int check_word(const char *option, const char *text, const char *words, struct error **err);

/* Exactly `count` arguments are left behind the options; else ERROR_USAGE with `usage`. */
int expect_arguments(int argc, int count, const char *usage, struct error **err);

/* An output file is written beside its name and then renamed. Of what is no regular file,
 * /dev/null, a FIFO or a link like /dev/stdout, nothing may take the place: it is written to. */
bool is_written_in_place(const char *path);

#endif
