/* A report as JSON: one object, a member for each table; see writer.h. */
#include <json.h>

#include "report/writer.h"

static void begin(struct report_writer *writer, const char *title)
{
    (void)title;
    writer->json = (struct json_writer){ .out = writer->out };
    json_open(&writer->json, NULL, '{');
}

static void begin_table(struct report_writer *writer)
{
    if (!writer->table->single)
        json_open(&writer->json, writer->table->name, '[');
}

/* As it is, if it is JSON at all. */
static void write_document(struct json_writer *json, const char *name, const char *document)
{
    json_object *object = document ? json_tokener_parse(document) : NULL;

    if (object)
        json_put_raw(json, name,
                     json_object_to_json_string_ext(object, JSON_C_TO_STRING_SPACED |
                                                                JSON_C_TO_STRING_NOSLASHESCAPE));
    else
        json_put_null(json, name);
    json_object_put(object);
}

static void write_cell(struct json_writer *json, const struct report_column *column,
                       const struct store_cell *cell)
{
    char text[24];

    if (cell->is_null) {
        json_put_null(json, column->name);
        return;
    }
    switch (column->kind) {
    case CELL_NUMBER:
    case CELL_BYTES:
    case CELL_DURATION:
        json_put_int(json, column->name, cell->number);
        break;
    case CELL_SECONDS:
        snprintf(text, sizeof text, "%.1f", (double)cell->number / 1000);
        json_put_raw(json, column->name, text);
        break;
    case CELL_TIME:
        json_put_time(json, column->name, cell->number);
        break;
    case CELL_FLAG:
        json_put_bool(json, column->name, cell->number != 0);
        break;
    case CELL_DISK:
        snprintf(text, sizeof text, "disk-%lld", (long long)cell->number);
        json_put_text(json, column->name, text);
        break;
    case CELL_JSON:
        write_document(json, column->name, cell->text);
        break;
    case CELL_TEXT:
    case CELL_ID:
        json_put_text(json, column->name, cell->text);
        break;
    case CELL_IMAGE: /* its file is named */
        break;
    }
}

static void row(struct report_writer *writer, const struct store_cell *cells)
{
    json_open(&writer->json, writer->table->single ? writer->table->name : NULL, '{');
    for (size_t i = 0; i < writer->table->count; i++)
        write_cell(&writer->json, &writer->table->columns[i], &cells[i]);
    json_close(&writer->json, '}');
}

static void end_table(struct report_writer *writer)
{
    if (!writer->table->single)
        json_close(&writer->json, ']');
    else if (writer->rows == 0)
        json_put_null(&writer->json, writer->table->name);
}

static void end(struct report_writer *writer)
{
    json_close(&writer->json, '}');
}

const struct report_format report_json = { "json", begin, begin_table, row, end_table, end };
