/* A nbd source's options, as the store keeps them: a JSON object, "" for none. */
#ifndef VMFERRY_NBD_OPTIONS_H
#define VMFERRY_NBD_OPTIONS_H

#include <limits.h>

#include "error.h"

#define HOOK_LIMIT_MAX 86400

struct nbd_options {
    char hook[PATH_MAX]; /* an absolute path; "": none */
    unsigned limit_s;    /* of each of its calls; 0: as long as hook.c says for the verb */
};

int nbd_options_parse(const char *json, struct nbd_options *options, struct error **err);
/* The caller's to free; NULL only without memory. */
char *nbd_options_to_json(const struct nbd_options *options);

#endif
