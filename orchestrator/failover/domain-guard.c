/* What no override may do; see domain.h. A guest that wrote to an image below its overlay
 * would change restore points. */
#include <libxml/xpath.h>
#include <string.h>
#include <sys/stat.h>

#include "failover/domain.h"
#include "failover/xmltree.h"

static bool text_is(xmlDocPtr document, const char *xpath, const char *expected)
{
    xmlXPathContextPtr context = xmlXPathNewContext(document);
    xmlXPathObjectPtr found = context ? xmlXPathEvalExpression(BAD_CAST xpath, context) : NULL;
    xmlChar *text = found ? xmlXPathCastToString(found) : NULL;
    bool same = text && strcmp((char *)text, expected) == 0;

    xmlFree(text);
    xmlXPathFreeObject(found);
    xmlXPathFreeContext(context);
    return same;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat one, other;

    return strcmp(a, b) == 0 || (stat(a, &one) == 0 && stat(b, &other) == 0 &&
                                 one.st_dev == other.st_dev && one.st_ino == other.st_ino);
}

static bool is_below_an_overlay(const struct domain_plan *plan, const char *path)
{
    for (size_t i = 0; i < plan->disk_count; i++) {
        for (size_t j = 0; j < plan->disks[i].chain_length; j++) {
            if (is_same_file(plan->disks[i].chain[j].path, path))
                return true;
        }
    }
    return false;
}

/* A descriptor is found by its group's name alone: libvirt opens no path then. */
static bool is_our_group(const struct domain_plan *plan, const char *name, bool on_top)
{
    char group[DOMAIN_GROUP];

    for (size_t i = 0; i < plan->disk_count; i++) {
        for (size_t level = 0; level <= plan->disks[i].chain_length; level++) {
            domain_fd_group(group, plan->disks[i].key, level);
            if (strcmp(group, name) == 0)
                return (level == 0) == on_top;
        }
    }
    return false;
}

static int check_source(const struct domain_plan *plan, xmlNodePtr node, struct error **err)
{
    bool on_top = node->parent && !xmlStrEqual(node->parent->name, BAD_CAST "backingStore");
    xmlChar *group = xmlGetProp(node, BAD_CAST "fdgroup");
    bool fits = !group || is_our_group(plan, (char *)group, on_top);

    xmlFree(group);
    for (xmlAttrPtr attribute = node->properties; attribute && fits; attribute = attribute->next) {
        xmlChar *value = xmlNodeListGetString(node->doc, attribute->children, 1);

        if (on_top && value && value[0] == '/' && is_below_an_overlay(plan, (char *)value))
            fits = false;
        xmlFree(value);
    }
    if (!fits)
        return error_set(err, "an override gives the guest an image of the restore point to write; "
                              "it may only have the overlays");
    return 0;
}

static int check_sources(const struct domain_plan *plan, xmlNodePtr node, struct error **err)
{
    for (; node; node = xmlNextElementSibling(node)) {
        if (xmlStrEqual(node->name, BAD_CAST "source") && check_source(plan, node, err) < 0)
            return -1;
        if (check_sources(plan, xmlFirstElementChild(node), err) < 0)
            return -1;
    }
    return 0;
}

int domain_guard(const struct domain_plan *plan, xmlDocPtr document, struct error **err)
{
    if (!text_is(document, "/domain/uuid", plan->uuid) ||
        !text_is(document, "/domain/name", plan->name))
        return error_set(err, "an override changes the domain's uuid or name, by which vmferry "
                              "finds it again (name = ... names it)");
    return check_sources(plan, xmlDocGetRootElement(document), err);
}
