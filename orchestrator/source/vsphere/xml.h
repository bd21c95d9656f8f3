/* XML in and out, for SOAP. Reading goes by namespace URI and local name, never by
 * prefix; what is not known is passed over. No DTD, no entity but the five, no network. */
#ifndef VMFERRY_VSPHERE_XML_H
#define VMFERRY_VSPHERE_XML_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#define NS_SOAP "http://schemas.xmlsoap.org/soap/envelope/"
#define NS_VIM  "urn:vim25"
#define NS_XSI  "http://www.w3.org/2001/XMLSchema-instance"

/* A document; free it with xmlFreeDoc. Errors say where it stops making sense. Elements
 * nested deeper than libxml2 allows by default (256) are an error. */
int xml_parse(const char *text, size_t length, xmlDoc **doc, struct error **err);
#define CLEANUP_XML_DOC CLEANUP(xml_doc_free)
void xml_doc_free(xmlDoc **doc);

/* The first child element of this local name (any namespace); NULL: none, or no node. */
xmlNode *xml_child(const xmlNode *node, const char *name);
/* The next sibling element of the same local name. */
xmlNode *xml_next(const xmlNode *node);
/* A path of local names, "info/task/state". */
xmlNode *xml_at(const xmlNode *node, const char *path);
/* The element has this local name. */
bool xml_is(const xmlNode *node, const char *name);
/* The text of the element at `path` ("" for the node itself), NULL when it is not there.
 * Valid as long as the document: xml_text copies into `buf`, cut to its size (never within
 * a UTF-8 character). What must not be cut is read with xml_whole_text. */
const char *xml_text(const xmlNode *node, const char *path, char *buf, size_t size);
/* The same, but -1 when the element is not there or its text does not fit. */
int xml_whole_text(const xmlNode *node, const char *path, char *buf, size_t size);
bool xml_text_is(const xmlNode *node, const char *path, const char *text);
/* -1 when it is missing or no number. */
int xml_int64(const xmlNode *node, const char *path, int64_t *value);
/* "true" or "1"; false when missing. */
bool xml_bool(const xmlNode *node, const char *path);
/* The local part of xsi:type, "" when there is none: "VirtualDisk". */
void xml_type(const xmlNode *node, char *buf, size_t size);
/* An attribute without a namespace; -1 when it is not there or does not fit. */
int xml_attribute(const xmlNode *node, const char *name, char *buf, size_t size);

/* Text being written. Every buffer that it outgrows is wiped: it may hold a password. */
struct xml_writer {
    char *text; /* NUL-terminated; NULL before the first byte, or without memory */
    size_t length, capacity;
    bool failed; /* out of memory: all later calls do nothing */
    bool unfit;  /* a text held what XML 1.0 can't carry (control characters, broken UTF-8) */
};
void xml_open(struct xml_writer *writer, const char *name,
              const char *attributes); /* may be NULL */
void xml_close(struct xml_writer *writer, const char *name);
void xml_element(struct xml_writer *writer, const char *name, const char *text); /* escaped */
void xml_escaped(struct xml_writer *writer, const char *text);
void xml_raw(struct xml_writer *writer, const char *xml); /* as it is */
/* -1 when the writer failed, or a text was unfit; `what` is being written. */
int xml_writer_check(const struct xml_writer *writer, const char *what, struct error **err);
void xml_writer_free(struct xml_writer *writer);
#define CLEANUP_XML_WRITER CLEANUP(xml_writer_free)

#endif
