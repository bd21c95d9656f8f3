/* --log, --log-json, --log-level, VMFERRY_LOG; see log-options.h. */
#include "commands/log-options.h"

#include <string.h>

const char log_options_help[] =
    "\n"
    "Of all commands, before or after the command's name:\n"
    "  --log=plain|journal|json\n"
    "                      what the lines on standard error look like; --log-json\n"
    "  --log-level=LEVEL[,PART=LEVEL...]\n"
    "                      error, warning, notice, info or debug\n";

static int set_format(const char *name, struct error **err)
{
    static const char *const formats[] = {
        [LOG_PLAIN] = "plain", [LOG_JOURNAL] = "journal", [LOG_JSON] = "json"
    };

    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(formats[i], name) == 0) {
            log_set_format((enum log_format)i);
            return 0;
        }
    }
    return error_set_kind(err, ERROR_USAGE, "--log=%s: say plain, journal or json", name);
}

/* argv[*i] is "NAME=VALUE", or "NAME" with its value behind it. NULL: it is another option. */
static const char *value_of(const char *name, int argc, char *argv[], int *i, struct error **err)
{
    size_t length = strlen(name);
    const char *word = argv[*i];

    if (strncmp(word, name, length) != 0)
        return NULL;
    if (word[length] == '=')
        return word + length + 1;
    if (word[length])
        return NULL;
    if (*i + 1 < argc)
        return argv[++*i];
    error_set_kind(err, ERROR_USAGE, "option '%s' needs a value", name);
    return NULL;
}

/* Moves *i to the last word that it used. *ours: it was one of them. */
static int take_one(int argc, char *argv[], int *i, bool *ours, struct error **err)
{
    const char *value;

    *ours = true;
    if (strcmp(argv[*i], "--log-json") == 0) {
        log_set_format(LOG_JSON);
        return 0;
    }
    value = value_of("--log-level", argc, argv, i, err);
    if (value)
        return log_set_levels(value, LOG_BY_OPTION, err) < 0 ? error_prefix(err, "--log-level") : 0;
    value = *err ? NULL : value_of("--log", argc, argv, i, err);
    if (value)
        return set_format(value, err);
    *ours = false;
    return *err ? -1 : 0;
}

int log_options_take(int argc, char *argv[], int *count, char ***words, struct error **err)
{
    const char *environment = getenv("VMFERRY_LOG");
    CLEANUP_FREE char **kept = calloc((size_t)argc + 1, sizeof *kept);
    bool bracket = false; /* what stands in brackets belongs to another program */
    int n = 0, i = 0;

    if (!kept)
        return error_set_errno(err, ENOMEM, "reading the command line");
    if (environment && *environment && log_set_levels(environment, LOG_BY_ENVIRONMENT, err) < 0)
        return error_prefix(err, "VMFERRY_LOG");
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        bool ours = false;

        bracket = bracket ? strcmp(argv[i], "]") != 0 : strcmp(argv[i], "[") == 0;
        if (i > 0 && !bracket && take_one(argc, argv, &i, &ours, err) < 0)
            return -1;
        if (!ours)
            kept[n++] = argv[i];
    }
    while (i < argc)
        kept[n++] = argv[i++];
    *count = n;
    *words = steal_ptr(kept);
    return 0;
}
