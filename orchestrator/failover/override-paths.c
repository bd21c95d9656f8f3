/* Applying the XPaths of overrides; see override.h. */
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>
#include <string.h>

#include "failover/override.h"

#define NS_QEMU "http://libvirt.org/schemas/domain/qemu/1.0"

static void free_context(xmlXPathContextPtr *context)
{
    xmlXPathFreeContext(*context);
}
static void free_object(xmlXPathObjectPtr *object)
{
    xmlXPathFreeObject(*object);
}
#define CLEANUP_CONTEXT CLEANUP(free_context)
#define CLEANUP_OBJECT  CLEANUP(free_object)

/* libxml2 prints what it minds unless somebody takes it. */
static void ignore(void *opaque, xmlErrorPtr error)
{
    (void)opaque;
    (void)error;
}

static int evaluate(const struct override_line *line, const char *path, xmlXPathContextPtr context,
                    xmlXPathObjectPtr *found, struct error **err)
{
    *found = xmlXPathEvalExpression(BAD_CAST path, context);
    if (!*found)
        return error_set(err, "%s: '%s' is no XPath", line->where, path);
    if ((*found)->type != XPATH_NODESET)
        return error_set(err, "%s: '%s' names no elements and no attributes", line->where, path);
    if ((*found)->nodesetval)
        xmlXPathNodeSetSort((*found)->nodesetval);
    return 0;
}

static int check_nodes(const struct override_line *line, const xmlNodeSet *nodes,
                       struct error **err)
{
    for (int i = 0; i < nodes->nodeNr; i++) {
        xmlElementType type = nodes->nodeTab[i]->type;

        if (type != XML_ELEMENT_NODE && type != XML_ATTRIBUTE_NODE)
            return error_set(err, "%s: '%s' names something that is no element and no attribute",
                             line->where, line->left);
    }
    return 0;
}

static int matches_nothing(const struct override_line *line, struct error **err)
{
    return error_set(err, "%s: nothing in this domain is at %s (--print-xml shows what is there)",
                     line->where, line->left);
}

static int set_node(const struct override_line *line, xmlNodePtr node, struct error **err)
{
    if (node->type == XML_ATTRIBUTE_NODE) {
        xmlSetNsProp(node->parent, node->ns, node->name, BAD_CAST line->right);
        return 0;
    }
    if (xmlFirstElementChild(node))
        return error_set(err,
                         "%s: %s has elements in it, and no text; name one of them, or an "
                         "attribute: %s/@NAME",
                         line->where, line->left, line->left);
    xmlNodeSetContent(node, NULL);
    xmlNodeAddContent(node, BAD_CAST line->right);
    return 0;
}

/* ".../@name" where the elements are there and have no such attribute yet. */
static int make_attributes(const struct override_line *line, xmlXPathContextPtr context,
                           struct error **err)
{
    CLEANUP_OBJECT xmlXPathObjectPtr found = NULL;
    CLEANUP_FREE char *parent = NULL;
    const char *name = strrchr(line->left, '/');

    if (name[1] != '@' || xmlValidateNCName(BAD_CAST(name + 2), 0) != 0 || name == line->left)
        return matches_nothing(line, err);
    parent = strndup(line->left, (size_t)(name - line->left));
    if (!parent)
        return error_set_errno(err, ENOMEM, "%s", line->where);
    if (evaluate(line, parent, context, &found, err) < 0)
        return -1;
    if (xmlXPathNodeSetIsEmpty(found->nodesetval))
        return matches_nothing(line, err);
    for (int i = 0; i < found->nodesetval->nodeNr; i++) {
        if (found->nodesetval->nodeTab[i]->type == XML_ELEMENT_NODE)
            xmlSetProp(found->nodesetval->nodeTab[i], BAD_CAST(name + 2), BAD_CAST line->right);
    }
    return 0;
}

/* Parsed in its place, where the prefix qemu: is known. */
static int add_nodes(const struct override_line *line, const xmlNodeSet *nodes, struct error **err)
{
    xmlNodePtr list = NULL;
    xmlNodePtr parent = nodes->nodeTab[0];

    if (nodes->nodeNr != 1 || parent->type != XML_ELEMENT_NODE)
        return error_set(err, "%s: %s names %d things; += needs one element", line->where,
                         line->left, nodes->nodeNr);
    if (xmlParseInNodeContext(parent, line->right, (int)strlen(line->right),
                              XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING,
                              &list) != XML_ERR_OK) {
        xmlFreeNodeList(list);
        return error_set(err, "%s: what stands after += is not well-formed XML: %s", line->where,
                         line->right);
    }
    if (!list || list->type != XML_ELEMENT_NODE) {
        xmlFreeNodeList(list);
        return error_set(err, "%s: an element has to stand after +=, such as <rng .../>",
                         line->where);
    }
    xmlAddChildList(parent, list);
    return 0;
}

/* From the last one on: what is within another one that goes is behind it. libxml2 looks once more
 * at each that is left in the set when it frees the set. */
static int delete_nodes(const struct override_line *line, const xmlNodeSet *nodes,
                        struct error **err)
{
    for (int i = nodes->nodeNr - 1; i >= 0; i--) {
        xmlNodePtr node = nodes->nodeTab[i];

        if (node == xmlDocGetRootElement(node->doc))
            return error_set(err, "%s: the whole domain can't be deleted", line->where);
        nodes->nodeTab[i] = NULL;
        if (node->type == XML_ATTRIBUTE_NODE) {
            xmlRemoveProp((xmlAttrPtr)node);
            continue;
        }
        xmlUnlinkNode(node);
        xmlFreeNode(node);
    }
    return 0;
}

static int apply_line(const struct override_line *line, xmlDocPtr document, struct error **err)
{
    CLEANUP_CONTEXT xmlXPathContextPtr context = xmlXPathNewContext(document);
    CLEANUP_OBJECT xmlXPathObjectPtr found = NULL;
    xmlNodeSetPtr nodes;

    if (!context)
        return error_set_errno(err, ENOMEM, "%s", line->where);
    context->error = ignore;
    xmlXPathRegisterNs(context, BAD_CAST "qemu", BAD_CAST NS_QEMU);
    if (evaluate(line, line->left, context, &found, err) < 0)
        return -1;
    nodes = found->nodesetval;
    if (xmlXPathNodeSetIsEmpty(nodes))
        return line->verb == OVERRIDE_SET ? make_attributes(line, context, err)
                                          : matches_nothing(line, err);
    if (check_nodes(line, nodes, err) < 0)
        return -1;
    if (line->verb == OVERRIDE_DELETE)
        return delete_nodes(line, nodes, err);
    if (line->verb == OVERRIDE_ADD)
        return add_nodes(line, nodes, err);
    for (int i = 0; i < nodes->nodeNr; i++) {
        if (set_node(line, nodes->nodeTab[i], err) < 0)
            return -1;
    }
    return 0;
}

int override_apply(const struct override *override, xmlDocPtr document, struct error **err)
{
    for (size_t i = 0; i < override->count; i++) {
        if (override->lines[i].verb != OVERRIDE_KEY &&
            apply_line(&override->lines[i], document, err) < 0)
            return -1;
    }
    return 0;
}
