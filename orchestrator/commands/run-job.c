/* A replication in this process; see run-job.h. */
#include "commands/run-job.h"

#include <json.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "commands/human.h"
#include "commands/options.h"
#include "commands/task-line.h"
#include "commands/watch.h"
#include "job/sweep.h"
#include "table.h"

#define ASK_LOOK_MS 100

struct output {
    struct bar *bar;
    struct task_line task;
};

static void show_task(void *opaque, const char *what, unsigned percent)
{
    struct output *output = opaque;

    if (task_line_is_due(&output->task, what, percent, progress_now_ns()))
        bar_message(output->bar, "%s: %u %%", what, percent);
}

static bool ask(void *opaque, const char *question)
{
    struct pollfd terminal = { .fd = STDIN_FILENO, .events = POLLIN };
    const atomic_int *cancel = cancel_on_signals();
    char answer[16] = "";

    (void)opaque;
    fprintf(stderr, "%s [y/N] ", question);
    /* A signal is noted, and a read would go on. */
    while (!atomic_load(cancel) && poll(&terminal, 1, ASK_LOOK_MS) <= 0)
        ;
    if (atomic_load(cancel))
        return fputc('\n', stderr), false;
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static void progress(void *opaque, unsigned disk, const struct progress_record *record,
                     const char *operation)
{
    const struct output *output = opaque;

    bar_show(output->bar, disk, record, operation);
}

static json_object *disk_to_json(const struct replicate_disk *disk)
{
    json_object *object = json_object_new_object();
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        { "capacity", disk->capacity },           { "bytes", disk->bytes },
        { "bytes_written", disk->bytes_written }, { "bytes_zeroed", disk->bytes_zeroed },
        { "bytes_resumed", disk->bytes_resumed }, { "bytes_verified", disk->bytes_verified },
        { "reconnects", disk->reconnects },
    };
    char id[32];

    snprintf(id, sizeof id, "disk-%d", disk->key);
    json_object_object_add(object, "disk_id", json_object_new_string(id));
    json_object_object_add(object, "key", json_object_new_int(disk->key));
    json_object_object_add(object, "unit", json_object_new_int(disk->unit));
    json_object_object_add(object, "sync_type", json_object_new_string(disk->sync_type));
    json_object_object_add(object, "reason",
                           disk->reason[0] ? json_object_new_string(disk->reason) : NULL);
    json_object_object_add(object, "sent_whole", json_object_new_boolean(disk->sent_whole));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        json_object_object_add(object, numbers[i].name, json_object_new_uint64(numbers[i].value));
    json_object_object_add(object, "seconds", json_object_new_double(disk->seconds));
    json_object_object_add(object, "change_id",
                           disk->change_id[0] ? json_object_new_string(disk->change_id) : NULL);
    json_object_object_add(object, "digest", json_object_new_string(disk->digest));
    return object;
}

static int print_result_json(const struct store_vm *vm, const struct replicate_result *result,
                             struct error **err)
{
    json_object *object = json_object_new_object();
    json_object *disks = json_object_new_array();

    json_object_object_add(object, "vm", json_object_new_string(vm->name));
    json_object_object_add(object, "uuid", json_object_new_string(vm->uuid));
    json_object_object_add(object, "up_to_date", json_object_new_boolean(result->up_to_date));
    json_object_object_add(object, "point", json_object_new_int64(result->point));
    json_object_object_add(object, "job",
                           result->job_id ? json_object_new_int64(result->job_id) : NULL);
    json_object_object_add(object, "seconds", json_object_new_double(result->seconds));
    for (size_t i = 0; i < result->count; i++)
        json_object_array_add(disks, disk_to_json(&result->disks[i]));
    json_object_object_add(object, "disks", disks);
    return print_json(object, err);
}

static int print_result(const struct store_vm *vm, const struct replicate_result *result,
                        struct error **err)
{
    CLEANUP_TABLE struct table table =
        TABLE("DISK", "SYNC", ">CAPACITY", ">MOVED", ">RESUMED", ">SECONDS", "CHANGE ID", "DIGEST");
    char bytes[HUMAN_MAX];

    for (size_t i = 0; i < result->count; i++) {
        const struct replicate_disk *disk = &result->disks[i];

        table_cell(&table, "disk-%d", disk->key);
        table_cell(&table, "%s", disk->sync_type);
        table_cell(&table, "%s", human_bytes(bytes, disk->capacity));
        table_cell(&table, "%s", human_bytes(bytes, disk->bytes));
        table_cell(&table, "%s", human_bytes(bytes, disk->bytes_resumed));
        table_cell(&table, "%.1f", disk->seconds);
        table_cell(&table, "%s", disk->change_id);
        table_cell(&table, "%s", disk->digest);
    }
    if (result->up_to_date) {
        printf("%s is up to date: point %u holds what the source offers\n", vm->name,
               result->point);
    } else {
        table_print(&table, stdout);
        printf("%s: restore point %u is complete, %.1f s\n", vm->name, result->point,
               result->seconds);
    }
    return fflush(stdout) == 0 ? 0 : error_set_errno(err, errno, "writing the result");
}

int print_run(const struct store_vm *vm, const struct replicate_result *result, bool json,
              struct error **err)
{
    return json ? print_result_json(vm, result, err) : print_result(vm, result, err);
}

int run_options(const struct config *config, struct replicate_options *options, struct error **err)
{
    if (config->cbt_lost[0] && cbt_lost_parse(config->cbt_lost, &options->cbt_lost, err) < 0)
        return -1;
    options->rate = config->rate;
    options->parallel = (unsigned)config->parallel_disks;
    options->connections = (unsigned)config->connections;
    options->no_verify = !config->verify;
    options->keep = config->keep;
    options->default_pool = config->pool;
    options->base = config->base;
    options->reserve = config->reserve;
    options->lease_seconds = (unsigned)config->lease_seconds;
    return 0;
}

void run_admission(const struct config *config, struct admission *admission)
{
    CLEANUP_ERROR struct error *checked = NULL; /* when the configuration was read */

    *admission = (struct admission){ .limits = { .total = (unsigned)config->limit_total,
                                                 .per_source = (unsigned)config->limit_source,
                                                 .per_host = (unsigned)config->limit_host,
                                                 .per_target = (unsigned)config->limit_target } };
    throttle_parse(config->windows, &admission->windows, &checked);
}

int run_job(struct context *context, const struct store_vm *vm, int64_t job_id,
            struct replicate_options *options, const struct run_look *look,
            struct replicate_result *result, struct error **err)
{
    CLEANUP_BAR struct bar *bar = bar_open(stderr, look->style);
    struct output output = { .bar = bar };
    struct admission admission;

    run_admission(&context->config, &admission);
    options->admission = &admission;
    options->export_socket = getenv(RUN_EXPORT_SOCKET);
    /* A parent that was killed hears nothing: we are to stop in order all the same. */
    if (options->export_socket) {
        signal(SIGPIPE, SIG_IGN);
        options->part_of = getppid();
    }
    sweep_at_start(context->store, context->state_dir);
    options->cancel = cancel_on_signals();
    options->task = show_task;
    if (look->style == BAR_AUTO && !look->json && isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
        options->ask = ask;
    options->progress = progress;
    options->opaque = &output;
    if (job_id)
        return job_resume(context->store, context->state_dir, job_id, options, result, err);
    return job_replicate(context->store, context->state_dir, vm, options, result, err);
}
