/* Cells as people read them; see columns.h. */
#include <inttypes.h>
#include <json.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "report/columns.h"

static char *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *format(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    return text;
}

/* "25,165,824": all digits, as it may have to be compared. */
static char *bytes_text(int64_t number)
{
    char digits[32], text[48];
    size_t used = 0, length;

    length = (size_t)snprintf(digits, sizeof digits, "%" PRId64, number);
    for (size_t i = 0; i < length; i++) {
        text[used++] = digits[i];
        if ((length - i) % 3 == 1 && i + 1 < length && digits[i] != '-')
            text[used++] = ',';
    }
    text[used] = '\0';
    return strdup(text);
}

/* "12.3 s"; of an hour and more "3:25:45", "12d 4h". */
static char *seconds_text(int64_t ms)
{
    int64_t s = ms / 1000;

    if (s < 3600)
        return format("%.1f s", (double)ms / 1000);
    if (s < 86400)
        return format("%" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600, s / 60 % 60, s % 60);
    return format("%" PRId64 "d %" PRId64 "h", s / 86400, s % 86400 / 3600);
}

static char *utc_text(int64_t ms)
{
    time_t seconds = ms / 1000;
    char text[32];
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm))
        return NULL;
    return strdup(text);
}

/* "booted: true; by: console": of an object its plain members (what is deeper has tables of its
 * own), of anything else its JSON. */
static char *json_text_of(const char *document)
{
    json_object *object = json_tokener_parse(document);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    const char *between = "";

    if (out && json_object_is_type(object, json_type_object)) {
        json_object_object_foreach(object, name, value)
        {
            if (!value || json_object_is_type(value, json_type_object) ||
                json_object_is_type(value, json_type_array))
                continue;
            fprintf(out, "%s%s: %s", between, name, json_object_get_string(value));
            between = "; ";
        }
    } else if (out) {
        fputs(document, out);
    }
    if (out)
        fclose(out);
    json_object_put(object);
    return text;
}

char *report_cell_text(const struct report_column *column, const struct store_cell *cell)
{
    if (cell->is_null)
        return strdup("");
    switch (column->kind) {
    case CELL_NUMBER:
        return format("%" PRId64, cell->number);
    case CELL_BYTES:
        return bytes_text(cell->number);
    case CELL_TIME:
        return utc_text(cell->number);
    case CELL_DURATION:
        return format("%.1f s", (double)cell->number / 1000);
    case CELL_SECONDS:
        return seconds_text(cell->number);
    case CELL_FLAG:
        return strdup(cell->number ? "yes" : "no");
    case CELL_DISK:
        return format("disk-%" PRId64, cell->number);
    case CELL_JSON:
        return json_text_of(cell->text ? cell->text : "");
    case CELL_IMAGE:
        return strdup("");
    case CELL_TEXT:
    case CELL_ID:
        break;
    }
    return cell->text ? strdup(cell->text) : format("%" PRId64, cell->number);
}
