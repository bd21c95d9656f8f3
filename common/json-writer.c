/* Writing JSON; see json-writer.h. */
#include "json-writer.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "escape.h"

static void begin(struct json_writer *json, const char *name)
{
    if (json->not_first)
        fputc(',', json->out);
    if (json->depth > 0 && !json->compact)
        fprintf(json->out, "\n%*s", (int)json->depth * 2, "");
    json->not_first = true;
    if (!name)
        return;
    fputc('"', json->out);
    escape_json(json->out, name);
    fputs(json->compact ? "\":" : "\": ", json->out);
}

void json_open(struct json_writer *json, const char *name, char bracket)
{
    begin(json, name);
    fputc(bracket, json->out);
    json->depth++;
    json->not_first = false;
}

void json_close(struct json_writer *json, char bracket)
{
    json->depth--;
    if (json->not_first && !json->compact)
        fprintf(json->out, "\n%*s", (int)json->depth * 2, "");
    fputc(bracket, json->out);
    json->not_first = true;
    if (json->depth == 0 && !json->compact)
        fputc('\n', json->out);
}

void json_put_text(struct json_writer *json, const char *name, const char *text)
{
    if (!text || !*text) {
        json_put_null(json, name);
        return;
    }
    begin(json, name);
    fputc('"', json->out);
    escape_json(json->out, text);
    fputc('"', json->out);
}

void json_put_int(struct json_writer *json, const char *name, int64_t value)
{
    begin(json, name);
    fprintf(json->out, "%" PRId64, value);
}

void json_put_size(struct json_writer *json, const char *name, uint64_t value)
{
    begin(json, name);
    fprintf(json->out, "%" PRIu64, value);
}

void json_put_real(struct json_writer *json, const char *name, double value)
{
    begin(json, name);
    fprintf(json->out, "%.3f", value);
}

void json_put_bool(struct json_writer *json, const char *name, bool value)
{
    begin(json, name);
    fputs(value ? "true" : "false", json->out);
}

void json_put_null(struct json_writer *json, const char *name)
{
    begin(json, name);
    fputs("null", json->out);
}

void json_put_time(struct json_writer *json, const char *name, int64_t ms)
{
    char text[TIME_RFC3339];

    json_put_text(json, name, time_rfc3339(text, ms));
}

void json_put_raw(struct json_writer *json, const char *name, const char *document)
{
    begin(json, name);
    fputs(document, json->out);
}

const char *time_rfc3339(char buf[TIME_RFC3339], int64_t ms)
{
    time_t seconds = ms / 1000;
    size_t used;
    struct tm tm;

    buf[0] = '\0';
    if (ms == 0 || !gmtime_r(&seconds, &tm))
        return buf;
    used = strftime(buf, TIME_RFC3339, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + used, TIME_RFC3339 - used, ".%03dZ", (int)(ms % 1000));
    return buf;
}
