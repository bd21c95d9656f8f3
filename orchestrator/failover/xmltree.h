/* Building libxml2 trees of texts that a source gave: what XML can't carry becomes '?'. */
#ifndef VMFERRY_FAILOVER_XMLTREE_H
#define VMFERRY_FAILOVER_XMLTREE_H

#include <libxml/tree.h>

#include "error.h"

/* Add <name> with attributes, given as pairs of strings and NULL. */
xmlNodePtr node_add(xmlNodePtr parent, const char *name, ...) __attribute__((sentinel));
/* Add <name>text</name>. */
xmlNodePtr node_add_text(xmlNodePtr parent, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void node_set(xmlNodePtr node, const char *attribute, const char *value);

/* The whole document as text; the caller's to free, NULL without memory. */
char *node_dump(xmlDocPtr document);

static inline void cleanup_document(xmlDocPtr *document)
{
    xmlFreeDoc(*document);
}
#define CLEANUP_DOCUMENT CLEANUP(cleanup_document)

#endif
