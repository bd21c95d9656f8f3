/* Formats of a report. What comes in: tables and their rows, in order, each row once. What goes
 * out: the document, written as the rows come. */
#ifndef VMFERRY_REPORT_WRITER_H
#define VMFERRY_REPORT_WRITER_H

#include "json-writer.h"
#include "report/columns.h"
#include "table.h"

struct report_writer;

struct report_format {
    const char *name;
    void (*begin)(struct report_writer *writer, const char *title);
    void (*begin_table)(struct report_writer *writer);
    void (*row)(struct report_writer *writer, const struct store_cell *cells);
    void (*end_table)(struct report_writer *writer);
    void (*end)(struct report_writer *writer);
};

/* NULL: there is none of that name. */
const struct report_format *report_find_format(const char *name);

extern const struct report_format report_text, report_json, report_html;

struct report_writer {
    const struct report_format *format;
    FILE *out;
    const struct report_table *table; /* that is open */
    size_t rows;                      /* of it */
    struct json_writer json;          /* report_json's */
    struct table text;                /* report_text's */
    const char *heads[REPORT_COLUMNS_MAX];
    char head_texts[REPORT_COLUMNS_MAX][48];
};

#endif
