/* A child's log; see log-relay.h. */
#include "commands/log-relay.h"

#include <json.h>
#include <stdio.h>
#include <string.h>

#include "log/log.h"

size_t relay_words(const char *words[RELAY_WORDS])
{
    static char levels[sizeof "--log-level=" + LOG_LEVELS_TEXT];
    char text[LOG_LEVELS_TEXT];

    words[0] = "--log-json";
    if (!log_levels_by_option(text))
        return 1;
    snprintf(levels, sizeof levels, "--log-level=%s", text);
    words[1] = levels;
    return 2;
}

static const char *text_of(json_object *record, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(record, name, &value) ? json_object_get_string(value) : NULL;
}

bool relay_line(json_object *record, char *end, size_t size)
{
    const char *level = text_of(record, "level");
    const char *part = text_of(record, "part"), *text = text_of(record, "message");
    const char *disk = text_of(record, "disk");
    struct log_line line = { .part = part, .text = text, .vm = text_of(record, "vm") };

    if (!level || !part || !text || log_level_find(level, &line.level) < 0)
        return false;
    if (text_of(record, "command")) {
        snprintf(end, size, "%s", text);
        return true;
    }
    if (strcmp(part, "cli") == 0) /* to whoever typed its command: nobody did */
        return true;
    line.job = json_object_get_int64(json_object_object_get(record, "job"));
    line.disk = disk ? disk : "";
    log_relay(&line);
    return true;
}
