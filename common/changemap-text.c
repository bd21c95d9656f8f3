/* The text form of a change map: a line a range, `offset length [type [words]]`,
 * as nbdkit's extentlist filter reads it and `nbdinfo --map` prints it. */
#include <stdio.h>
#include <string.h>

#include "changemap-reader.h"
#include "size.h"

/* No line of a range needs more; a comment may be of any length. */
#define LINE_SIZE 256

/* Read one line without its newline and without its comment, NUL-terminated.
 * Returns 1, or 0 at the end of the source. */
static int read_line(struct reader *reader, char *line, struct error **err)
{
    uint64_t number = reader->line;
    size_t length = 0;
    bool comment = false;
    int c = reader_peek(reader);

    if (c == READER_END)
        return 0;
    for (; (c = reader_peek(reader)) != '\n'; reader_skip(reader)) {
        if (c == READER_END)
            return reader_fail(reader, number, err,
                               "the last line has no newline: the file is truncated");
        comment = comment || c == '#';
        if (comment)
            continue;
        if (c == '\0')
            return reader_fail(reader, number, err, "this is neither text nor JSON");
        if (length == LINE_SIZE - 1)
            return reader_fail(reader, number, err, "the line is too long for `offset length'");
        line[length++] = (char)c;
    }
    reader_skip(reader);
    line[length] = '\0';
    return 1;
}

static int parse_field(struct reader *reader, uint64_t number, const char *name, const char *text,
                       uint64_t *value, struct error **err)
{
    const char *wrong;

    if (!text)
        return reader_fail(reader, number, err, "no %s: expected `offset length [type]'", name);
    wrong = size_parse(text, value);
    if (wrong)
        return reader_fail(reader, number, err, "%s `%s' %s", name, text, wrong);
    return 0;
}

/* Does the line say that the range did not change? nbdinfo prints `0  clean` for
 * a dirty bitmap. Every other type is a change; see changemap.h. */
static bool is_clean(const char *type, const char *words)
{
    if (!type)
        return false;
    return strcmp(type, "clean") == 0 ||
           (strcmp(type, "0") == 0 && words && strcmp(words, "clean") == 0);
}

static int parse_line(struct reader *reader, uint64_t number, char *line, struct error **err)
{
    static const char space[] = " \t\r\f\v";
    char *state;
    const char *first = strtok_r(line, space, &state);
    const char *second = strtok_r(NULL, space, &state);
    const char *type = second ? strtok_r(NULL, space, &state) : NULL;
    const char *words = type ? strtok_r(NULL, space, &state) : NULL;
    uint64_t offset, length;

    if (!first)
        return 0;
    if (parse_field(reader, number, "offset", first, &offset, err) < 0 ||
        parse_field(reader, number, "length", second, &length, err) < 0)
        return -1;
    if (is_clean(type, words))
        length = 0;
    return reader_add(reader, offset, length, number, err);
}

int changemap_read_text(struct reader *reader, struct error **err)
{
    char line[LINE_SIZE];

    for (;;) {
        uint64_t number = reader->line;
        int r = read_line(reader, line, err);

        if (r <= 0)
            return r;
        if (parse_line(reader, number, line, err) < 0)
            return -1;
    }
}
