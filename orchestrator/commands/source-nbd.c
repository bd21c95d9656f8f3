/* Adding a nbd source; see source-nbd.h. */
#include "commands/source-nbd.h"

#include <ctype.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int take_seconds(const char *value, unsigned *seconds, struct error **err)
{
    unsigned long number;
    char *end;

    errno = 0;
    number = strtoul(value, &end, 10);
    if (!isdigit((unsigned char)value[0]) || *end || errno || number < 1 || number > HOOK_LIMIT_MAX)
        return error_set_kind(err, ERROR_USAGE, "--hook-timeout=%s: say seconds, 1 to %d", value,
                              HOOK_LIMIT_MAX);
    *seconds = (unsigned)number;
    return 1;
}

static int take_hook(const char *value, char hook[PATH_MAX], struct error **err)
{
    if (value[0] != '/')
        return error_set_kind(err, ERROR_USAGE, "--hook=%s: say an absolute path", value);
    if (strlen(value) >= PATH_MAX)
        return error_set_kind(err, ERROR_USAGE, "--hook is too long");
    strcpy(hook, value);
    return 1;
}

int nbd_option(int c, const char *value, struct nbd_arguments *arguments, struct error **err)
{
    switch (c) {
    case 'f':
        arguments->file = value;
        arguments->given = true;
        return 1;
    case OPTION_HOOK:
        arguments->given = true;
        return take_hook(value, arguments->options.hook, err);
    case OPTION_HOOK_TIMEOUT:
        arguments->given = true;
        return take_seconds(value, &arguments->options.limit_s, err);
    default:
        return 0;
    }
}

static int check_hook(const struct nbd_options *options, struct error **err)
{
    struct stat st;

    if (!options->hook[0])
        return options->limit_s
                   ? error_set_kind(err, ERROR_USAGE, "--hook-timeout goes with --hook")
                   : 0;
    if (stat(options->hook, &st) < 0)
        return error_set_errno(err, errno, "--hook=%s", options->hook);
    if (!S_ISREG(st.st_mode) || access(options->hook, X_OK) < 0)
        return error_set(err,
                         "--hook=%s is no program that can be started (what arguments it needs "
                         "beside ours goes into a script)",
                         options->hook);
    return 0;
}

int nbd_describe(const struct nbd_arguments *arguments, struct store_source *source,
                 struct error **err)
{
    CLEANUP_FREE char *json = nbd_options_to_json(&arguments->options);
    char location[PATH_MAX];

    if (!arguments->file)
        return error_set_kind(err, ERROR_USAGE, "say which VMs with --file FILE|DIRECTORY");
    if (!realpath(arguments->file, location))
        return error_set_errno(err, errno, "%s", arguments->file);
    if (strlen(location) >= sizeof source->location)
        return error_set_errno(err, ENAMETOOLONG, "%s", location);
    if (check_hook(&arguments->options, err) < 0)
        return -1;
    if (!json || strlen(json) >= sizeof source->options)
        return error_set_errno(err, json ? ENAMETOOLONG : ENOMEM, "the source's options");
    strcpy(source->location, location);
    strcpy(source->options, json);
    return 0;
}
