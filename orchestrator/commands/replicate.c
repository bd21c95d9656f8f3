/* vmferry replicate: bring the replica of a VM up to date, as a new restore point. */
#include <json.h>
#include <string.h>

#include "bar.h"
#include "commands/command.h"
#include "commands/context.h"
#include "commands/human.h"
#include "commands/options.h"
#include "commands/task-line.h"
#include "commands/watch.h"
#include "job/find.h"
#include "job/replicate.h"
#include "log/log.h"
#include "table.h"
#include "tls.h"

static const char help[] =
    "usage: vmferry replicate VM [OPTIONS]\n"
    "\n"
    "The first time every disk is copied in full, later only what changed.\n"
    "\n"
    "VM is a name, a uuid, an inventory path, or a moref.\n"
    "\n"
    "  --full              compare every block of source and replica\n"
    "  --cbt-lost=resync|full|fail\n"
    "                      when nobody can tell what changed: compare all blocks, send\n"
    "                      everything anew, or stop before anything is written\n"
    "  --enable-cbt        turn change tracking on at the source, where it is off\n"
    "  --quiesce=auto|yes|no\n"
    "                      let the guest's file systems rest while the snapshot is taken\n"
    "  --transport=auto|vddk|https|ssh\n"
    "                      how disks are read, instead of the source's own way\n"
    "  --rate=BYTES        bytes a second at most, over all disks (50M)\n"
    "  --parallel=N        disks copied at the same time (2)\n"
    "  --patience=SECONDS  how long a source that does not answer is waited for (90)\n"
    "  --connections=N     for each disk, instead of what is chosen\n"
    "  --no-verify         do not read again what was written\n"
    "  --pool=NAME         where the replica will lie; decided by the first copy\n"
    "  --base=raw|qcow2    format of the base that the first copy makes\n"
    "  --device=disk-KEY=PATH\n"
    "                      which of a block pool's devices a disk gets\n"
    "  --places-moved      the disks exchanged their URIs or files, and that is right\n"
    "  --progress=auto|json|none\n"
    "  --json              the result for programs\n"
    "  --state=DIR         state directory\n";

#define DEVICES_MAX 64

struct arguments {
    struct common_options common;
    struct replicate_options job;
    const char *devices[DEVICES_MAX];
    uint64_t rate;
    uint64_t parallel;
    uint64_t connections;
    uint64_t patience;
    bool rate_given;
    const char *cbt_lost; /* NULL: as configured */
    enum bar_style style;
};

struct output {
    struct bar *bar;
    enum bar_style style;
    struct task_line task;
};

static int parse_number(const char *option, uint64_t maximum, uint64_t *number, struct error **err)
{
    if (parse_size(optarg, number, err) < 0)
        return error_prefix(err, "--%s", option);
    if (*number < 1 || *number > maximum)
        return error_set_kind(err, ERROR_USAGE, "--%s=%s: say a number from 1 to %llu", option,
                              optarg, (unsigned long long)maximum);
    return 0;
}

/* The place of `text` among three words; -1: it is none of them. */
static int word_of(const char *const words[3], const char *text)
{
    for (int i = 0; i < 3; i++) {
        if (strcmp(words[i], text) == 0)
            return i;
    }
    return -1;
}

static int parse_quiesce(const char *text, enum quiesce *quiesce, struct error **err)
{
    static const char *const words[] = {
        [QUIESCE_AUTO] = "auto", [QUIESCE_YES] = "yes", [QUIESCE_NO] = "no"
    };
    int word = word_of(words, text);

    if (word < 0)
        return error_set_kind(err, ERROR_USAGE, "--quiesce=%s: say auto, yes or no", text);
    *quiesce = (enum quiesce)word;
    return 0;
}

static int parse_cbt_lost(const char *text, enum cbt_lost *lost, struct error **err)
{
    static const char *const words[] = {
        [CBT_LOST_RESYNC] = "resync", [CBT_LOST_FULL] = "full", [CBT_LOST_FAIL] = "fail"
    };
    int word = word_of(words, text);

    if (word < 0)
        return error_set_kind(err, ERROR_USAGE, "--cbt-lost=%s: say resync, full or fail", text);
    *lost = (enum cbt_lost)word;
    return 0;
}

static int parse_device(struct arguments *arguments, struct error **err)
{
    if (strncmp(optarg, "disk-", 5) != 0 || !strchr(optarg, '=') ||
        arguments->job.device_count == DEVICES_MAX)
        return error_set_kind(err, ERROR_USAGE, "--device=%s: say disk-KEY=PATH, once a disk",
                              optarg);
    arguments->devices[arguments->job.device_count++] = optarg;
    return 0;
}

static int parse_option(int c, char *argv[], struct arguments *arguments, struct error **err)
{
    switch (c) {
    case 'f':
        arguments->job.full = true;
        return 0;
    case 'n':
        arguments->job.no_verify = true;
        return 0;
    case 'e':
        arguments->job.enable_tracking = true;
        return 0;
    case 'q':
        return parse_quiesce(optarg, &arguments->job.quiesce, err);
    case 't':
        arguments->job.transport = optarg;
        return 0;
    case 'l':
        arguments->cbt_lost = optarg;
        return parse_cbt_lost(optarg, &arguments->job.cbt_lost, err);
    case 'm':
        arguments->job.places_moved = true;
        return 0;
    case 'r':
        arguments->rate_given = true;
        if (parse_size(optarg, &arguments->rate, err) < 0)
            return error_prefix(err, "--rate");
        return 0;
    case 'o':
        arguments->job.pool = optarg;
        return 0;
    case 'b':
        arguments->job.base = optarg;
        if (strcmp(optarg, "raw") != 0 && strcmp(optarg, "qcow2") != 0)
            return error_set_kind(err, ERROR_USAGE, "--base=%s: say raw or qcow2", optarg);
        return 0;
    case 'd':
        return parse_device(arguments, err);
    case 'P':
        return parse_number("parallel", 64, &arguments->parallel, err);
    case 'c':
        return parse_number("connections", 64, &arguments->connections, err);
    case 'w':
        return parse_number("patience", 86400, &arguments->patience, err);
    case 'p':
        return parse_bar_style(optarg, &arguments->style, err);
    default:
        return common_option(c, argv, &arguments->common, err);
    }
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = {
        { "full", no_argument, NULL, 'f' },
        { "cbt-lost", required_argument, NULL, 'l' },
        { "enable-cbt", no_argument, NULL, 'e' },
        { "quiesce", required_argument, NULL, 'q' },
        { "transport", required_argument, NULL, 't' },
        { "no-verify", no_argument, NULL, 'n' },
        { "pool", required_argument, NULL, 'o' },
        { "base", required_argument, NULL, 'b' },
        { "device", required_argument, NULL, 'd' },
        { "places-moved", no_argument, NULL, 'm' },
        { "rate", required_argument, NULL, 'r' },
        { "parallel", required_argument, NULL, 'P' },
        { "connections", required_argument, NULL, 'c' },
        { "patience", required_argument, NULL, 'w' },
        { "progress", required_argument, NULL, 'p' },
        COMMON_OPTIONS,
    };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (parse_option(c, argv, arguments, err) < 0)
            return -1;
    }
    return 0;
}

static void say(void *opaque, const char *text)
{
    (void)opaque;
    log_notice("job", "%s", text);
}

static void show_task(void *opaque, const char *what, unsigned percent)
{
    struct output *output = opaque;

    if (task_line_is_due(&output->task, what, percent, progress_now_ns()))
        bar_message(output->bar, "%s: %u %%", what, percent);
}

static bool ask(void *opaque, const char *question)
{
    char answer[16] = "";

    (void)opaque;
    fprintf(stderr, "%s [y/N] ", question);
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

/* What the command line does not say comes from vmferry.conf. */
static int apply_config(struct arguments *arguments, const struct config *config,
                        struct error **err)
{
    if (!arguments->cbt_lost && config->cbt_lost[0] &&
        parse_cbt_lost(config->cbt_lost, &arguments->job.cbt_lost, err) < 0)
        return -1;
    if (!arguments->rate_given)
        arguments->rate = config->rate;
    arguments->job.parallel =
        (unsigned)(arguments->parallel ? arguments->parallel : config->parallel_disks);
    arguments->job.connections =
        (unsigned)(arguments->connections ? arguments->connections : config->connections);
    arguments->job.patience_s = (unsigned)arguments->patience;
    arguments->job.no_verify |= !config->verify;
    arguments->job.keep = config->keep;
    arguments->job.default_pool = config->pool;
    if (!arguments->job.base)
        arguments->job.base = config->base;
    arguments->job.devices = arguments->devices;
    arguments->job.reserve = config->reserve;
    return 0;
}

static int replicate(struct context *context, const struct store_vm *vm,
                     struct arguments *arguments, struct replicate_result *result,
                     struct error **err)
{
    CLEANUP_BAR struct bar *bar = bar_open(stderr, arguments->style);
    struct output output = { .bar = bar, .style = arguments->style };
    atomic_uint_fast64_t rate = arguments->rate;

    arguments->job.rate = &rate;
    arguments->job.cancel = cancel_on_signals();
    arguments->job.say = say;
    arguments->job.task = show_task;
    if (arguments->style == BAR_AUTO && !arguments->common.json && isatty(STDIN_FILENO) &&
        isatty(STDERR_FILENO))
        arguments->job.ask = ask;
    arguments->job.progress = progress;
    arguments->job.opaque = &output;
    return job_replicate(context->store, context->state_dir, vm, &arguments->job, result, err);
}

int command_replicate(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    CLEANUP_REPLICATE_RESULT struct replicate_result result = { 0 };
    struct arguments arguments = { 0 };
    struct store_vm vm;

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    if (expect_arguments(argc, 1, "vmferry replicate VM [OPTIONS]", err) < 0 ||
        context_open(arguments.common.state, &context, err) < 0 ||
        job_find_vm(context.store, context.state_dir, argv[optind], NULL, &vm, err) < 0)
        return -1;
    if (apply_config(&arguments, &context.config, err) < 0 ||
        replicate(&context, &vm, &arguments, &result, err) < 0)
        return -1;
    return arguments.common.json ? print_result_json(&vm, &result, err)
                                 : print_result(&vm, &result, err);
}
