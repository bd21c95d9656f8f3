/* SOAP messages; see envelope.h. */
#include "source/vsphere/envelope.h"

#include <ctype.h>
#include <string.h>

#define HEAD                                                                                       \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"                                                 \
    "<soapenv:Envelope xmlns:soapenv=\"" NS_SOAP "\" xmlns:xsi=\"" NS_XSI "\"><soapenv:Body>"
#define TAIL "</soapenv:Body></soapenv:Envelope>\n"

static bool is_plain(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    }
    return true;
}

int moref_read(const xmlNode *node, struct moref *moref)
{
    *moref = (struct moref){ 0 };
    if (xml_attribute(node, "type", moref->type, sizeof moref->type) == 0 &&
        xml_whole_text(node, "", moref->id, sizeof moref->id) == 0 && moref->id[0] &&
        is_plain(moref->type) && is_plain(moref->id))
        return 0;
    *moref = (struct moref){ 0 };
    return -1;
}

void moref_write(struct xml_writer *writer, const char *name, const struct moref *moref)
{
    xml_raw(writer, "<");
    xml_raw(writer, name);
    xml_raw(writer, " type=\"");
    xml_escaped(writer, moref->type);
    xml_raw(writer, "\">");
    xml_escaped(writer, moref->id);
    xml_close(writer, name);
}

int envelope_write(struct xml_writer *writer, const struct moref *self, const char *op,
                   const char *arguments, struct error **err)
{
    xml_raw(writer, HEAD);
    xml_open(writer, op, "xmlns=\"" NS_VIM "\"");
    moref_write(writer, "_this", self);
    xml_raw(writer, arguments ? arguments : "");
    xml_close(writer, op);
    xml_raw(writer, TAIL);
    return xml_writer_check(writer, op, err);
}

/* Past the end of `tag` and of all that is inside, for what nobody reads: <style>…</style>. */
static const char *skip_unread(const char *from, const char *end, const char *tag)
{
    size_t length = strlen(tag);

    if ((size_t)(end - from) <= length || strncasecmp(from + 1, tag, length) != 0)
        return from;
    for (const char *c = from + 1; c + length + 2 <= end; c++) {
        if (c[0] == '<' && c[1] == '/' && strncasecmp(c + 2, tag, length) == 0)
            return c;
    }
    return end;
}

void first_words(const char *text, size_t length, char *buf, size_t size)
{
    const char *end = text + length;
    size_t n = 0;
    bool gap = false;

    for (const char *c = text; c < end; c++) {
        if (*c == '<') {
            const char *close;

            c = skip_unread(c, end, "style");
            c = c < end ? skip_unread(c, end, "script") : c;
            close = c < end ? memchr(c, '>', (size_t)(end - c)) : NULL;
            if (!close)
                break;
            c = close;
            gap = true;
        } else if (isspace((unsigned char)*c)) {
            gap = true;
        } else {
            if (n + 6 > size) {
                n += (size_t)snprintf(buf + n, size - n, "...");
                break;
            }
            if (gap && n > 0)
                buf[n++] = ' ';
            gap = false;
            buf[n++] = *c > 0x20 && *c < 0x7f ? *c : '?';
        }
    }
    buf[n] = '\0';
}

/* "NoPermissionFault", the name of the wrapping element, means the type "NoPermission". A
 * few types that we look for are called Fault themselves. */
static void without_suffix(char *name)
{
    static const char *const whole[] = {
        "FileFault",     "ApplicationQuiesceFault", "FilesystemQuiesceFault",
        "SnapshotFault", "VmConfigFault",           "RuntimeFault",
        "MethodFault"
    };
    size_t length = strlen(name);

    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        if (strcmp(name, whole[i]) == 0)
            return;
    }
    if (length > 5 && strcmp(name + length - 5, "Fault") == 0)
        name[length - 5] = '\0';
}

void envelope_fault_name(const xmlNode *fault, char *buf, size_t size)
{
    xml_type(fault, buf, size);
    if (buf[0] || !fault || fault->type != XML_ELEMENT_NODE || xml_is(fault, "fault"))
        return;
    snprintf(buf, size, "%s", (const char *)fault->name);
    without_suffix(buf);
}

/* On one line, for a message; valid UTF-8 stays as it is. */
static void one_line(char *text)
{
    char *to = text;

    for (const char *c = text; *c; c++) {
        bool blank = isspace((unsigned char)*c);

        if (!blank)
            *to++ = *c;
        else if (to > text && to[-1] != ' ')
            *to++ = ' ';
    }
    to -= to > text && to[-1] == ' ';
    *to = '\0';
}

static xmlNode *first_element(const xmlNode *node)
{
    xmlNode *n = node ? node->children : NULL;

    while (n && n->type != XML_ELEMENT_NODE)
        n = n->next;
    return n;
}

/* SOAP 1.1 faults. Their inner elements have no namespace, so names alone are looked at. */
static void read_fault(const xmlNode *fault, struct soap_answer *answer)
{
    size_t size = sizeof answer->fault_text;

    answer->detail = first_element(xml_child(fault, "detail"));
    envelope_fault_name(answer->detail, answer->fault, sizeof answer->fault);
    xml_text(fault, "faultstring", answer->fault_text, size);
    one_line(answer->fault_text);
    if (!answer->fault_text[0])
        xml_text(answer->detail, "localizedMessage", answer->fault_text, size);
    one_line(answer->fault_text);
    if (!answer->fault[0])
        snprintf(answer->fault, sizeof answer->fault, "SoapFault");
}

static bool is_soap(const xmlNode *node, const char *name)
{
    return xml_is(node, name) && node->ns && strcmp((const char *)node->ns->href, NS_SOAP) == 0;
}

static int make_sense(const char *op, struct soap_answer *answer, struct error **err)
{
    xmlNode *root = xmlDocGetRootElement(answer->doc);
    xmlNode *body = is_soap(root, "Envelope") ? xml_child(root, "Body") : NULL;
    xmlNode *first = first_element(body);
    size_t length = strlen(op);

    if (!is_soap(root, "Envelope"))
        return error_set(err, "it is no SOAP message but <%.64s>", (const char *)root->name);
    if (!is_soap(body, "Body"))
        return error_set(err, "the SOAP message has no Body");
    if (!first)
        return error_set(err, "the SOAP message's Body is empty");
    if (is_soap(first, "Fault")) {
        read_fault(first, answer);
        return 0;
    }
    if (strncmp((const char *)first->name, op, length) != 0 ||
        strcmp((const char *)first->name + length, "Response") != 0)
        return error_set(err, "it answers something else: <%.64s>", (const char *)first->name);
    answer->body = first;
    return 0;
}

/* Later, a server that is starting or overloaded may answer. */
static enum error_kind kind_of(long status)
{
    return status >= 502 || status == 429 || status == 408 ? ERROR_PAUSED : ERROR_FAILED;
}

int envelope_read(const char *text, size_t length, long status, const char *op, bool quote,
                  struct soap_answer *answer, struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;
    char words[160] = "";

    *answer = (struct soap_answer){ 0 };
    if (xml_parse(text, length, &answer->doc, &why) == 0 && make_sense(op, answer, &why) == 0) {
        if (answer->fault[0] || status == 200)
            return 0;
        error_set(&why, "an answer with the status of a failure");
    }
    soap_answer_free(answer);
    if (quote)
        first_words(text, length, words, sizeof words);
    return error_set_kind(
        err, kind_of(status), "HTTP status %ld, and the answer makes no sense: %s%s%s%s", status,
        error_message(why), words[0] ? "; it begins: \"" : "", words, words[0] ? "\"" : "");
}

void soap_answer_free(struct soap_answer *answer)
{
    xmlFreeDoc(answer->doc);
    *answer = (struct soap_answer){ 0 };
}
