/* A report as one HTML page, well-formed as XML too; see writer.h. It needs no other file and no
 * network, and runs no script: its policy forbids both. */
#include <string.h>

#include "escape.h"
#include "report/writer.h"

static const char style[] =
    "body { font: 14px/1.4 sans-serif; color: #222; background: #fff; margin: 2em auto;\n"
    "       max-width: 90em; padding: 0 1em; }\n"
    "h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin: 1.8em 0 .5em; }\n"
    "table { border-collapse: collapse; }\n"
    "th, td { border: 1px solid #ccc; padding: .25em .5em; text-align: left; vertical-align: top;\n"
    "         overflow-wrap: anywhere; }\n"
    "th { background: #f2f2f2; white-space: nowrap; }\n"
    "td.n { text-align: right; white-space: nowrap; overflow-wrap: normal; }\n"
    "td.t { white-space: nowrap; overflow-wrap: normal; }\n"
    "td.i { font-family: monospace; font-size: .9em; min-width: 9em; }\n"
    "td.p { white-space: pre-wrap; }\n"
    "img { max-width: 40em; border: 1px solid #ccc; }\n"
    "@media print {\n"
    "  @page { size: A4 landscape; margin: 12mm; }\n"
    "  body { font-size: 9px; margin: 0; max-width: none; padding: 0; }\n"
    "  thead { display: table-header-group; } tr, img { break-inside: avoid; }\n"
    "  h2 { break-after: avoid; } th { white-space: normal; } td.i { min-width: 0; }\n"
    "}\n";

static void begin(struct report_writer *writer, const char *title)
{
    fputs("<!DOCTYPE html>\n"
          "<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n"
          "<meta charset=\"utf-8\" />\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
          "style-src 'unsafe-inline'; img-src data:\" />\n"
          "<meta name=\"viewport\" content=\"width=device-width\" />\n<title>",
          writer->out);
    escape_html(writer->out, title);
    fprintf(writer->out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", style);
    escape_html(writer->out, title);
    fputs("</h1>\n", writer->out);
}

static void begin_table(struct report_writer *writer)
{
    fprintf(writer->out, "<section id=\"%s\">\n<h2>%s</h2>\n", writer->table->name,
            writer->table->title);
}

static const char *class_of(enum cell_kind kind)
{
    switch (kind) {
    case CELL_NUMBER:
    case CELL_BYTES:
    case CELL_DURATION:
    case CELL_SECONDS:
        return "n";
    case CELL_TIME:
    case CELL_FLAG:
    case CELL_DISK:
        return "t";
    case CELL_ID:
        return "i";
    default:
        return "p";
    }
}

static void write_cell(FILE *out, const struct report_column *column, const struct store_cell *cell)
{
    CLEANUP_FREE char *text = report_cell_text(column, cell);

    fprintf(out, "<td class=\"%s\">", class_of(column->kind));
    if (column->kind == CELL_IMAGE && !cell->is_null)
        fprintf(out, "<img alt=\"screen\" src=\"data:image/png;base64,%s\" />", cell->text);
    else
        escape_html(out, text ? text : "");
    fputs("</td>", out);
}

static void write_heads(FILE *out, const struct report_table *table)
{
    fputs("<table>\n<thead><tr>", out);
    for (size_t i = 0; i < table->count; i++)
        fprintf(out, "<th>%s</th>", table->columns[i].label);
    fputs("</tr></thead>\n<tbody>\n", out);
}

static void write_pairs(FILE *out, const struct report_table *table, const struct store_cell *cells)
{
    fputs("<table>\n<tbody>\n", out);
    for (size_t i = 0; i < table->count; i++) {
        if (cells[i].is_null)
            continue;
        fprintf(out, "<tr><th>%s</th>", table->columns[i].label);
        write_cell(out, &table->columns[i], &cells[i]);
        fputs("</tr>\n", out);
    }
}

static void row(struct report_writer *writer, const struct store_cell *cells)
{
    const struct report_table *table = writer->table;

    if (table->single) {
        write_pairs(writer->out, table, cells);
        return;
    }
    if (writer->rows == 0)
        write_heads(writer->out, table);
    fputs("<tr>", writer->out);
    for (size_t i = 0; i < table->count; i++)
        write_cell(writer->out, &table->columns[i], &cells[i]);
    fputs("</tr>\n", writer->out);
}

static void end_table(struct report_writer *writer)
{
    if (writer->rows > 0)
        fputs("</tbody>\n</table>\n", writer->out);
    else if (writer->table->none)
        fprintf(writer->out, "<p>%s</p>\n", writer->table->none);
    fputs("</section>\n", writer->out);
}

static void end(struct report_writer *writer)
{
    fputs("</body>\n</html>\n", writer->out);
}

const struct report_format report_html = { "html", begin, begin_table, row, end_table, end };
