/* The kinds of sources; see source.h. */
#include "source/source.h"

#include <string.h>

static const struct source_kind *const kinds[] = { &source_nbd };

int source_kind_find(const char *name, const struct source_kind **kind, struct error **err)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            *kind = kinds[i];
            return 0;
        }
    }
    return error_set_kind(err, ERROR_USAGE, "'%s' is no kind of source; there is: nbd", name);
}

void spec_list_free(struct spec_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        spec_free(&list->specs[i]);
    free(list->specs);
}
