/* XML trees; see xmltree.h. */
#include "failover/xmltree.h"

#include <libxml/chvalid.h>
#include <libxml/parserInternals.h>
#include <stdarg.h>
#include <string.h>

/* A copy in which every character is one that XML 1.0 allows. */
static char *fit(const char *text)
{
    char *copy = strdup(text ? text : "");
    char *out = copy;

    for (const char *p = text; copy && p && *p;) {
        int length = (int)strnlen(p, 4);
        int code = xmlGetUTF8Char(BAD_CAST p, &length);

        if (code < 0 || !xmlIsCharQ((unsigned)code)) {
            *out++ = '?';
            p += code < 0 ? 1 : length;
            continue;
        }
        memcpy(out, p, (size_t)length);
        out += length;
        p += length;
    }
    if (copy)
        *out = '\0';
    return copy;
}

void node_set(xmlNodePtr node, const char *attribute, const char *value)
{
    CLEANUP_FREE char *fitting = fit(value);

    xmlSetProp(node, BAD_CAST attribute, BAD_CAST fitting);
}

xmlNodePtr node_add(xmlNodePtr parent, const char *name, ...)
{
    xmlNodePtr node = xmlNewChild(parent, NULL, BAD_CAST name, NULL);
    const char *key;
    va_list args;

    va_start(args, name);
    while ((key = va_arg(args, const char *)))
        node_set(node, key, va_arg(args, const char *));
    va_end(args);
    return node;
}

xmlNodePtr node_add_text(xmlNodePtr parent, const char *name, const char *fmt, ...)
{
    CLEANUP_FREE char *text = NULL;
    CLEANUP_FREE char *fitting = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    fitting = fit(text);
    return xmlNewTextChild(parent, NULL, BAD_CAST name, BAD_CAST fitting);
}

char *node_dump(xmlDocPtr document)
{
    xmlChar *dumped = NULL;
    char *text = NULL;
    int size;

    xmlDocDumpFormatMemoryEnc(document, &dumped, &size, "UTF-8", 1);
    if (dumped)
        text = strdup((char *)dumped);
    xmlFree(dumped);
    return text;
}
