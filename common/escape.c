/* Escaping; see escape.h. */
#include "escape.h"

#include <stdbool.h>
#include <string.h>

#define REPLACEMENT 0xfffdU

static int follow(const unsigned char *s, int count, unsigned *code)
{
    for (int i = 1; i <= count; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return -1;
        *code = *code << 6 | (s[i] & 0x3f);
    }
    return 0;
}

int utf8_next(const char *text, unsigned *code)
{
    static const unsigned smallest[] = { 0, 0x80, 0x800, 0x10000 };
    const unsigned char *s = (const unsigned char *)text;
    int more = s[0] < 0x80             ? 0
               : (s[0] & 0xe0) == 0xc0 ? 1
               : (s[0] & 0xf0) == 0xe0 ? 2
               : (s[0] & 0xf8) == 0xf0 ? 3
                                       : -1;

    *code = REPLACEMENT;
    if (more < 0)
        return 1;
    *code = more ? s[0] & (0x3fU >> more) : s[0];
    if (follow(s, more, code) < 0 || *code < smallest[more] || *code > 0x10ffff ||
        (*code >= 0xd800 && *code <= 0xdfff)) {
        *code = REPLACEMENT;
        return 1;
    }
    return more + 1;
}

static bool is_control(unsigned code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

static void put(FILE *out, const char *text, int length, unsigned code)
{
    if (code == REPLACEMENT)
        fputs("\xef\xbf\xbd", out);
    else
        fwrite(text, 1, (size_t)length, out);
}

void escape_json(FILE *out, const char *text)
{
    unsigned code;
    int length;

    for (; *text; text += length) {
        length = utf8_next(text, &code);
        if (code == '"' || code == '\\')
            fprintf(out, "\\%c", (int)code);
        else if (code == '\n')
            fputs("\\n", out);
        else if (is_control(code))
            fprintf(out, "\\u%04x", code);
        else
            put(out, text, length, code);
    }
}

static const char *entity(unsigned code)
{
    switch (code) {
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '&':
        return "&amp;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

void escape_html(FILE *out, const char *text)
{
    unsigned code;
    int length;

    for (; *text; text += length) {
        length = utf8_next(text, &code);
        if ((is_control(code) && code != '\n' && code != '\t') || code == 0xfffe || code == 0xffff)
            code = REPLACEMENT;
        if (entity(code))
            fputs(entity(code), out);
        else
            put(out, text, length, code);
    }
}

void escape_terminal(FILE *out, const char *text)
{
    unsigned code;
    int length;

    for (; *text; text += length) {
        length = utf8_next(text, &code);
        if (is_control(code) && code != '\n' && code != '\t')
            fputc('?', out);
        else
            put(out, text, length, code);
    }
}

void mask_secrets(char *text)
{
    for (char *uri = strstr(text, "://"); uri; uri = strstr(uri + 3, "://")) {
        size_t length = strcspn(uri + 3, "/?# \t\n'\"<>");
        char *at = memrchr(uri + 3, '@', length);
        char *colon = at ? memchr(uri + 3, ':', (size_t)(at - uri - 3)) : NULL;

        if (colon)
            memmove(colon + 1, at, strlen(at) + 1);
    }
}

void copy_utf8(char *buf, size_t size, const char *text)
{
    size_t used = 0;
    unsigned code;

    for (int length; *text && used + 4 < size; text += length) {
        length = utf8_next(text, &code);
        if (code == REPLACEMENT) {
            memcpy(buf + used, "\xef\xbf\xbd", 3);
            used += 3;
        } else {
            memcpy(buf + used, text, (size_t)length);
            used += (size_t)length;
        }
    }
    buf[used] = '\0';
}
