/* Tables for people; see table.h. */
#include "table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

void table_cell(struct table *table, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    if (table->count == table->room) {
        size_t room = table->room ? 2 * table->room : 64;
        char **bigger = reallocarray(table->cells, room, sizeof *bigger);

        if (!bigger)
            return;
        table->cells = bigger;
        table->room = room;
    }
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    table->cells[table->count++] = text;
}

static const char *shown(const char *text)
{
    return text && *text ? text : "-";
}

/* Characters, not bytes: UTF-8 continuation bytes take no column. */
static int columns_of(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

/* A head without its marks. */
static const char *head_of(const struct table *table, size_t column, bool *right)
{
    const char *head = table->heads[column];

    head += head[0] == '?';
    *right = head[0] == '>';
    return head + *right;
}

static bool is_shown(const struct table *table, size_t column)
{
    if (table->heads[column][0] != '?')
        return true;
    for (size_t i = column; i < table->count; i += table->columns) {
        if (table->cells[i] && table->cells[i][0])
            return true;
    }
    return false;
}

/* -1: not shown. */
static int width_of(const struct table *table, size_t column)
{
    bool right;
    int width = columns_of(head_of(table, column, &right));

    if (!is_shown(table, column))
        return -1;
    for (size_t i = column; i < table->count; i += table->columns) {
        int cell = columns_of(shown(table->cells[i]));

        width = cell > width ? cell : width;
    }
    return width;
}

static void print_cell(FILE *out, const char *text, int width, bool right, bool last)
{
    int blanks = width - columns_of(text);

    if (right)
        fprintf(out, "%*s", blanks, "");
    fputs(text, out);
    if (!right && !last)
        fprintf(out, "%*s", blanks, "");
    fputs(last ? "\n" : "  ", out);
}

void table_print(const struct table *table, FILE *out)
{
    CLEANUP_FREE int *widths = calloc(table->columns, sizeof *widths);
    size_t last = 0;
    bool right;

    if (!widths)
        return;
    for (size_t c = 0; c < table->columns; c++) {
        widths[c] = width_of(table, c);
        last = widths[c] < 0 ? last : c;
    }
    for (size_t c = 0; c < table->columns; c++) {
        const char *head = head_of(table, c, &right);

        if (widths[c] >= 0)
            print_cell(out, head, widths[c], right, c == last);
    }
    for (size_t i = 0; i < table->count; i++) {
        size_t c = i % table->columns;

        head_of(table, c, &right);
        if (widths[c] >= 0)
            print_cell(out, shown(table->cells[i]), widths[c], right, c == last);
    }
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
}

const char *time_text(char buf[TIME_TEXT], int64_t ms)
{
    time_t seconds = ms / 1000;
    struct tm tm;

    if (ms == 0 || !localtime_r(&seconds, &tm) ||
        strftime(buf, TIME_TEXT, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        strcpy(buf, "-");
    return buf;
}
