/* Writing XML; see xml.h. */
#include <string.h>

#include "source/vsphere/xml.h"

/* Not realloc(): it would leave a copy of what was written behind. */
static bool make_room(struct xml_writer *writer, size_t more)
{
    size_t capacity = writer->capacity ? writer->capacity : 512;
    char *grown;

    if (writer->failed)
        return false;
    while (capacity - writer->length <= more)
        capacity *= 2;
    if (capacity == writer->capacity)
        return true;
    grown = malloc(capacity);
    if (!grown) {
        writer->failed = true;
        return false;
    }
    if (writer->text) {
        memcpy(grown, writer->text, writer->length + 1);
        explicit_bzero(writer->text, writer->capacity);
        free(writer->text);
    }
    writer->text = grown;
    writer->capacity = capacity;
    return true;
}

static void put(struct xml_writer *writer, const char *text, size_t length)
{
    if (!make_room(writer, length))
        return;
    memcpy(writer->text + writer->length, text, length);
    writer->length += length;
    writer->text[writer->length] = '\0';
}

void xml_raw(struct xml_writer *writer, const char *xml)
{
    put(writer, xml, strlen(xml));
}

/* Carriage returns, too: a parser turns a plain one into a newline. */
static const char *escape(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&apos;";
    case '\r':
        return "&#13;";
    default:
        return NULL;
    }
}

static bool is_fit(const char *text)
{
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 && !strchr("\t\n\r", *c))
            return false;
    }
    /* U+FFFE, U+FFFF: the two other characters that XML has no way to write. */
    return xmlCheckUTF8((const unsigned char *)text) && !strstr(text, "\xef\xbf\xbe") &&
           !strstr(text, "\xef\xbf\xbf");
}

void xml_escaped(struct xml_writer *writer, const char *text)
{
    if (!is_fit(text)) {
        writer->unfit = true;
        return;
    }
    for (const char *c = text; *c; c++) {
        const char *escaped = escape(*c);

        if (escaped)
            xml_raw(writer, escaped);
        else
            put(writer, c, 1);
    }
}

void xml_open(struct xml_writer *writer, const char *name, const char *attributes)
{
    xml_raw(writer, "<");
    xml_raw(writer, name);
    if (attributes) {
        xml_raw(writer, " ");
        xml_raw(writer, attributes);
    }
    xml_raw(writer, ">");
}

void xml_close(struct xml_writer *writer, const char *name)
{
    xml_raw(writer, "</");
    xml_raw(writer, name);
    xml_raw(writer, ">");
}

void xml_element(struct xml_writer *writer, const char *name, const char *text)
{
    xml_open(writer, name, NULL);
    xml_escaped(writer, text);
    xml_close(writer, name);
}

int xml_writer_check(const struct xml_writer *writer, const char *what, struct error **err)
{
    if (writer->failed)
        return error_set_errno(err, ENOMEM, "writing %s", what);
    if (writer->unfit)
        return error_set(err,
                         "%s holds a control character or broken UTF-8, which the vSphere API "
                         "can't carry",
                         what);
    return 0;
}

void xml_writer_free(struct xml_writer *writer)
{
    if (writer->text)
        explicit_bzero(writer->text, writer->capacity);
    free(writer->text);
    *writer = (struct xml_writer){ 0 };
}
