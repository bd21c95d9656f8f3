/* Many VMs at once; see replicate-all.h. One export server serves all of them. */
#include "commands/replicate-all.h"

#include <inttypes.h>
#include <string.h>

#include "commands/crew.h"
#include "commands/human.h"
#include "commands/log-relay.h"
#include "commands/run-job.h"
#include "commands/runs.h"
#include "commands/watch.h"
#include "log/log.h"

#define LOOK_NS   INT64_C(1000000000) /* for room, while there is none */
#define PARTS_MAX 64

/* One disk of a VM that is being replicated. */
struct part {
    char label[128];
    uint64_t done, total;
};

struct slot {
    struct progress_meter meter; /* of the VM */
    struct part parts[PARTS_MAX];
    size_t count;
    int64_t began_ns;
};

struct all {
    struct context *context;
    const struct replicate_all *wanted;
    struct admission admission;
    struct runs runs;
    struct export_server server;
    struct bar *bar;
    struct slot slots[CREW_MAX];
    int64_t looked_ns;
    bool ended; /* one since then: there may be room */
};

static bool has_limits(const struct all *all)
{
    const struct store_limits *limits = &all->admission.limits;

    return limits->total || limits->per_source || limits->per_host || limits->per_target ||
           all->admission.windows.count;
}

struct question {
    const struct admission *admission;
    const struct store_job *job;
    int64_t now_ms;
    char why[STORE_NAME];
};

static int ask(struct store *store, void *opaque, struct error **err)
{
    struct question *question = opaque;

    return admission_ask(store, question->admission, question->job, question->now_ms, question->why,
                         err);
}

/* What can't be found out is found out by the one that is to run it. */
static bool has_room(struct all *all, const struct run *run)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    struct question question = { .admission = &all->admission };
    struct store *store = all->context->store;
    struct store_job job;

    if (!run->job_id || store_job_get(store, run->job_id, &job, &ignored) < 0 ||
        store_clock_ms(store, &question.now_ms, &ignored) < 0)
        return true;
    question.job = &job;
    if (store_transaction(store, ask, &question, &ignored) < 0 || !question.why[0])
        return true;
    store_job_waits(store, &job, question.why, &ignored);
    return false;
}

static enum crew_next next(void *opaque, size_t *index)
{
    struct all *all = opaque;
    bool look = !has_limits(all) || all->ended || progress_now_ns() - all->looked_ns > LOOK_NS;
    bool waiting = false;

    for (size_t i = 0; i < all->runs.count; i++) {
        if (all->runs.list[i].state != RUN_QUEUED)
            continue;
        waiting = true;
        if (!look || (has_limits(all) && !has_room(all, &all->runs.list[i])))
            continue;
        all->runs.list[i].state = RUN_RUNS;
        *index = i;
        return CREW_RUN;
    }
    if (look) {
        all->looked_ns = progress_now_ns();
        all->ended = false;
    }
    return waiting ? CREW_WAIT : CREW_DONE;
}

static void arguments(void *opaque, size_t index, const char *argv[CREW_MAX])
{
    struct all *all = opaque;
    const char *const words[] = { "replicate", all->runs.list[index].vm.uuid,
                                  "--json",    "--progress=json",
                                  "--state",   all->context->state_dir };
    size_t count = sizeof words / sizeof words[0];

    memcpy(argv, words, sizeof words);
    count += relay_words(argv + count);
    argv[count] = NULL;
}

static struct slot *begin_slot(struct all *all, size_t index, unsigned number)
{
    struct slot *slot = &all->slots[number];

    if (slot->began_ns)
        return slot;
    memset(slot, 0, sizeof *slot);
    slot->began_ns = progress_now_ns();
    progress_meter_init(&slot->meter, all->runs.list[index].vm.name, "");
    progress_meter_update(&slot->meter, 0, 0, slot->began_ns);
    return slot;
}

static struct part *part_of(struct slot *slot, const char *label)
{
    for (size_t i = 0; i < slot->count; i++) {
        if (strcmp(slot->parts[i].label, label) == 0)
            return &slot->parts[i];
    }
    if (slot->count == PARTS_MAX)
        return NULL;
    snprintf(slot->parts[slot->count].label, sizeof slot->parts->label, "%s", label);
    return &slot->parts[slot->count++];
}

static uint64_t amount(json_object *object, const char *key)
{
    json_object *value;

    return json_object_object_get_ex(object, key, &value) ? json_object_get_uint64(value) : 0;
}

/* The VM's bar is the sum of its disks. */
static void show_progress(struct all *all, size_t index, unsigned number, json_object *record)
{
    struct slot *slot = begin_slot(all, index, number);
    uint64_t done = 0, total = 0;
    json_object *label;
    struct part *part;

    if (!json_object_object_get_ex(record, "label", &label))
        return;
    part = part_of(slot, json_object_get_string(label));
    if (part) {
        part->done = amount(record, "bytes_done");
        part->total = amount(record, "bytes_total");
    }
    for (size_t i = 0; i < slot->count; i++) {
        done += slot->parts[i].done;
        total += slot->parts[i].total;
    }
    progress_meter_update(&slot->meter, done, total, progress_now_ns());
    bar_show(all->bar, number, &slot->meter.record, NULL);
}

static void line(void *opaque, size_t index, unsigned number, char *text)
{
    struct all *all = opaque;
    struct run *run = &all->runs.list[index];
    json_object *record = text[0] == '{' ? json_tokener_parse(text) : NULL;

    if (record && json_object_object_get_ex(record, "bytes_total", NULL)) {
        if (all->wanted->style == BAR_JSON)
            fprintf(stderr, "%s\n", text);
        else
            show_progress(all, index, number, record);
    } else if (!record || !relay_line(record, run->reason, sizeof run->reason)) {
        LOG_JOB(run->job_id, run->vm.name); /* a library, or the loader */
        log_warning("job", "%s", text);
    } else if (json_object_object_get_ex(record, "command", NULL)) {
        run->errnum = (int)amount(record, "errno");
    }
    json_object_put(record);
}

static void tell_end(const struct all *all, const struct run *run)
{
    char text[STORE_TEXT + 64];

    if (run->state == RUN_DONE)
        snprintf(text, sizeof text, "completed, %.1f s", run->seconds);
    else
        snprintf(text, sizeof text, "%s: %s",
                 run->state == RUN_PAUSED      ? "paused"
                 : run->state == RUN_ELSEWHERE ? "elsewhere"
                                               : "failed",
                 run->reason);
    {
        LOG_JOB(0, run->vm.name);
        log_write(all->wanted->style == BAR_AUTO ? LEVEL_NOTICE : LEVEL_INFO, "job", "%s", text);
    }
}

static void ended(void *opaque, size_t index, unsigned number, int status, const char *out)
{
    struct all *all = opaque;
    struct run *run = &all->runs.list[index];
    struct slot *slot = &all->slots[number];

    run->state = status == 0 ? RUN_DONE : status == ERROR_PAUSED ? RUN_PAUSED : RUN_FAILED;
    if (run->state == RUN_DONE) {
        run->result = json_tokener_parse(out);
        run->reason[0] = '\0';
        run->seconds = json_object_get_double(json_object_object_get(run->result, "seconds"));
    } else {
        run->seconds =
            slot->began_ns ? (double)(progress_now_ns() - slot->began_ns) / 1e9 : run->seconds;
        if (!run->reason[0])
            snprintf(run->reason, sizeof run->reason, "its worker ended with status %d", status);
        if (run->state == RUN_FAILED)
            runs_leave(all->context->store, run);
    }
    bar_clear(all->bar, number);
    tell_end(all, run);
    slot->began_ns = 0;
    all->ended = true;
}

static int tick(void *opaque, struct error **err)
{
    struct all *all = opaque;

    return export_server_keep(&all->server, err);
}

static int run_all(struct all *all, struct error **err)
{
    char socket[sizeof all->server.socket.address + sizeof RUN_EXPORT_SOCKET + 2];
    const char *const env[] = { socket, NULL };
    const struct crew crew = { .parallel = all->wanted->parallel,
                               .cancel = cancel_on_signals(),
                               .env = env,
                               .next = next,
                               .arguments = arguments,
                               .line = line,
                               .ended = ended,
                               .tick = tick,
                               .opaque = all };

    snprintf(socket, sizeof socket, "%s=%s", RUN_EXPORT_SOCKET, all->server.socket.address);
    return crew_run(&crew, err);
}

static void free_all(struct all **all)
{
    if (!*all)
        return;
    export_server_stop(&(*all)->server);
    bar_close((*all)->bar);
    runs_free(&(*all)->runs);
    free(*all);
}

int replicate_all(struct context *context, const struct replicate_all *wanted, struct error **err)
{
    CLEANUP(free_all) struct all *all = calloc(1, sizeof *all);
    CLEANUP_ERROR struct error *broken = NULL;
    int64_t began_ns = progress_now_ns();

    if (!all)
        return error_set_errno(err, ENOMEM, "replicating");
    all->context = context;
    all->wanted = wanted;
    all->server = (struct export_server)EXPORT_SERVER_INIT;
    run_admission(&context->config, &all->admission);
    if (runs_choose(context->store, context->state_dir, wanted->names, wanted->name_count,
                    wanted->source, &all->runs, err) < 0 ||
        export_server_start(context->state_dir, NULL, &all->server, err) < 0 ||
        runs_queue(context->store, &all->runs, wanted->given, wanted->given_rate,
                   wanted->name_count > 0, err) < 0)
        return -1;
    all->bar = bar_open(stderr, wanted->style);
    log_name_vms(true);
    run_all(all, &broken);
    runs_lay_down(context->store, &all->runs);
    bar_close(steal_ptr(all->bar));
    if (runs_print(&all->runs, (double)(progress_now_ns() - began_ns) / 1e9, wanted->json, err) < 0)
        return -1;
    return broken ? error_move(err, &broken) : runs_verdict(&all->runs, err);
}
