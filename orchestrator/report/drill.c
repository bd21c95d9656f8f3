/* Reports of drills; see drill.h. */
#include "report/drill.h"

#include <string.h>

#include "report/parts.h"

void drill_free(struct drill *drill)
{
    for (size_t i = 0; i < drill->count; i++)
        json_object_put(drill->rows[i].evidence);
    free(drill->rows);
    *drill = (struct drill){ 0 };
}

const char *drill_verdict_text(enum drill_verdict verdict)
{
    static const char *const texts[] = { "not tested", "passed", "failed" };

    return texts[verdict];
}

size_t drill_count(const struct drill *drill, enum drill_verdict verdict)
{
    size_t count = 0;

    for (size_t i = 0; i < drill->count; i++)
        count += drill->rows[i].verdict == verdict;
    return count;
}

static int64_t from_evidence(const struct drill_row *row, const char *name)
{
    struct store_cell cell = report_seconds(row->evidence, name);

    return cell.is_null ? -1 : cell.number;
}

/* Of one that was not tested, too: that is what would be lost. */
int64_t drill_rpo_ms(const struct drill_row *row)
{
    int64_t rpo = from_evidence(row, "rpo_seconds");

    if (rpo >= 0 || !row->point_ms)
        return rpo;
    return (row->tested_ms ? row->tested_ms : store_now_ms()) - row->point_ms;
}

int64_t drill_rto_ms(const struct drill_row *row)
{
    return from_evidence(row, "rto_seconds");
}

static struct store_cell cell_known(int64_t number)
{
    return (struct store_cell){ .is_null = number < 0, .number = number };
}

static int64_t worst(const struct drill *drill, int64_t (*of)(const struct drill_row *row))
{
    int64_t most = -1;

    for (size_t i = 0; i < drill->count; i++) {
        int64_t one = of(&drill->rows[i]);

        if (one > most)
            most = one;
    }
    return most;
}

static void write_summary(struct report_writer *writer, const struct drill *drill)
{
    size_t passed = drill_count(drill, DRILL_PASSED), failed = drill_count(drill, DRILL_FAILED);
    char host[STORE_NAME] = "";

    gethostname(host, sizeof host - 1);
    report_begin_table(writer, &report_table_drill);
    report_row(writer, (const struct store_cell[]){
                           cell_number(REPORT_LAYOUT),
                           cell_text(passed && !failed ? "passed" : "failed"),
                           cell_number((int64_t)drill->count),
                           cell_number((int64_t)passed),
                           cell_number((int64_t)failed),
                           cell_number((int64_t)drill_count(drill, DRILL_NOT_TESTED)),
                           cell_known(worst(drill, drill_rpo_ms)),
                           cell_known(worst(drill, drill_rto_ms)),
                           cell_number(drill->begun_ms),
                           cell_number(drill->ended_ms),
                           cell_text(host),
                       });
    report_end_table(writer);
}

static void write_results(struct report_writer *writer, const struct drill *drill)
{
    report_begin_table(writer, &report_table_results);
    for (size_t i = 0; i < drill->count; i++) {
        const struct drill_row *row = &drill->rows[i];

        report_row(writer, (const struct store_cell[]){
                               cell_text(row->vm.name),
                               cell_text(row->vm.source),
                               cell_text(drill_verdict_text(row->verdict)),
                               cell_positive(row->point),
                               cell_positive(row->point_ms),
                               cell_known(drill_rpo_ms(row)),
                               cell_known(drill_rto_ms(row)),
                               cell_text(row->why),
                               cell_positive(row->tested_ms),
                               cell_positive(row->failover),
                               cell_text(row->vm.uuid),
                           });
    }
    report_end_table(writer);
}

int drill_write(const struct drill *drill, const char *format, FILE *out, struct error **err)
{
    CLEANUP_FREE struct report_failover *failovers = calloc(drill->count + 1, sizeof *failovers);
    struct report_writer writer = { .format = report_find_format(format), .out = out };
    size_t count = 0;

    if (!failovers)
        return error_set_errno(err, ENOMEM, "writing the report");
    for (size_t i = 0; i < drill->count; i++) {
        if (drill->rows[i].failover)
            failovers[count++] = (struct report_failover){ .id = drill->rows[i].failover,
                                                           .evidence = drill->rows[i].evidence };
    }
    writer.format->begin(&writer, "Recoverability drill");
    write_summary(&writer, drill);
    write_results(&writer, drill);
    report_evidence(&writer, failovers, count);
    report_screens(&writer, drill->state_dir, failovers, count);
    writer.format->end(&writer);
    table_free(&writer.text);
    return fflush(out) == 0 && !ferror(out)
               ? 0
               : error_set_errno(err, errno ? errno : EIO, "writing the report");
}
