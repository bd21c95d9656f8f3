/* Parts of a report that do not come from store_rows(). */
#ifndef VMFERRY_REPORT_PARTS_H
#define VMFERRY_REPORT_PARTS_H

#include <json.h>

#include "report/report.h"
#include "report/writer.h"

static inline struct store_cell cell_text(const char *text)
{
    return (struct store_cell){ .is_null = !text || !*text, .text = text };
}
static inline struct store_cell cell_number(int64_t number)
{
    return (struct store_cell){ .number = number };
}
/* 0 is "not known". */
static inline struct store_cell cell_positive(int64_t number)
{
    return (struct store_cell){ .number = number, .is_null = number == 0 };
}

void report_begin_table(struct report_writer *writer, const struct report_table *table);
void report_row(struct report_writer *writer, const struct store_cell *cells);
void report_end_table(struct report_writer *writer);

/* hardware.c: tables hardware, nics and source_disks of the VM's stored description. */
int report_hardware(struct report_writer *writer, const struct report_request *request,
                    struct error **err);

/* A failover that is reported on. */
struct report_failover {
    int64_t id;
    json_object *evidence; /* NULL: there is none */
};

/* evidence.c: tables boots, filesystems, checks and conversions. */
void report_evidence(struct report_writer *writer, const struct report_failover *failovers,
                     size_t count);
/* A CELL_SECONDS of a member in seconds. */
struct store_cell report_seconds(json_object *object, const char *name);

/* screens.c: the PNG files in the failovers' folders. A file that can't be read is left out. */
void report_screens(struct report_writer *writer, const char *state_dir,
                    const struct report_failover *failovers, size_t count);

/* software.c */
int report_software(struct report_writer *writer, struct store *store, struct error **err);

#endif
