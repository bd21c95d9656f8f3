/* A mutator for fuzzers that read XML. Bytes changed at random hardly ever leave a document
 * that can be parsed, and then nothing behind the parser is reached: so most of the time
 * elements are removed, doubled, copied elsewhere, and given each other's or telling values. */
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ELEMENTS_MAX 512

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static const char *const values[] = {
    "",
    "0",
    "1",
    "-1",
    "511",
    "512",
    "65536",
    "2147483648",
    "4294967296",
    "8589934592",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1e3",
    "0x10",
    " 7 ",
    "true",
    "poweredOn",
    "success",
    "error",
    "info",
    "config.hardware.device",
    "5030d9a1-0c3b-4d58-8f2e-1a2b3c4d5e6f",
    "[ds1] a b/c.vmdk",
    "00:50:56:aa:bb:cc",
    "\xc3\xa4\xe2\x82\xac\n\t<&>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

static unsigned pick(unsigned *seed, size_t count)
{
    return (unsigned)((size_t)rand_r(seed) % count);
}

/* In document order, without recursion; returns how many. */
static size_t list_elements(xmlNode *root, xmlNode **elements)
{
    size_t count = 0;

    for (xmlNode *n = root; n && count < ELEMENTS_MAX;) {
        if (n->type == XML_ELEMENT_NODE)
            elements[count++] = n;
        if (n->type == XML_ELEMENT_NODE && n->children) {
            n = n->children;
            continue;
        }
        while (n != root && !n->next)
            n = n->parent;
        n = n == root ? NULL : n->next;
    }
    return count;
}

/* A number near the one that is there: where a check is off by one. */
static void change_number(xmlNode *node, unsigned *seed)
{
    xmlChar *text = xmlNodeGetContent(node);
    char buf[32];
    long long number = text ? strtoll((char *)text, NULL, 10) : 0;
    static const int64_t steps[] = { 1, 511, 512, 65536, 4294967296 };
    int64_t step = steps[pick(seed, sizeof steps / sizeof steps[0])];

    number = (long long)((uint64_t)number + (uint64_t)(pick(seed, 2) ? step : -step));
    snprintf(buf, sizeof buf, "%lld", number);
    xmlNodeSetContent(node, (const xmlChar *)buf);
    xmlFree(text);
}

/* The other one's attributes. Its namespaces may go with it, so they are declared anew. */
static void change_type(xmlNode *node, const xmlNode *other)
{
    for (xmlAttr *a = node == other ? NULL : other->properties; a; a = a->next) {
        xmlChar *value = xmlNodeListGetString(other->doc, a->children, 1);
        xmlNs *ns = a->ns ? xmlSearchNsByHref(node->doc, node, a->ns->href) : NULL;

        if (a->ns && !ns)
            ns = xmlNewNs(node, a->ns->href, (const xmlChar *)"g");
        xmlSetNsProp(node, ns, a->name, value);
        xmlFree(value);
    }
}

static void change_text(xmlNode *node, unsigned *seed)
{
    const char *value = values[pick(seed, sizeof values / sizeof values[0])];
    xmlChar *escaped = xmlEncodeSpecialChars(node->doc, (const xmlChar *)value);

    xmlNodeSetContent(node, escaped);
    xmlFree(escaped);
}

static void change(xmlNode **elements, size_t count, unsigned *seed)
{
    xmlNode *node = elements[pick(seed, count)];
    xmlNode *other = elements[pick(seed, count)];

    switch (pick(seed, 7)) {
    case 0:
        if (node != elements[0]) {
            xmlUnlinkNode(node);
            xmlFreeNode(node);
        }
        break;
    case 1:
        if (node != elements[0])
            xmlAddNextSibling(node, xmlDocCopyNode(node, node->doc, 1));
        break;
    case 2:
        xmlAddChild(other, xmlDocCopyNode(node, node->doc, 1));
        break;
    case 3:
        if (!xmlFirstElementChild(node))
            change_text(node, seed);
        break;
    case 4:
        if (!xmlFirstElementChild(node))
            change_number(node, seed);
        break;
    case 5:
        change_type(node, other);
        break;
    case 6:
        xmlNodeSetName(node, other->name);
        break;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    xmlNode *elements[ELEMENTS_MAX];
    xmlChar *text = NULL;
    int length = 0;
    xmlDoc *doc = NULL;

    if (pick(&seed, 8) != 0)
        doc = xmlReadMemory((char *)data, (int)size, NULL, NULL,
                            XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    for (unsigned i = 0, changes = 1 + pick(&seed, 3); doc && i < changes; i++) {
        size_t count = list_elements(xmlDocGetRootElement(doc), elements);

        if (count > 0)
            change(elements, count, &seed);
    }
    if (doc)
        xmlDocDumpMemory(doc, &text, &length);
    xmlFreeDoc(doc);
    if (!text || (size_t)length > max_size) {
        xmlFree(text);
        return LLVMFuzzerMutate(data, size, max_size);
    }
    memcpy(data, text, (size_t)length);
    xmlFree(text);
    return (size_t)length;
}
