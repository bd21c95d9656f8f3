/* What a client asks for by an export's name; see request.h. */
#include "request.h"

#include <string.h>

int request_parse(const char *export, struct request *request, struct error **err)
{
    const char *at = strchr(export, '@');
    size_t length = at ? (size_t)(at - export) : strlen(export);
    const char *problem;

    if (export[0] == '\0')
        return error_set(err, "the default export is not served: name one, `nbdinfo --list` shows "
                              "them");
    if (length > EXPORTMAP_NAME_MAX)
        return error_set(err, "its name is too long");
    memcpy(request->name, export, length);
    request->name[length] = '\0';
    problem = exportmap_name_problem(request->name);
    if (problem)
        return error_set(err, "its name %s", problem);
    request->lease = at ? at + 1 : NULL;
    if (at && !exportmap_lease_ok(request->lease))
        return error_set(err, "what follows '@' is not a lease");
    return 0;
}

int request_access(const struct request *request, const struct exportmap_file *map, bool readonly,
                   bool require_lease, struct error **err)
{
    if (request->lease && !map->lease)
        return error_set(err, "lease %s is not in force: the export has none", request->lease);
    if (request->lease && strcmp(request->lease, map->lease) != 0)
        return error_set(err, "lease %s is not in force: another one is", request->lease);
    if (!map->writable || readonly)
        return 0;
    return request->lease || !require_lease;
}
