/* Every request and response as a file in a directory, for tests and for support: the
 * number of the exchange, the operation, "request" or "response". Passwords and session keys are
 * replaced. A file that can't be written is missed out: a capture never stops a run. */
#ifndef VMFERRY_VSPHERE_CAPTURE_H
#define VMFERRY_VSPHERE_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct capture {
    char directory[4096]; /* "": off */
    unsigned number;      /* of the exchange that was written last */
};

/* NULL: what VMFERRY_VSPHERE_CAPTURE says. A directory that can't be written to is an
 * error here, and only here. */
int capture_open(struct capture *capture, const char *directory, struct error **err);
/* `secret`: the request has a password in it. */
void capture_request(struct capture *capture, const char *op, bool secret, const char *text,
                     size_t length);
void capture_response(struct capture *capture, const char *op, bool secret, const char *text,
                      size_t length);

/* A copy in which the text of every element of this local name is "***"; NULL without
 * memory. The caller wipes and frees it. */
char *capture_redact(const char *text, size_t length, const char *element);

#endif
