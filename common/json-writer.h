/* JSON written as it is known, member by member, however long it gets. Any text is fine: what
 * is no UTF-8 becomes U+FFFD. The caller nests rightly; out's own error says whether it
 * was written.
 *
 *     struct json_writer json = { .out = stdout };
 *     json_open(&json, NULL, '{');
 *     json_put_text(&json, "name", name);       "" and NULL are null
 *     json_open(&json, "disks", '[');
 *     …
 *     json_close(&json, ']');
 *     json_close(&json, '}');               a newline after the outermost                  */
#ifndef VMFERRY_JSON_WRITER_H
#define VMFERRY_JSON_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json_writer {
    FILE *out;
    bool compact; /* all in one line, without one's end */
    unsigned depth;
    bool not_first; /* of the object or array that is open */
};

/* `name` is NULL in an array and for the outermost one. */
void json_open(struct json_writer *json, const char *name, char bracket);
void json_close(struct json_writer *json, char bracket);

void json_put_text(struct json_writer *json, const char *name, const char *text);
void json_put_int(struct json_writer *json, const char *name, int64_t value);
void json_put_size(struct json_writer *json, const char *name, uint64_t value);
void json_put_real(struct json_writer *json, const char *name, double value); /* 3 digits */
void json_put_bool(struct json_writer *json, const char *name, bool value);
void json_put_null(struct json_writer *json, const char *name);
/* RFC 3339 in UTC, to the millisecond; null for 0. */
void json_put_time(struct json_writer *json, const char *name, int64_t ms);
/* What is JSON already, by the caller's word. */
void json_put_raw(struct json_writer *json, const char *name, const char *document);

/* "2026-11-21T18:30:29.123Z". */
#define TIME_RFC3339 32
const char *time_rfc3339(char buf[TIME_RFC3339], int64_t ms);

#endif
