/* What the store knows of a VM or a job, as rows to be written down one by one: for
 * `vmferry report`. What comes in: which table of the report, and of what. What goes out: cells
 * with names, as the database has them; their meaning is in report/tables.c. */
#ifndef VMFERRY_STORE_REPORT_H
#define VMFERRY_STORE_REPORT_H

#include "store/store.h"

enum store_rows {
    ROWS_VM,
    ROWS_SUMMARY,
    ROWS_DISKS,
    ROWS_JOBS,
    ROWS_STEPS,
    ROWS_SYNCS,
    ROWS_POINTS,
    ROWS_POINT_DISKS,
    ROWS_FAILOVERS,
    ROWS_AUDIT,
    ROWS_LOG,
};

struct store_cell {
    const char *name;
    bool is_null;
    int64_t number;   /* 0 for a text that is none */
    const char *text; /* NULL for a number; good until the function returns */
};

/* Of one VM; of one of its jobs, where rows belong to one, unless job_id is 0. */
struct store_about {
    int64_t vm_id;
    int64_t job_id;
};

/* The function must not use the store. -1 ends it. */
typedef int store_row(void *opaque, const struct store_cell *cells, size_t count,
                      struct error **err);
int store_rows(struct store *store, enum store_rows which, const struct store_about *about,
               store_row *row, void *opaque, struct error **err);

#endif
