/* Reading XML; see xml.h. Nothing here is recursive: the depth of a document is the
 * sender's choice. */
#include "source/vsphere/xml.h"

#include <libxml/parser.h>
#include <string.h>

/* Text nodes over 10 MB are refused by libxml2 without XML_PARSE_HUGE; no property that we
 * read comes near. Documents may be as long as they like. */
#define PARSE_OPTIONS                                                                              \
    (XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA)

/* The start of a DTD: stop before any declaration in it is read. */
static void refuse_doctype(void *opaque, const xmlChar *name, const xmlChar *id,
                           const xmlChar *system)
{
    xmlParserCtxt *context = opaque;
    bool *refused = context->_private;

    (void)name, (void)id, (void)system;
    *refused = true;
    xmlStopParser(context);
}

static int describe(const xmlParserCtxt *context, struct error **err)
{
    const xmlError *why = xmlCtxtGetLastError((void *)context);
    const char *text = why && why->message ? why->message : "not XML";
    size_t length = strcspn(text, "\r\n");

    if (!why || why->line <= 0)
        return error_set(err, "%.*s", (int)length, text);
    return error_set(err, "line %d, column %d: %.*s", why->line, why->int2, (int)length, text);
}

static void cleanup_context(xmlParserCtxt **context)
{
    xmlFreeParserCtxt(*context);
}

void xml_doc_free(xmlDoc **doc)
{
    xmlFreeDoc(*doc);
}

int xml_parse(const char *text, size_t length, xmlDoc **doc, struct error **err)
{
    CLEANUP(cleanup_context) xmlParserCtxt *context = NULL;
    CLEANUP_XML_DOC xmlDoc *parsed = NULL;
    bool refused = false;

    if (length == 0)
        return error_set(err, "it is empty");
    if (length > INT32_MAX)
        return error_set(err, "it is longer than 2 GiB");
    if (memchr(text, '\0', length)) /* where libxml2 would take it for the end */
        return error_set(err, "it holds a NUL byte");
    context = xmlNewParserCtxt();
    if (!context)
        return error_set_errno(err, ENOMEM, "reading XML");
    context->_private = &refused;
    context->sax->internalSubset = refuse_doctype;
    parsed = xmlCtxtReadMemory(context, text, (int)length, NULL, NULL, PARSE_OPTIONS);
    if (refused)
        return error_set(err, "it has a document type declaration, which no SOAP message may have");
    if (!parsed || !context->wellFormed || !xmlDocGetRootElement(parsed))
        return describe(context, err);
    *doc = steal_ptr(parsed);
    return 0;
}

bool xml_is(const xmlNode *node, const char *name)
{
    return node && node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

static bool is_named(const xmlNode *node, const char *name, size_t length)
{
    return node->type == XML_ELEMENT_NODE && strncmp((const char *)node->name, name, length) == 0 &&
           node->name[length] == '\0';
}

static xmlNode *child(const xmlNode *node, const char *name, size_t length)
{
    for (xmlNode *n = node ? node->children : NULL; n; n = n->next) {
        if (is_named(n, name, length))
            return n;
    }
    return NULL;
}

xmlNode *xml_child(const xmlNode *node, const char *name)
{
    return child(node, name, strlen(name));
}

xmlNode *xml_next(const xmlNode *node)
{
    for (xmlNode *n = node ? node->next : NULL; n; n = n->next) {
        if (xml_is(n, (const char *)node->name))
            return n;
    }
    return NULL;
}

xmlNode *xml_at(const xmlNode *node, const char *path)
{
    while (node && *path) {
        size_t length = strcspn(path, "/");

        node = child(node, path, length);
        path += length;
        path += *path == '/';
    }
    return (xmlNode *)node;
}

/* Copy at most `left` bytes, whole characters; false when not all of it fitted. */
static bool append(char **to, size_t *left, const char *text)
{
    size_t length = strlen(text);
    bool fits = length <= *left;

    if (!fits) {
        length = *left;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--;
    }
    memcpy(*to, text, length);
    *to += length;
    *left = fits ? *left - length : 0;
    return fits;
}

/* All of the element's own text; what child elements hold is not part of it. */
static bool copy_text(const xmlNode *node, char *buf, size_t size)
{
    char *to = buf;
    size_t left = size - 1;
    bool fits = true;

    for (const xmlNode *n = node->children; n && fits; n = n->next) {
        if ((n->type == XML_TEXT_NODE || n->type == XML_CDATA_SECTION_NODE) && n->content)
            fits = append(&to, &left, (const char *)n->content);
    }
    *to = '\0';
    return fits;
}

const char *xml_text(const xmlNode *node, const char *path, char *buf, size_t size)
{
    const xmlNode *found = xml_at(node, path);

    buf[0] = '\0';
    if (!found)
        return NULL;
    copy_text(found, buf, size);
    return buf;
}

int xml_whole_text(const xmlNode *node, const char *path, char *buf, size_t size)
{
    const xmlNode *found = xml_at(node, path);

    if (found && copy_text(found, buf, size))
        return 0;
    buf[0] = '\0';
    return -1;
}

bool xml_text_is(const xmlNode *node, const char *path, const char *text)
{
    char buf[256];

    return xml_whole_text(node, path, buf, sizeof buf) == 0 && strcmp(buf, text) == 0;
}

/* White space around a number or a boolean means nothing in XML Schema. */
static const char *trimmed(char *buf)
{
    size_t length;

    buf += strspn(buf, " \t\r\n");
    length = strlen(buf);
    while (length > 0 && strchr(" \t\r\n", buf[length - 1]))
        buf[--length] = '\0';
    return buf;
}

int xml_int64(const xmlNode *node, const char *path, int64_t *value)
{
    char buf[64];
    const char *text;
    char *end;

    if (xml_whole_text(node, path, buf, sizeof buf) < 0)
        return -1;
    text = trimmed(buf);
    if (*text == '\0')
        return -1;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' ? 0 : -1;
}

bool xml_bool(const xmlNode *node, const char *path)
{
    char buf[64];
    const char *text;

    if (xml_whole_text(node, path, buf, sizeof buf) < 0)
        return false;
    text = trimmed(buf);
    return strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
}

/* An attribute's value is at most a few text nodes, as an element's is. */
static int attribute_text(const xmlAttr *attribute, char *buf, size_t size)
{
    if (attribute && copy_text((const xmlNode *)attribute, buf, size))
        return 0;
    buf[0] = '\0';
    return -1;
}

int xml_attribute(const xmlNode *node, const char *name, char *buf, size_t size)
{
    buf[0] = '\0';
    if (!node || node->type != XML_ELEMENT_NODE)
        return -1;
    for (const xmlAttr *a = node->properties; a; a = a->next) {
        if (!a->ns && strcmp((const char *)a->name, name) == 0)
            return attribute_text(a, buf, size);
    }
    return -1;
}

void xml_type(const xmlNode *node, char *buf, size_t size)
{
    char full[256] = "";
    const char *local;
    const xmlAttr *a = node && node->type == XML_ELEMENT_NODE ? node->properties : NULL;

    while (a && !(a->ns && strcmp((const char *)a->name, "type") == 0 &&
                  strcmp((const char *)a->ns->href, NS_XSI) == 0))
        a = a->next;
    buf[0] = '\0';
    if (attribute_text(a, full, sizeof full) < 0)
        return;
    local = trimmed(full);
    if (strchr(local, ':'))
        local = strchr(local, ':') + 1;
    if (strlen(local) < size)
        memcpy(buf, local, strlen(local) + 1);
}
