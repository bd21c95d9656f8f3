/* The kinds of sources, and what they share; see source.h. */
#include "source/source.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <string.h>

static const struct source_kind *const kinds[] = { &source_nbd, &source_vsphere };

int source_kind_find(const char *name, const struct source_kind **kind, struct error **err)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            *kind = kinds[i];
            return 0;
        }
    }
    return error_set_kind(err, ERROR_USAGE, "'%s' is no kind of source; there are: nbd, vsphere",
                          name);
}

int source_open(const struct source_settings *settings, struct source **source, struct error **err)
{
    const struct source_kind *kind;

    if (source_kind_find(settings->kind, &kind, err) < 0)
        return -1;
    if (kind->open(settings, source, err) < 0)
        return error_prefix(err, "source '%s'", settings->name);
    if (!(*source)->kind)
        (*source)->kind = kind;
    (*source)->settings = settings;
    return 0;
}

void source_close(struct source *source)
{
    if (source)
        source->kind->close(source);
}

bool source_filter_fits(const struct source_filter *filter, const char *name, const char *path)
{
    const char *folder;
    size_t length;

    if (!filter)
        return true;
    if (filter->name && fnmatch(filter->name, name, 0) != 0)
        return false;
    if (!filter->folder)
        return true;
    if (path[0] != '/')
        return false;                                      /* of a kind without folders */
    folder = filter->folder + strspn(filter->folder, "/"); /* "DC0/vm/" is "/DC0/vm" */
    length = strlen(folder);
    while (length > 0 && folder[length - 1] == '/')
        length--;
    path++;
    return length == 0 || (strncmp(path, folder, length) == 0 && path[length] == '/');
}

int source_quiesce_parse(const char *text, enum quiesce *quiesce, struct error **err)
{
    static const char *const words[] = {
        [QUIESCE_AUTO] = "auto", [QUIESCE_YES] = "yes", [QUIESCE_NO] = "no"
    };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i], text) == 0) {
            *quiesce = (enum quiesce)i;
            return 0;
        }
    }
    return error_set_kind(err, ERROR_USAGE, "quiesce: '%s': say auto, yes or no", text);
}

void spec_list_free(struct spec_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        spec_free(&list->specs[i]);
    free(list->specs);
}

int findings_add(struct findings *findings, enum finding_level level, const char *check,
                 const char *remedy, const char *fmt, ...)
{
    struct finding *grown =
        reallocarray(findings->list, findings->count + 1, sizeof *findings->list);
    struct finding *finding;
    va_list args;

    if (!grown)
        return -1;
    findings->list = grown;
    finding = &grown[findings->count++];
    finding->level = level;
    snprintf(finding->check, sizeof finding->check, "%s", check);
    snprintf(finding->remedy, sizeof finding->remedy, "%s", remedy ? remedy : "");
    va_start(args, fmt);
    vsnprintf(finding->text, sizeof finding->text, fmt, args);
    va_end(args);
    return 0;
}

void findings_free(struct findings *findings)
{
    free(findings->list);
}
