/* The compliance report of a migration: `vmferry report`. What comes in: a VM, or one of its
 * jobs. What goes out: all that the store knows of it, at one moment, as text, JSON or HTML. It
 * changes nothing. */
#ifndef VMFERRY_REPORT_H
#define VMFERRY_REPORT_H

#include <stdio.h>

#include "store/store.h"

struct report_request {
    struct store *store;
    const char *state_dir;
    const struct store_vm *vm;
    int64_t job_id;     /* 0: of the whole VM */
    const char *format; /* text, json, html */
};

/* ERROR_USAGE for a format that does not exist. */
int report_check_format(const char *format, struct error **err);

/* `out` is a file at its begin: when the database has to be asked again, it is written anew. */
int report_write(const struct report_request *request, FILE *out, struct error **err);

#endif
