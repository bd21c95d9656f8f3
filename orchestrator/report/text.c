/* A report for a terminal; see writer.h. Rows of a table are kept until its end, as columns are
 * as wide as their widest cell. */
#include <string.h>

#include "escape.h"
#include "report/writer.h"

static void begin(struct report_writer *writer, const char *title)
{
    escape_terminal(writer->out, title);
    fputc('\n', writer->out);
}

static void begin_table(struct report_writer *writer)
{
    const struct report_table *table = writer->table;

    fprintf(writer->out, "\n%s\n", table->title);
    for (size_t i = 0; i < table->count; i++) {
        const struct report_column *column = &table->columns[i];
        bool right = column->kind == CELL_NUMBER || column->kind == CELL_BYTES ||
                     column->kind == CELL_DURATION || column->kind == CELL_SECONDS;

        snprintf(writer->head_texts[i], sizeof writer->head_texts[i], "?%s%s", right ? ">" : "",
                 column->label);
        writer->heads[i] = writer->head_texts[i];
    }
    writer->text = (struct table){ .heads = writer->heads, .columns = table->count };
}

/* On one line, and nothing in it that a terminal obeys. */
static char *clean_text(const struct report_column *column, const struct store_cell *cell)
{
    CLEANUP_FREE char *text = report_cell_text(column, cell);
    char *clean = NULL;
    size_t size;
    FILE *out = open_memstream(&clean, &size);

    if (!out)
        return NULL;
    for (char *c = text; c && *c; c++) {
        if (*c == '\n' || *c == '\t')
            *c = ' ';
    }
    escape_terminal(out, text ? text : "");
    fclose(out);
    return clean;
}

static void row(struct report_writer *writer, const struct store_cell *cells)
{
    const struct report_table *table = writer->table;

    for (size_t i = 0; i < table->count; i++) {
        CLEANUP_FREE char *text = clean_text(&table->columns[i], &cells[i]);

        if (!table->single)
            table_cell(&writer->text, "%s", text ? text : "");
        else if (text && *text)
            fprintf(writer->out, "  %-30s %s\n", table->columns[i].label, text);
    }
}

static void end_table(struct report_writer *writer)
{
    if (writer->text.count > 0)
        table_print(&writer->text, writer->out);
    else if (writer->rows == 0 && writer->table->none)
        fprintf(writer->out, "  %s\n", writer->table->none);
    table_free(&writer->text);
    writer->text = (struct table){ 0 };
}

static void end(struct report_writer *writer)
{
    (void)writer;
}

const struct report_format report_text = { "text", begin, begin_table, row, end_table, end };
