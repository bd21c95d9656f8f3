/* Drills; see failover-drill.h. Each test is a process of its own, which rolls back what it made,
 * also when it is told to stop; what one that died left behind is removed here. */
#include "commands/failover-drill.h"

#include <string.h>

#include "commands/crew.h"
#include "commands/human.h"
#include "commands/log-relay.h"
#include "commands/options.h"
#include "commands/output.h"
#include "commands/watch.h"
#include "failover/failover.h"
#include "log/log.h"
#include "report/drill.h"
#include "report/report.h"
#include "table.h"

struct run {
    struct context *context;
    const struct drill_request *request;
    struct drill drill;
    bool *waiting; /* its turn is to come; of each row */
    atomic_int *cancel;
    char virt_type[64];
};

static void free_run(struct run *run)
{
    drill_free(&run->drill);
    free(run->waiting);
}

/* Its newest point, or why it is not to be tested. */
static int assess(struct run *run, size_t index, struct error **err)
{
    CLEANUP_ERROR struct error *none = NULL;
    struct drill_row *row = &run->drill.rows[index];
    struct store_point point;

    if (strcmp(row->vm.state, "failed_over_live") == 0 || strcmp(row->vm.state, "committed") == 0) {
        strcpy(row->why, "it is not replicated any more: its replica has taken over");
        return 0;
    }
    if (store_point_find(run->context->store, row->vm.id, 0, &point, &none) < 0) {
        if (none->errnum != ENOENT)
            return error_move(err, &none);
        strcpy(row->why, "it has no restore point");
        return 0;
    }
    row->point = point.number;
    row->point_ms = point.created_ms;
    run->waiting[index] = true;
    return 0;
}

static int choose(struct run *run, struct error **err)
{
    const struct drill_request *request = run->request;
    CLEANUP_FREE struct store_vm *vms = NULL;
    struct drill *drill = &run->drill;
    struct store_source source;
    size_t count;

    if ((request->source &&
         store_source_find(run->context->store, request->source, &source, err) < 0) ||
        store_vms(run->context->store, &vms, &count, err) < 0)
        return -1;
    drill->rows = calloc(count + 1, sizeof *drill->rows);
    run->waiting = calloc(count + 1, sizeof *run->waiting);
    if (!drill->rows || !run->waiting)
        return error_set_errno(err, ENOMEM, "choosing VMs");
    for (size_t i = 0; i < count; i++) {
        if ((request->source && strcmp(vms[i].source, request->source) != 0) ||
            !source_filter_fits(&request->filter, vms[i].name, vms[i].path))
            continue;
        drill->rows[drill->count++].vm = vms[i];
        if (assess(run, drill->count - 1, err) < 0)
            return error_prefix(err, "'%s'", vms[i].name);
    }
    return drill->count ? 0 : error_set(err, "no VM is known that is meant: see `vmferry vm list`");
}

static enum crew_next next(void *opaque, size_t *index)
{
    struct run *run = opaque;

    for (size_t i = 0; i < run->drill.count; i++) {
        if (!run->waiting[i])
            continue;
        run->waiting[i] = false;
        run->drill.rows[i].tested_ms = store_now_ms();
        *index = i;
        return CREW_RUN;
    }
    return CREW_DONE;
}

static void arguments(void *opaque, size_t index, const char *argv[CREW_MAX])
{
    struct run *run = opaque;
    const char *const words[] = {
        "failover",     "test",    run->drill.rows[index].vm.uuid, "--json", "--rollback",
        run->virt_type, "--state", run->context->state_dir
    };
    size_t count = sizeof words / sizeof words[0];

    memcpy(argv, words, sizeof words);
    for (size_t i = 0; i < run->request->word_count; i++)
        argv[count++] = run->request->words[i];
    count += relay_words(argv + count);
    argv[count] = NULL;
}

static void line(void *opaque, size_t index, unsigned slot, char *text)
{
    struct run *run = opaque;
    struct drill_row *row = &run->drill.rows[index];
    json_object *record = text[0] == '{' ? json_tokener_parse(text) : NULL;

    (void)slot;
    if (!record || !relay_line(record, row->why, sizeof row->why)) {
        LOG_JOB(0, row->vm.name); /* a library, or the loader */
        log_warning("failover", "%s", text);
    }
    json_object_put(record);
}

static void take_result(struct drill_row *row, json_object *result)
{
    json_object *value;

    if (json_object_object_get_ex(result, "id", &value))
        row->failover = json_object_get_int64(value);
    if (json_object_object_get_ex(result, "evidence", &value))
        row->evidence = json_object_get(value);
    if (json_object_object_get_ex(row->evidence, "why", &value) && value)
        snprintf(row->why, sizeof row->why, "%s", json_object_get_string(value));
}

/* A test that gave no result: its row says how far it came. */
static void find_failover(struct run *run, struct drill_row *row)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    CLEANUP_FREE struct store_failover *list = NULL;
    size_t count;

    if (store_failovers(run->context->store, row->vm.id, false, &list, &count, &ignored) == 0 &&
        count > 0 && list[0].created_ms >= row->tested_ms)
        row->failover = list[0].id;
}

/* Of one that was killed. */
static void clean_up(struct run *run, const struct drill_row *row)
{
    CLEANUP_ERROR struct error *err = NULL;
    size_t count;

    if (failover_recover(run->context->store, run->context->state_dir, &row->vm, &count, &err) < 0)
        log_warning("failover", "%s", error_message(err));
}

static void tell(const struct drill_row *row)
{
    LOG_JOB(0, row->vm.name);
    if (row->verdict == DRILL_PASSED)
        log_notice("failover", "%s: passed, point %u booted in %.1f s", row->vm.name, row->point,
                   (double)drill_rto_ms(row) / 1000);
    else
        log_notice("failover", "%s: %s: %s", row->vm.name, drill_verdict_text(row->verdict),
                   row->why);
}

static void ended(void *opaque, size_t index, unsigned slot, int status, const char *out)
{
    struct run *run = opaque;
    struct drill_row *row = &run->drill.rows[index];
    json_object *result = json_tokener_parse(out);

    (void)slot;
    row->verdict = status == 0 ? DRILL_PASSED : DRILL_FAILED;
    if (status == 0)
        row->why[0] = '\0';
    if (result) {
        take_result(row, result);
    } else {
        find_failover(run, row);
        clean_up(run, row);
        if (atomic_load(run->cancel))
            row->verdict = DRILL_NOT_TESTED;
    }
    json_object_put(result);
    if (row->verdict != DRILL_PASSED && !row->why[0])
        snprintf(row->why, sizeof row->why, "its test ended with status %d", status);
    tell(row);
}

static int run_all(struct run *run, struct error **err)
{
    const struct crew crew = { .parallel = run->request->parallel,
                               .cancel = run->cancel,
                               .next = next,
                               .arguments = arguments,
                               .line = line,
                               .ended = ended,
                               .opaque = run };
    int r;

    run->drill.begun_ms = store_now_ms();
    r = crew_run(&crew, err);
    run->drill.ended_ms = store_now_ms();
    for (size_t i = 0; i < run->drill.count; i++) {
        if (run->waiting[i])
            strcpy(run->drill.rows[i].why, "the drill ended before its turn");
    }
    return r;
}

static const char *format_of(const struct drill_request *request)
{
    const char *dot = strrchr(request->output, '.');

    if (request->format)
        return request->format;
    if (dot && (strcmp(dot, ".html") == 0 || strcmp(dot, ".htm") == 0))
        return "html";
    return dot && strcmp(dot, ".json") == 0 ? "json" : "text";
}

struct document {
    const struct drill *drill;
    const char *format;
};

static int write_document(void *opaque, FILE *out, struct error **err)
{
    const struct document *document = opaque;

    return drill_write(document->drill, document->format, out, err);
}

static void print_table(const struct drill *drill)
{
    CLEANUP_TABLE struct table table = TABLE("VM", ">POINT", ">RPO", ">RTO", "VERDICT", "?WHY");

    for (size_t i = 0; i < drill->count; i++) {
        const struct drill_row *row = &drill->rows[i];
        int64_t rpo = drill_rpo_ms(row), rto = drill_rto_ms(row);
        char text[HUMAN_MAX];

        table_cell(&table, "%s", row->vm.name);
        table_cell(&table, "%.0u", row->point);
        table_cell(&table, "%s", rpo < 0 ? "" : human_seconds(text, rpo / 1000));
        if (rto < 0)
            table_cell(&table, "%s", "");
        else
            table_cell(&table, "%.1f s", (double)rto / 1000);
        table_cell(&table, "%s", drill_verdict_text(row->verdict));
        table_cell(&table, "%s", row->why);
    }
    table_print(&table, stdout);
    printf("%zu passed, %zu failed, %zu not tested\n", drill_count(drill, DRILL_PASSED),
           drill_count(drill, DRILL_FAILED), drill_count(drill, DRILL_NOT_TESTED));
}

static int verdict(const struct run *run, struct error **err)
{
    size_t passed = drill_count(&run->drill, DRILL_PASSED);
    size_t failed = drill_count(&run->drill, DRILL_FAILED);

    if (failed)
        return error_set(err, "%zu of %zu VMs that were tested did not pass", failed,
                         passed + failed);
    if (atomic_load(run->cancel))
        return error_set(err, "interrupted: %zu VMs were not tested",
                         drill_count(&run->drill, DRILL_NOT_TESTED));
    return passed ? 0 : error_set(err, "no VM was tested");
}

int failover_drill(struct context *context, const struct drill_request *request, struct error **err)
{
    CLEANUP(free_run) struct run run = { .context = context, .request = request };
    CLEANUP_ERROR struct error *broken = NULL;
    struct document document = { .drill = &run.drill };

    run.cancel = cancel_on_signals();
    run.drill.state_dir = context->state_dir;
    snprintf(run.virt_type, sizeof run.virt_type, "--virt-type=%s", request->virt_type);
    if (choose(&run, err) < 0)
        return -1;
    run_all(&run, &broken);
    if (request->output) {
        document.format = format_of(request);
        if (output_write(request->output, write_document, &document, err) < 0)
            return -1;
    }
    document.format = "json";
    if (!request->json)
        print_table(&run.drill);
    else if (output_write(NULL, write_document, &document, err) < 0)
        return -1;
    return broken ? error_move(err, &broken) : verdict(&run, err);
}
