/* A report, part by part; see report.h. */
#include "report/report.h"

#include <string.h>

#include "report/parts.h"

static const struct report_format *const formats[] = { &report_text, &report_json, &report_html };

const struct report_format *report_find_format(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(formats[i]->name, name) == 0)
            return formats[i];
    }
    return NULL;
}

int report_check_format(const char *format, struct error **err)
{
    if (report_find_format(format))
        return 0;
    return error_set_kind(err, ERROR_USAGE, "--format=%s: say text, json or html", format);
}

void report_begin_table(struct report_writer *writer, const struct report_table *table)
{
    writer->table = table;
    writer->rows = 0;
    writer->format->begin_table(writer);
}

void report_row(struct report_writer *writer, const struct store_cell *cells)
{
    writer->format->row(writer, cells);
    writer->rows++;
}

void report_end_table(struct report_writer *writer)
{
    writer->format->end_table(writer);
}

struct making {
    const struct report_request *request;
    FILE *out;
    struct report_writer writer;
    struct report_failover *failovers;
    size_t failover_count;
};

static void forget_failovers(struct making *making)
{
    for (size_t i = 0; i < making->failover_count; i++)
        json_object_put(making->failovers[i].evidence);
    making->failover_count = 0;
}

static int take_row(void *opaque, const struct store_cell *cells, size_t count, struct error **err)
{
    struct making *making = opaque;
    const struct report_table *table = making->writer.table;

    if (count != table->count)
        return error_set(err, "the report's table %s has %zu columns, but the store %zu",
                         table->name, table->count, count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(cells[i].name, table->columns[i].name) != 0)
            return error_set(err, "the report's table %s has no column %s", table->name,
                             cells[i].name);
    }
    report_row(&making->writer, cells);
    return 0;
}

static int take_failover(void *opaque, const struct store_cell *cells, size_t count,
                         struct error **err)
{
    struct making *making = opaque;
    struct report_failover *grown =
        reallocarray(making->failovers, making->failover_count + 1, sizeof *grown);
    struct report_failover *next;

    if (!grown)
        return error_set_errno(err, ENOMEM, "listing failovers");
    making->failovers = grown;
    next = &grown[making->failover_count++];
    *next = (struct report_failover){ .id = cells[0].number };
    for (size_t i = 0; i < count; i++) {
        if (strcmp(cells[i].name, "evidence") == 0 && !cells[i].is_null && cells[i].text)
            next->evidence = json_tokener_parse(cells[i].text);
    }
    return take_row(opaque, cells, count, err);
}

static int write_rows(struct making *making, enum store_rows which, struct error **err)
{
    const struct report_request *request = making->request;
    const struct store_about about = { .vm_id = request->vm->id, .job_id = request->job_id };

    report_begin_table(&making->writer, report_table_of(which));
    if (store_rows(request->store, which, &about,
                   which == ROWS_FAILOVERS ? take_failover : take_row, making, err) < 0)
        return -1;
    report_end_table(&making->writer);
    return 0;
}

static int write_all(struct making *making, const enum store_rows *which, size_t count,
                     struct error **err)
{
    for (size_t i = 0; i < count; i++) {
        if (write_rows(making, which[i], err) < 0)
            return -1;
    }
    return 0;
}

static void write_head(struct making *making)
{
    const struct report_request *request = making->request;
    char title[STORE_NAME + 64], host[STORE_NAME] = "";

    gethostname(host, sizeof host - 1);
    if (request->job_id)
        snprintf(title, sizeof title, "Job %lld of %s", (long long)request->job_id,
                 request->vm->name);
    else
        snprintf(title, sizeof title, "Replication of %s", request->vm->name);
    making->writer.format->begin(&making->writer, title);
    report_begin_table(&making->writer, &report_table_report);
    report_row(&making->writer, (const struct store_cell[]){
                                    cell_number(REPORT_LAYOUT),
                                    cell_text(request->job_id ? "job" : "vm"),
                                    cell_positive(request->job_id),
                                    cell_number(store_now_ms()),
                                    cell_text(host),
                                    cell_text(store_name(request->store)),
                                });
    report_end_table(&making->writer);
}

/* May be done again from the start. */
static int make(struct store *store, void *opaque, struct error **err)
{
    static const enum store_rows first[] = { ROWS_VM, ROWS_SUMMARY };
    static const enum store_rows job[] = { ROWS_STEPS, ROWS_LOG };
    static const enum store_rows middle[] = { ROWS_DISKS, ROWS_JOBS };
    static const enum store_rows last[] = { ROWS_SYNCS, ROWS_POINTS, ROWS_POINT_DISKS,
                                            ROWS_FAILOVERS };
    static const enum store_rows audit[] = { ROWS_AUDIT };
    struct making *making = opaque;
    const struct report_request *request = making->request;

    rewind(making->out);
    if (ftruncate(fileno(making->out), 0) < 0)
        return error_set_errno(err, errno, "writing the report");
    making->writer =
        (struct report_writer){ .format = report_find_format(request->format), .out = making->out };
    forget_failovers(making);
    write_head(making);
    if (write_all(making, first, 2, err) < 0 ||
        report_hardware(&making->writer, request, err) < 0 ||
        write_all(making, middle, 2, err) < 0 ||
        (request->job_id && write_all(making, job, 2, err) < 0) ||
        write_all(making, last, 4, err) < 0)
        return -1;
    report_evidence(&making->writer, making->failovers, making->failover_count);
    report_screens(&making->writer, request->state_dir, making->failovers, making->failover_count);
    if (write_all(making, audit, 1, err) < 0 || report_software(&making->writer, store, err) < 0)
        return -1;
    making->writer.format->end(&making->writer);
    return 0;
}

int report_write(const struct report_request *request, FILE *out, struct error **err)
{
    struct making making = { .request = request, .out = out };
    int r = store_reading(request->store, make, &making, err);

    /* What a failure left open. */
    table_free(&making.writer.text);
    forget_failovers(&making);
    free(making.failovers);
    if (r < 0)
        return -1;
    return fflush(out) == 0 && !ferror(out)
               ? 0
               : error_set_errno(err, errno ? errno : EIO, "writing the report");
}
