/* The tables of a report: one description that all formats share. What a format writes of a
 * cell depends on its kind alone. */
#ifndef VMFERRY_REPORT_COLUMNS_H
#define VMFERRY_REPORT_COLUMNS_H

#include "store/report.h"

enum cell_kind {
    CELL_TEXT,
    CELL_ID, /* a text to be compared, not read: a digest, a change id */
    CELL_NUMBER,
    CELL_BYTES,
    CELL_TIME,     /* milliseconds since 1970 UTC */
    CELL_DURATION, /* milliseconds */
    CELL_SECONDS,  /* milliseconds, which programs read as seconds */
    CELL_FLAG,
    CELL_DISK,  /* a disk's key: "disk-2000" */
    CELL_JSON,  /* a JSON object in a text */
    CELL_IMAGE, /* PNG, in base64 */
};

struct report_column {
    const char *name;  /* of the JSON member, and of the store's column */
    const char *label; /* for people */
    enum cell_kind kind;
};

#define REPORT_COLUMNS_MAX 24
/* Grows when a name goes or changes its meaning; not when one is added. */
#define REPORT_LAYOUT 1

struct report_table {
    const char *name;
    const char *title;
    const char *none; /* what to say when there are no rows */
    bool single;      /* one row at most, written as pairs; a JSON object */
    size_t count;
    struct report_column columns[REPORT_COLUMNS_MAX];
};

/* Of store_rows(). */
const struct report_table *report_table_of(enum store_rows rows);

extern const struct report_table report_table_report, report_table_hardware, report_table_nics,
    report_table_source_disks, report_table_screens, report_table_software, report_table_boots,
    report_table_filesystems, report_table_checks, report_table_conversions;
/* Of a drill. */
extern const struct report_table report_table_drill, report_table_results;

/* A cell for people: "25,165,824", "2026-11-21 18:30:29 UTC", "1.5 s", "yes". The caller's to
 * free; NULL without memory. "" for a null. */
char *report_cell_text(const struct report_column *column, const struct store_cell *cell);

#endif
