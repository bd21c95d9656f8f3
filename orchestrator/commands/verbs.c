/* Verbs of a command; see verbs.h. */
#include "commands/verbs.h"

#include <string.h>

/* "say what to do: add, list or remove" */
static int refuse(const struct verb verbs[], size_t count, struct error **err)
{
    char text[512] = "";
    size_t used = 0;

    for (size_t i = 0; i < count && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s",
                                 i == 0           ? ""
                                 : i + 1 == count ? " or "
                                                  : ", ",
                                 verbs[i].name);
    return error_set_kind(err, ERROR_USAGE, "say what to do: %s", text);
}

int run_verb(const struct verb verbs[], size_t count, const struct common_options *common,
             void *arguments, int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    const char *name = optind < argc ? argv[optind] : "";
    int given = argc - optind - 1;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(verbs[i].name, name) != 0)
            continue;
        if (given < verbs[i].least || given > verbs[i].most)
            return error_set_kind(err, ERROR_USAGE, "usage: %s", verbs[i].usage);
        return context_open(common->state, &context, err) < 0
                   ? -1
                   : verbs[i].run(&context, arguments, argv + optind + 1, err);
    }
    return refuse(verbs, count, err);
}
