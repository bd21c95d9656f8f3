/* What convert_run() and its worker say to each other: JSON, a line each. */
#ifndef VMFERRY_CONVERT_MESSAGE_H
#define VMFERRY_CONVERT_MESSAGE_H

#include <stdio.h>

#include "convert/convert.h"

/* A request as the worker has it: all in it is its own. */
struct convert_order {
    struct convert_request request;
    struct json_object *json;
    struct convert_disk *disks;
};

int message_send_request(FILE *out, const struct convert_request *request, struct error **err);
int message_read_request(FILE *in, struct convert_order *order, struct error **err);
void message_free_order(struct convert_order *order);

void message_send_line(FILE *out, const char *line);
void message_send_result(FILE *out, const struct convert_result *result);
void message_send_error(FILE *out, const struct error *error);

enum message { MESSAGE_LINE, MESSAGE_RESULT, MESSAGE_ERROR, MESSAGE_NONSENSE };

/* What one line is. A MESSAGE_LINE's text is in `text`. */
enum message message_parse(const char *line, char text[CONVERT_TEXT], struct convert_result *result,
                           struct error **err);

#endif
