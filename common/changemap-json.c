/* The JSON form of a change map, read as a stream: only the numbers of one entry
 * are kept at a time, whatever the size of the document. Strict JSON: what is
 * not complete and well-formed to the last byte is an error.
 *
 *   document  an array of entries, or an object in which, at any depth of
 *             objects, there is a member `changedArea` with an array of entries
 *   entry     an object with `start` (or `offset`) and `length`; or an object that
 *             has a `changedArea` of its own (a list of vSphere's DiskChangeInfo)
 *
 * Member names are taken in either case (some tools write `Start`, `Length`). */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "changemap-reader.h"

/* Deeper nesting than this is no tool's output. */
#define DEPTH_MAX 64

/* Longer strings are cut: no name or value that matters here is longer. */
#define TEXT_SIZE 32

struct json {
    struct reader *reader;
    struct error **err;
    unsigned depth;
    bool found_list;
    uint64_t covered; /* bytes from 0 that the pages seen so far answer for */
};

enum kind { KIND_OTHER, KIND_NUMBER, KIND_STRING, KIND_TRUE, KIND_FALSE, KIND_NULL };

struct scalar {
    enum kind kind; /* KIND_OTHER: an array or object, which has been skipped */
    char text[TEXT_SIZE];
};

/* What the members of one object say. */
struct entry {
    bool has_start, has_offset, has_length, has_start_offset, has_list;
    uint64_t start, offset, length, start_offset;
    bool clean;     /* description "clean" */
    bool not_dirty; /* dirty false */
    bool type_set;  /* type is not 0 */
};

static int parse_list(struct json *json);

#define FAIL(json, ...) reader_fail((json)->reader, (json)->reader->line, (json)->err, __VA_ARGS__)

/* The next byte that is not white space; it stays. */
static int peek(struct json *json)
{
    int c;

    while ((c = reader_peek(json->reader)) == ' ' || c == '\n' || c == '\t' || c == '\r')
        reader_skip(json->reader);
    return c;
}

/* What was expected did not come. */
static int unexpected(struct json *json, const char *expected)
{
    int c = reader_peek(json->reader);

    if (c == READER_END)
        return FAIL(json, "the file is truncated: expected %s", expected);
    if (isprint(c))
        return FAIL(json, "expected %s, found `%c'", expected, c);
    return FAIL(json, "expected %s, found byte %d", expected, c);
}

static int expect(struct json *json, int c, const char *expected)
{
    if (peek(json) != c)
        return unexpected(json, expected);
    reader_skip(json->reader);
    return 0;
}

/* After a backslash. No name or value that matters here needs an escape, so that
 * a ? in its place is enough. */
static int parse_escape(struct json *json)
{
    int c = reader_peek(json->reader);

    if (c == READER_END || c == '\0' || !strchr("\"\\/bfnrtu", c))
        return unexpected(json, "an escape");
    reader_skip(json->reader);
    for (int digits = c == 'u' ? 4 : 0; digits > 0; digits--) {
        c = reader_peek(json->reader);
        if (c == READER_END || !isxdigit(c))
            return unexpected(json, "a hexadecimal digit");
        reader_skip(json->reader);
    }
    return 0;
}

static int parse_string(struct json *json, char text[TEXT_SIZE])
{
    size_t length = 0;
    int c;

    if (expect(json, '"', "a string") < 0)
        return -1;
    while ((c = reader_peek(json->reader)) != '"') {
        if (c == READER_END || c < ' ')
            return unexpected(json, "the end of a string");
        reader_skip(json->reader);
        if (c == '\\') {
            c = '?';
            if (parse_escape(json) < 0)
                return -1;
        }
        if (length < TEXT_SIZE - 1)
            text[length++] = (char)c;
    }
    reader_skip(json->reader);
    text[length] = '\0';
    return 0;
}

/* A number or a word: everything up to the next delimiter. */
static int parse_word(struct json *json, char text[TEXT_SIZE])
{
    size_t length = 0;
    int c;

    while ((c = reader_peek(json->reader)) != READER_END &&
           (isalnum(c) || c == '-' || c == '+' || c == '.')) {
        if (length == TEXT_SIZE - 1)
            return FAIL(json, "a number is too long");
        text[length++] = (char)c;
        reader_skip(json->reader);
    }
    text[length] = '\0';
    if (length == 0)
        return unexpected(json, "a value");
    if (c == READER_END)
        return unexpected(json, "more after a value");
    return 0;
}

/* JSON's grammar of numbers: -? (0 | [1-9][0-9]*) (.[0-9]+)? ([eE][+-]?[0-9]+)? */
static bool is_number(const char *p)
{
    p += *p == '-';
    if (!isdigit((unsigned char)*p))
        return false;
    if (*p == '0')
        p++;
    else
        p += strspn(p, "0123456789");
    if (*p == '.') {
        if (!isdigit((unsigned char)*++p))
            return false;
        p += strspn(p, "0123456789");
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '+' || *p == '-';
        if (!isdigit((unsigned char)*p))
            return false;
        p += strspn(p, "0123456789");
    }
    return *p == '\0';
}

static int enter(struct json *json)
{
    if (++json->depth > DEPTH_MAX)
        return FAIL(json, "nested more than %d deep", DEPTH_MAX);
    reader_skip(json->reader);
    return 0;
}

/* Before the next element of an array or object that closes with `close`: 1 when
 * there is one, 0 when it has been closed. */
static int next_element(struct json *json, bool first, int close)
{
    int c = peek(json);

    if (c == close) {
        reader_skip(json->reader);
        json->depth--;
        return 0;
    }
    if (first)
        return 1;
    if (c != ',')
        return unexpected(json, close == ']' ? "`,' or `]'" : "`,' or `}'");
    reader_skip(json->reader);
    if (peek(json) == close)
        return unexpected(json, "another element after `,'");
    return 1;
}

static int parse_scalar(struct json *json, struct scalar *scalar);

/* Pass over an array or object and all that is in it. */
static int skip_nested(struct json *json, int close)
{
    struct scalar ignored;
    int r;

    if (enter(json) < 0)
        return -1;
    for (bool first = true; (r = next_element(json, first, close)) > 0; first = false) {
        if (close == '}' && (parse_string(json, ignored.text) < 0 || expect(json, ':', "`:'") < 0))
            return -1;
        if (parse_scalar(json, &ignored) < 0)
            return -1;
    }
    return r;
}

/* Any value. */
static int parse_scalar(struct json *json, struct scalar *scalar)
{
    int c = peek(json);

    scalar->kind = KIND_OTHER;
    if (c == '[' || c == '{')
        return skip_nested(json, c == '[' ? ']' : '}');
    if (c == '"') {
        scalar->kind = KIND_STRING;
        return parse_string(json, scalar->text);
    }
    if (parse_word(json, scalar->text) < 0)
        return -1;
    if (is_number(scalar->text))
        scalar->kind = KIND_NUMBER;
    else if (strcmp(scalar->text, "true") == 0)
        scalar->kind = KIND_TRUE;
    else if (strcmp(scalar->text, "false") == 0)
        scalar->kind = KIND_FALSE;
    else if (strcmp(scalar->text, "null") == 0)
        scalar->kind = KIND_NULL;
    else
        return FAIL(json, "`%s' is no JSON value", scalar->text);
    return 0;
}

/* A whole number of bytes; some tools write it as a string. */
static int parse_bytes(struct json *json, const char *name, bool *seen, uint64_t *value)
{
    struct scalar scalar;
    const char *p = scalar.text;

    if (parse_scalar(json, &scalar) < 0)
        return -1;
    if (*seen)
        return FAIL(json, "`%s' stands twice in one object", name);
    if (scalar.kind != KIND_NUMBER && scalar.kind != KIND_STRING)
        return FAIL(json, "`%s' is not a number", name);
    if (*p == '-')
        return FAIL(json, "%s `%s' is negative", name, scalar.text);
    if (*p == '\0' || p[strspn(p, "0123456789")] != '\0')
        return FAIL(json, "%s `%s' is not a whole number", name, scalar.text);
    *value = 0;
    for (; *p; p++) {
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*p - '0'), value) || *value > INT64_MAX)
            return FAIL(json, "%s `%s' is too large", name, scalar.text);
    }
    *seen = true;
    return 0;
}

static bool is_false(const struct scalar *scalar)
{
    return scalar->kind == KIND_FALSE ||
           (scalar->kind == KIND_NUMBER && strcmp(scalar->text, "0") == 0) ||
           (scalar->kind == KIND_STRING &&
            (strcasecmp(scalar->text, "false") == 0 || strcmp(scalar->text, "0") == 0));
}

/* In either case. The first letter alone settles most. */
static inline bool same_name(const char *name, const char *wanted)
{
    return (name[0] | 0x20) == wanted[0] && strcasecmp(name, wanted) == 0;
}

/* One member that is no list: its name has been read. Of a wrapping object only
 * what makes it a page of vSphere's answer counts. */
static int parse_member(struct json *json, struct entry *entry, const char *name, bool wrapper)
{
    struct scalar scalar;

    if (same_name(name, "startOffset"))
        return parse_bytes(json, name, &entry->has_start_offset, &entry->start_offset);
    if (same_name(name, "length"))
        return parse_bytes(json, name, &entry->has_length, &entry->length);
    if (wrapper)
        return parse_scalar(json, &scalar);
    if (same_name(name, "start"))
        return parse_bytes(json, name, &entry->has_start, &entry->start);
    if (same_name(name, "offset"))
        return parse_bytes(json, name, &entry->has_offset, &entry->offset);
    if (parse_scalar(json, &scalar) < 0)
        return -1;
    if (same_name(name, "dirty"))
        entry->not_dirty = is_false(&scalar);
    else if (same_name(name, "type"))
        entry->type_set = !is_false(&scalar);
    else if (same_name(name, "description"))
        entry->clean = scalar.kind == KIND_STRING && strcmp(scalar.text, "clean") == 0;
    return 0;
}

/* vSphere's DiskChangeInfo answers for `length` bytes from `startOffset`: one page
 * of an answer. A missing page would be lost changes. */
static int end_page(struct json *json, const struct entry *page)
{
    if (!page->has_start_offset || !page->has_length)
        return 0;
    if (page->start_offset > json->covered)
        return FAIL(json,
                    "changed areas from %" PRIu64 " on, but those before end at %" PRIu64
                    ": an answer of the query is missing between",
                    page->start_offset, json->covered);
    if (page->length > INT64_MAX - page->start_offset)
        return FAIL(json, "length %" PRIu64 " is too large", page->length);
    if (page->start_offset + page->length > json->covered)
        json->covered = page->start_offset + page->length;
    json->reader->map->covered = json->covered;
    return 0;
}

/* An object's members. In the wrapping objects above the list (`wrapper`) members
 * that are objects are looked into; within an entry they are skipped. */
static int parse_object(struct json *json, struct entry *entry, bool wrapper)
{
    char name[TEXT_SIZE];
    int r;

    *entry = (struct entry){ 0 };
    if (peek(json) != '{')
        return unexpected(json, "an object with start and length");
    if (enter(json) < 0)
        return -1;
    for (bool first = true; (r = next_element(json, first, '}')) > 0; first = false) {
        struct entry inner;

        if (parse_string(json, name) < 0 || expect(json, ':', "`:'") < 0)
            return -1;
        if (same_name(name, "changedArea")) {
            entry->has_list = true;
            r = parse_list(json);
        } else if (wrapper && peek(json) == '{') {
            r = parse_object(json, &inner, true);
        } else {
            r = parse_member(json, entry, name, wrapper);
        }
        if (r < 0)
            return -1;
    }
    if (r < 0)
        return -1;
    /* vSphere leaves `changedArea` out when nothing in the region changed. */
    if (!entry->has_list && !entry->has_start_offset)
        return 0;
    json->found_list = true;
    return end_page(json, entry);
}

static int parse_entry(struct json *json)
{
    struct entry entry;
    uint64_t line;

    peek(json);
    line = json->reader->line;
    if (parse_object(json, &entry, false) < 0)
        return -1;
    if (entry.has_list || (entry.has_start_offset && !entry.has_start))
        return 0;
    if (!entry.has_length || !(entry.has_start || entry.has_offset))
        return reader_fail(json->reader, line, json->err, "an entry has no %s",
                           entry.has_length ? "start or offset" : "length");
    if (entry.not_dirty || (entry.clean && !entry.type_set))
        entry.length = 0;
    /* qemu-img's offset is where the data lies in the image file; its start is ours. */
    return reader_add(json->reader, entry.has_start ? entry.start : entry.offset, entry.length,
                      line, json->err);
}

/* An array of entries. Tools that come from XML write an array of one as the
 * entry itself, and an empty one as null. */
static int parse_list(struct json *json)
{
    struct scalar scalar;
    int c = peek(json);
    int r;

    if (c == '{')
        return parse_entry(json);
    if (c == 'n') {
        if (parse_scalar(json, &scalar) < 0)
            return -1;
        return scalar.kind == KIND_NULL ? 0 : FAIL(json, "changedArea is no list");
    }
    if (c != '[')
        return unexpected(json, "a list of ranges");
    if (enter(json) < 0)
        return -1;
    for (bool first = true; (r = next_element(json, first, ']')) > 0; first = false) {
        if (parse_entry(json) < 0)
            return -1;
    }
    return r;
}

int changemap_read_json(struct reader *reader, struct error **err)
{
    struct json json = { .reader = reader, .err = err };
    struct entry entry;
    int r;

    if (peek(&json) == '[') {
        json.found_list = true;
        r = parse_list(&json);
    } else {
        r = parse_object(&json, &entry, true);
    }
    if (r < 0)
        return -1;
    if (peek(&json) != READER_END)
        return unexpected(&json, "nothing after the end of the list");
    if (!json.found_list)
        return reader_fail(reader, 1, err,
                           "no ranges found: expected an array of {start, length}, or an object "
                           "with such an array as changedArea");
    return 0;
}
