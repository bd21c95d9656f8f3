/* Shared options; see options.h. */
#include "commands/options.h"

#include <json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int wrong_option(int c, char *argv[], struct error **err)
{
    if (c == ':')
        return error_set_kind(err, ERROR_USAGE, "option '%s' needs a value", argv[optind - 1]);
    return error_set_kind(err, ERROR_USAGE, "unknown or ambiguous option '%s'; --help says more",
                          argv[optind - 1]);
}

int common_option(int c, char *argv[], struct common_options *common, struct error **err)
{
    switch (c) {
    case OPTION_STATE:
        common->state = optarg;
        return 0;
    case OPTION_JSON:
        common->json = true;
        return 0;
    case OPTION_HELP:
        common->help = true;
        return 0;
    default:
        return wrong_option(c, argv, err);
    }
}

int print_help(const char *text)
{
    fputs(text, stdout);
    return 0;
}

int print_json(json_object *object, struct error **err)
{
    printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
                                                              JSON_C_TO_STRING_SPACED |
                                                              JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(object);
    if (fflush(stdout) != 0)
        return error_set_errno(err, errno, "writing the result");
    return 0;
}

int print_done(const char *kind, const char *name, const char *done, struct error **err)
{
    json_object *object = json_object_new_object();

    json_object_object_add(object, kind, json_object_new_string(name));
    json_object_object_add(object, done, json_object_new_boolean(true));
    return print_json(object, err);
}

int expect_arguments(int argc, int count, const char *usage, struct error **err)
{
    if (argc - optind == count)
        return 0;
    return error_set_kind(err, ERROR_USAGE, "usage: %s", usage);
}

bool is_written_in_place(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

bool is_one_of(const char *words, const char *text)
{
    size_t length = strlen(text);

    for (const char *word = words; length && word; word = strchr(word, '|')) {
        word += *word == '|';
        if (strncmp(word, text, length) == 0 && strchr("|", word[length]))
            return true;
    }
    return false;
}

int check_word(const char *option, const char *text, const char *words, struct error **err)
{
    return is_one_of(words, text)
               ? 0
               : error_set_kind(err, ERROR_USAGE, "--%s: '%s' is none of %s", option, text, words);
}
