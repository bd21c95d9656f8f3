/* Levels per part; see levels.h. */
#include "log/levels.h"

#include <string.h>

static const char *const level_names[] = {
    [LEVEL_ERROR] = "error", [LEVEL_WARNING] = "warning", [LEVEL_NOTICE] = "notice",
    [LEVEL_INFO] = "info",   [LEVEL_DEBUG] = "debug",
};

static const char *const parts[] = { "cli",     "job",   "copy",     "source", "vsphere", "export",
                                     "replica", "store", "failover", "guest",  "api" };
#define PART_COUNT (sizeof parts / sizeof parts[0])
_Static_assert(PART_COUNT <= LOG_PARTS_MAX, "too many parts");

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

static int find_level(const char *name, size_t length, enum log_level *level)
{
    for (int i = LEVEL_ERROR; i <= LEVEL_DEBUG; i++) {
        if (strlen(level_names[i]) == length && memcmp(level_names[i], name, length) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

int log_level_find(const char *name, enum log_level *level)
{
    return find_level(name, strlen(name), level);
}

static size_t find_part(const char *name, size_t length)
{
    size_t i = 0;

    while (i < PART_COUNT && (strlen(parts[i]) != length || memcmp(parts[i], name, length) != 0))
        i++;
    return i;
}

static int no_such_part(const char *name, size_t length, struct error **err)
{
    char list[256] = "";

    for (size_t i = 0; i < PART_COUNT; i++) {
        size_t used = strlen(list);

        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", parts[i]);
    }
    return error_set_kind(err, ERROR_USAGE, "'%.*s' is no part of the log; there are: %s",
                          (int)length, name, list);
}

/* "info" or "vsphere=debug". */
static int parse_one(const char *word, size_t length, struct log_levels *levels, struct error **err)
{
    const char *equals = memchr(word, '=', length);
    size_t before = equals ? (size_t)(equals - word) : 0;
    const char *name = equals ? equals + 1 : word;
    size_t name_length = equals ? length - before - 1 : length;
    size_t part = equals ? find_part(word, before) : 0;
    enum log_level level;

    if (equals && part == PART_COUNT)
        return no_such_part(word, before, err);
    if (find_level(name, name_length, &level) < 0)
        return error_set_kind(err, ERROR_USAGE,
                              "'%.*s' is no level; say error, warning, notice, info or debug, or "
                              "PART=LEVEL, with commas between them",
                              (int)name_length, name);
    if (equals)
        levels->part[part] = (unsigned char)level;
    else
        levels->all = level;
    return 0;
}

int log_levels_parse(const char *text, struct log_levels *levels, struct error **err)
{
    *levels = (struct log_levels){ .all = LEVEL_INFO };
    for (;;) {
        size_t length = strcspn(text, ",");

        if (parse_one(text, length, levels, err) < 0)
            return -1;
        if (!text[length])
            return 0;
        text += length + 1;
    }
}

enum log_level log_levels_of(const struct log_levels *levels, const char *part)
{
    size_t i = find_part(part, strlen(part));

    return i < PART_COUNT && levels->part[i] ? (enum log_level)levels->part[i] : levels->all;
}
