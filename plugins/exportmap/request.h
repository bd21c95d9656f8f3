/* A client has one word to say what it wants, the export's name: NAME, or NAME@LEASE. */
#ifndef EXPORTMAP_REQUEST_H
#define EXPORTMAP_REQUEST_H

#include <stdbool.h>

#include "error.h"
#include "exportmap-file.h"

struct request {
    char name[EXPORTMAP_NAME_MAX + 1];
    const char *lease; /* NULL: none */
};

/* The lease points into `export`. */
int request_parse(const char *export, struct request *request, struct error **err);
/* May this client write? 1, 0, or -1 when it is refused. */
int request_access(const struct request *request, const struct exportmap_file *map, bool readonly,
                   bool require_lease, struct error **err);

#endif
