/* What the operator changes in a domain, line by line:
 *
 *     # a comment
 *     vcpus = 4                                        a key: see the table in override-keys.c
 *     /domain/devices/video/model/@type = qxl          an XPath gets this text
 *     /domain/devices += <rng model='virtio'>…</rng>   the element there gets one more in it
 *     delete /domain/devices/memballoon                what the XPath names goes
 *
 * A line that ends with a backslash goes on in the next one. Keys change the choices that
 * the XML is made of; after that the XPaths change the XML, in their order. An error names
 * the line. */
#ifndef VMFERRY_FAILOVER_OVERRIDE_H
#define VMFERRY_FAILOVER_OVERRIDE_H

#include <libxml/tree.h>

#include "failover/hardware.h"

enum override_verb { OVERRIDE_KEY, OVERRIDE_SET, OVERRIDE_ADD, OVERRIDE_DELETE };

struct override_line {
    enum override_verb verb;
    char *where; /* "app01.override: line 7", "--set" */
    char *left;  /* key or XPath */
    char *right; /* NULL of a delete */
};

struct override {
    struct override_line *lines;
    size_t count;
};

int override_load(const char *path, struct override *override, struct error **err);
/* One line; `where` is its name in errors. */
int override_add(struct override *override, const char *where, const char *text,
                 struct error **err);
void override_free(struct override *override);
#define CLEANUP_OVERRIDE CLEANUP(override_free)

/* The keys. */
int override_choose(const struct override *override, struct hardware *hardware, struct error **err);
/* The XPaths. */
int override_apply(const struct override *override, xmlDocPtr document, struct error **err);

#endif
