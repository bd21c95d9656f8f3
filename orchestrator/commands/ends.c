/* Ends of a copy on the command line; see ends.h. */
#include "commands/ends.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "+" stops at an end: what stands between brackets is no option of ours. */
int ends_option(struct ends *ends, int argc, char *argv[], const struct option *options)
{
    int before = optind ? optind : 1; /* 0: getopt begins anew */
    int c = ends->no_options ? -1 : getopt_long(argc, argv, "+:h", options, NULL);

    /* Asked again behind "--", getopt would go back to the first end. */
    if (c == -1 && optind != before)
        ends->no_options = true;
    return c;
}

/* One word of a command in brackets, quoted so that the engine splits it again
 * exactly there. */
static void print_word(FILE *out, const char *word)
{
    fputc('\'', out);
    for (; *word; word++) {
        if (*word == '\'')
            fputs("'\\''", out);
        else
            fputc(*word, out);
    }
    fputc('\'', out);
}

char *ends_take(int argc, char *argv[], struct error **err)
{
    char *text = NULL;
    size_t length;
    FILE *out;

    if (strcmp(argv[optind], "[") != 0)
        return strdup(argv[optind++]);
    out = open_memstream(&text, &length);
    if (!out) {
        error_set_errno(err, errno, "reading the command line");
        return NULL;
    }
    fputs("[ ", out);
    for (optind++; optind < argc && strcmp(argv[optind], "]") != 0; optind++) {
        print_word(out, argv[optind]);
        fputc(' ', out);
    }
    fputs("]", out);
    fclose(out);
    if (optind == argc) {
        free(text);
        error_set_kind(err, ERROR_USAGE, "a command in brackets has no closing ]");
        return NULL;
    }
    optind++;
    return text;
}
