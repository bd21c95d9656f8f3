/* vmferry replicate: bring the replica of a VM up to date, as a new restore point. */
#include <json.h>
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "commands/replicate-all.h"
#include "commands/run-job.h"
#include "commands/watch.h"
#include "job/find.h"
#include "job/replicate.h"

static const char help[] =
    "usage: vmferry replicate VM ... [OPTIONS]\n"
    "       vmferry replicate --all [--source=NAME] [OPTIONS]\n"
    "\n"
    "The first time every disk is copied in full, later only what changed.\n"
    "\n"
    "VM is a name, a uuid, an inventory path, or a moref.\n"
    "\n"
    "  --all               every VM that is known\n"
    "  --source=NAME       every VM of this source\n"
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
    "  --window=RULES      rates by the time of the day: 'mon-fri 08:00-18:00 50M; * 200M'\n"
    "  --parallel=N        disks copied at the same time (2); with several VMs: so many\n"
    "                      VMs at the same time (4)\n"
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

#define PARALLEL_VMS 4

struct arguments {
    struct common_options common;
    struct replicate_options job;
    json_object *given; /* what becomes of the job's options */
    enum bar_style style;
    bool all;
    const char *source; /* NULL: of any */
};

static int parse_number(struct arguments *arguments, const char *option, int64_t maximum,
                        struct error **err)
{
    uint64_t number;

    if (parse_size(optarg, &number, err) < 0)
        return error_prefix(err, "--%s", option);
    if (number < 1 || number > (uint64_t)maximum)
        return error_set_kind(err, ERROR_USAGE, "--%s=%s: say a number from 1 to %lld", option,
                              optarg, (long long)maximum);
    json_object_object_add(arguments->given, option, json_object_new_int64((int64_t)number));
    return 0;
}

static int parse_rate(struct arguments *arguments, struct error **err)
{
    uint64_t rate;

    if (parse_size(optarg, &rate, err) < 0)
        return error_prefix(err, "--rate");
    if (rate > INT64_MAX)
        return error_set_kind(err, ERROR_USAGE, "--rate=%s is too much", optarg);
    arguments->job.given_rate = (int64_t)rate;
    return 0;
}

static int give(struct arguments *arguments, const char *key, json_object *value)
{
    json_object_object_add(arguments->given, key, value);
    return 0;
}

static int parse_device(struct arguments *arguments, struct error **err)
{
    json_object *devices;

    if (!json_object_object_get_ex(arguments->given, "devices", &devices)) {
        devices = json_object_new_array();
        json_object_object_add(arguments->given, "devices", devices);
    }
    if (strncmp(optarg, "disk-", 5) != 0 || !strchr(optarg, '='))
        return error_set_kind(err, ERROR_USAGE, "--device=%s: say disk-KEY=PATH, once a disk",
                              optarg);
    json_object_array_add(devices, json_object_new_string(optarg));
    return 0;
}

static int parse_option(int c, char *argv[], struct arguments *arguments, struct error **err)
{
    struct throttle throttle;
    enum quiesce quiesce;
    enum cbt_lost lost;

    switch (c) {
    case 'f':
        return give(arguments, "full", json_object_new_boolean(true));
    case 'n':
        return give(arguments, "verify", json_object_new_boolean(false));
    case 'e':
        return give(arguments, "enable_cbt", json_object_new_boolean(true));
    case 'q':
        if (source_quiesce_parse(optarg, &quiesce, err) < 0)
            return error_prefix(err, "--quiesce");
        return give(arguments, "quiesce", json_object_new_string(optarg));
    case 't':
        return give(arguments, "transport", json_object_new_string(optarg));
    case 'l':
        if (cbt_lost_parse(optarg, &lost, err) < 0)
            return error_prefix(err, "--cbt-lost");
        return give(arguments, "cbt_lost", json_object_new_string(optarg));
    case 'm':
        return give(arguments, "places_moved", json_object_new_boolean(true));
    case 'r':
        return parse_rate(arguments, err);
    case 'o':
        return give(arguments, "pool", json_object_new_string(optarg));
    case 'b':
        if (strcmp(optarg, "raw") != 0 && strcmp(optarg, "qcow2") != 0)
            return error_set_kind(err, ERROR_USAGE, "--base=%s: say raw or qcow2", optarg);
        return give(arguments, "base", json_object_new_string(optarg));
    case 'd':
        return parse_device(arguments, err);
    case 'P':
        return parse_number(arguments, "parallel", 64, err);
    case 'c':
        return parse_number(arguments, "connections", 64, err);
    case 'w':
        return parse_number(arguments, "patience", 86400, err);
    case 'z':
        if (throttle_parse(optarg, &throttle, err) < 0)
            return error_prefix(err, "--window");
        return give(arguments, "window", json_object_new_string(optarg));
    case 'a':
        arguments->all = true;
        return 0;
    case 's':
        arguments->source = optarg;
        return 0;
    case 'p':
        return parse_bar_style(optarg, &arguments->style, err);
    default:
        return common_option(c, argv, &arguments->common, err);
    }
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = {
        { "all", no_argument, NULL, 'a' },
        { "source", required_argument, NULL, 's' },
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
        { "window", required_argument, NULL, 'z' },
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

static void free_arguments(struct arguments *arguments)
{
    json_object_put(arguments->given);
}

/* --parallel counts VMs then, and is nothing that a job keeps. */
static unsigned take_parallel(json_object *given)
{
    json_object *parallel;
    unsigned number = PARALLEL_VMS;

    if (json_object_object_get_ex(given, "parallel", &parallel)) {
        number = (unsigned)json_object_get_int(parallel);
        json_object_object_del(given, "parallel");
    }
    return number;
}

static int replicate_many(struct arguments *arguments, char *const *names, int count,
                          struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct replicate_all wanted = { .source = arguments->source,
                                    .names = names,
                                    .name_count = count,
                                    .given_rate = arguments->job.given_rate,
                                    .parallel = take_parallel(arguments->given),
                                    .style = arguments->style,
                                    .json = arguments->common.json };

    if (count && (arguments->all || arguments->source))
        return error_set_kind(err, ERROR_USAGE, "say VMs, or --all, or --source");
    if (json_object_object_get_ex(arguments->given, "devices", NULL))
        return error_set_kind(err, ERROR_USAGE, "--device is for one VM");
    wanted.given = json_object_to_json_string(arguments->given);
    if (context_open(arguments->common.state, &context, err) < 0)
        return -1;
    return replicate_all(&context, &wanted, err);
}

int command_replicate(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    CLEANUP_REPLICATE_RESULT struct replicate_result result = { 0 };
    CLEANUP(free_arguments)
    struct arguments arguments = { .job.given_rate = -1, .given = json_object_new_object() };
    struct run_look look;
    struct store_vm vm;

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    if (arguments.all || arguments.source || argc - optind > 1)
        return replicate_many(&arguments, argv + optind, argc - optind, err);
    if (expect_arguments(argc, 1, "vmferry replicate VM [OPTIONS]", err) < 0 ||
        context_open(arguments.common.state, &context, err) < 0 ||
        job_find_vm(context.store, context.state_dir, argv[optind], NULL, &vm, err) < 0)
        return -1;
    look = (struct run_look){ arguments.style, arguments.common.json };
    arguments.job.given = json_object_to_json_string(arguments.given);
    if (run_options(&context.config, &arguments.job, err) < 0 ||
        run_job(&context, &vm, 0, &arguments.job, &look, &result, err) < 0)
        return -1;
    return print_run(&vm, &result, look.json, err);
}
