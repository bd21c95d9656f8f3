/* The log of a child, which writes it as JSON, as a part of ours. */
#ifndef VMFERRY_LOG_RELAY_H
#define VMFERRY_LOG_RELAY_H

#include <stdbool.h>
#include <stddef.h>

struct json_object;

/* For a child's command line: its log as JSON, with the levels that ours was asked for. At most
 * RELAY_WORDS; valid until the next call. */
#define RELAY_WORDS 2
size_t relay_words(const char *words[RELAY_WORDS]);

/* false: `record` is no line of a log. Else it is on our stderr now, in our format; but the last
 * words of a child that failed, which are put into `end`. The child has kept it already. */
bool relay_line(struct json_object *record, char *end, size_t size);

#endif
