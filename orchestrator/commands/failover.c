/* vmferry failover: boot a replica in a test, take the test back, list and show them. */
#include <json.h>
#include <string.h>
#include <unistd.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/human.h"
#include "commands/options.h"
#include "failover/failover.h"
#include "failover/virt.h"
#include "log/log.h"
#include "size.h"
#include "table.h"

static const char help[] =
    "usage: vmferry failover test VM [OPTIONS]\n"
    "       vmferry failover rollback VM\n"
    "       vmferry failover list [VM]\n"
    "       vmferry failover show VM\n"
    "       vmferry failover virt-type\n"
    "\n"
    "VM is a name or a uuid. `test` boots a restore point on overlays in an isolated\n"
    "network; the source and the point are not touched.\n"
    "\n"
    "  --point=N            which restore point (default: the newest)\n"
    "  --expect=REGEX       booted means: the serial console shows a matching line\n"
    "                       (default: the guest agent answers)\n"
    "  --timeout=SECONDS    how long the boot may take (default 120)\n"
    "  --virt-type=TYPE     auto, kvm or qemu (default auto: kvm where it works)\n"
    "  --json               for programs\n"
    "  --state=DIR          state directory\n";

struct arguments {
    struct common_options common;
    const char *point;
    const char *timeout;
    const char *virt_type;
    const char *expect;
};

static void put(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, *text ? json_object_new_string(text) : NULL);
}

static void put_int(json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

static json_object *failover_to_json(const struct store_failover *failover, const char *vm_name,
                                     const char *evidence)
{
    json_object *object = json_object_new_object();

    put_int(object, "id", failover->id);
    put(object, "vm", vm_name);
    put(object, "kind", failover->kind);
    put(object, "state", failover->state);
    put(object, "domain", failover->domain_name);
    put(object, "domain_uuid", failover->domain_uuid);
    put(object, "network", failover->network);
    put(object, "error", failover->error);
    put_int(object, "created_ms", failover->created_ms);
    put_int(object, "completed_ms", failover->completed_ms);
    json_object_object_add(object, "evidence", json_tokener_parse(evidence));
    return object;
}

static int number(const char *text, const char *what, uint64_t least, uint64_t most, unsigned *out,
                  struct error **err)
{
    uint64_t value;

    if (size_parse(text, &value) || value < least || value > most)
        return error_set_kind(err, ERROR_USAGE, "%s '%s' is not a number from %llu to %llu", what,
                              text, (unsigned long long)least, (unsigned long long)most);
    *out = (unsigned)value;
    return 0;
}

/* The option, then the environment, then vmferry.conf. */
static const char *wanted_virt_type(const struct arguments *arguments, const struct config *config)
{
    const char *environment = getenv("VMFERRY_VIRT_TYPE");

    if (arguments->virt_type)
        return arguments->virt_type;
    return environment && *environment ? environment : config->virt_type;
}

static void say(const char *line)
{
    log_notice("failover", "%s", line);
}

/* A line that is written over, on a terminal: a boot may take a minute. */
static void tick(double seconds, unsigned timeout_s)
{
    fprintf(stderr, "\rbooting: %.0f s of %u s at most ", seconds, timeout_s);
}

static int test_options(const struct arguments *arguments, const struct config *config,
                        struct failover_options *options, struct error **err)
{
    *options = (struct failover_options){
        .expect = arguments->expect,
        .timeout_s = (unsigned)config->boot_timeout,
        .virt_type = wanted_virt_type(arguments, config),
        .say = say,
        .tick = isatty(STDERR_FILENO) ? tick : NULL,
    };
    if (arguments->point &&
        number(arguments->point, "--point", 1, INT32_MAX, &options->point, err) < 0)
        return -1;
    return arguments->timeout
               ? number(arguments->timeout, "--timeout", 1, 86400, &options->timeout_s, err)
               : 0;
}

static int print_result(const struct failover_result *result, const struct store_vm *vm,
                        struct store *store, struct error **err)
{
    CLEANUP_FREE char *evidence = NULL;
    json_object *object;

    if (store_failover_get_evidence(store, result->failover.id, &evidence, err) < 0)
        return -1;
    object = failover_to_json(&result->failover, vm->name, evidence);
    put_int(object, "point", result->point);
    return print_json(object, err);
}

static int test(struct context *context, const struct store_vm *vm,
                const struct arguments *arguments, struct error **err)
{
    struct failover_options options;
    struct failover_result result;
    const struct evidence *evidence = &result.evidence;

    if (test_options(arguments, &context->config, &options, err) < 0 ||
        failover_test(context->store, context->state_dir, vm, &options, &result, err) < 0)
        return -1;
    if (options.tick)
        fprintf(stderr, "\r\033[K");
    if (arguments->common.json) {
        if (print_result(&result, vm, context->store, err) < 0)
            return -1;
    } else if (evidence->booted) {
        printf("point %u of %s booted in %.1f s: %s\n", result.point, vm->name, evidence->seconds,
               *evidence->line ? evidence->line : "the guest agent answers");
        printf("console log: %s\n", result.console);
        printf("roll back:   vmferry failover rollback %s\n", vm->name);
    }
    if (!evidence->booted)
        return error_set(err,
                         "point %u of %s did not boot: %s after %.1f s; its console: %s; domain %s "
                         "is left for you until: vmferry failover rollback %s",
                         result.point, vm->name,
                         strcmp(evidence->by, "stopped") == 0 ? "the guest stopped" : "no sign",
                         evidence->seconds, result.console, result.failover.domain_name, vm->name);
    return 0;
}

static int rollback(struct context *context, const struct store_vm *vm, bool json,
                    struct error **err)
{
    json_object *object;
    size_t count;

    if (failover_rollback(context->store, context->state_dir, vm, &count, err) < 0)
        return -1;
    if (json) {
        object = json_object_new_object();
        put(object, "vm", vm->name);
        put_int(object, "rolled_back", (int64_t)count);
        return print_json(object, err);
    }
    if (count)
        printf("%s is rolled back: domain, network and overlays are gone, its restore points are "
               "as they were\n",
               vm->name);
    else
        printf("%s has no failover to roll back\n", vm->name);
    return 0;
}

static const char *name_of(const struct store_vm *vms, size_t count, int64_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (vms[i].id == id)
            return vms[i].name;
    }
    return "";
}

static int list(struct context *context, const char *name, bool json, struct error **err)
{
    CLEANUP_TABLE struct table table = TABLE(">ID", "VM", "KIND", "STATE", "STARTED", "DOMAIN");
    CLEANUP_FREE struct store_failover *failovers = NULL;
    CLEANUP_FREE struct store_vm *vms = NULL;
    struct store_vm vm = { 0 };
    size_t count, vm_count;
    json_object *array;

    if ((name && store_vm_find(context->store, name, &vm, err) < 0) ||
        store_vms(context->store, &vms, &vm_count, err) < 0 ||
        store_failovers(context->store, vm.id, false, &failovers, &count, err) < 0)
        return -1;
    array = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        CLEANUP_FREE char *evidence = NULL;
        const struct store_failover *failover = &failovers[i];
        const char *vm_name = name_of(vms, vm_count, failover->vm_id);
        char time[TIME_TEXT];

        if (store_failover_get_evidence(context->store, failover->id, &evidence, err) < 0) {
            json_object_put(array);
            return -1;
        }
        json_object_array_add(array, failover_to_json(failover, vm_name, evidence));
        table_cell(&table, "%lld", (long long)failover->id);
        table_cell(&table, "%s", vm_name);
        table_cell(&table, "%s", failover->kind);
        table_cell(&table, "%s", failover->state);
        table_cell(&table, "%s", time_text(time, failover->created_ms));
        table_cell(&table, "%s", failover->domain_name);
    }
    if (json)
        return print_json(array, err);
    json_object_put(array);
    table_print(&table, stdout);
    return 0;
}

static const char *text_of(json_object *object, const char *key)
{
    json_object *value;

    return json_object_object_get_ex(object, key, &value) ? json_object_get_string(value) : "-";
}

/* The VM's newest failover. */
static int show(struct context *context, const struct store_vm *vm, bool json, struct error **err)
{
    CLEANUP_FREE struct store_failover *failovers = NULL;
    CLEANUP_FREE char *evidence = NULL;
    char started[TIME_TEXT], ended[TIME_TEXT];
    const struct store_failover *newest;
    json_object *object, *seen;
    size_t count;

    if (store_failovers(context->store, vm->id, false, &failovers, &count, err) < 0)
        return -1;
    if (count == 0)
        return error_set(err, "%s has had no failover yet", vm->name);
    newest = &failovers[0];
    if (store_failover_get_evidence(context->store, newest->id, &evidence, err) < 0)
        return -1;
    object = failover_to_json(newest, vm->name, evidence);
    if (json)
        return print_json(object, err);
    printf("failover  %lld, %s of %s\nstate     %s\ndomain    %s\nnetwork   %s\n"
           "started   %s\nended     %s\n",
           (long long)newest->id, newest->kind, vm->name, newest->state, newest->domain_name,
           newest->network, time_text(started, newest->created_ms),
           time_text(ended, newest->completed_ms));
    if (*newest->error)
        printf("error     %s\n", newest->error);
    if (json_object_object_get_ex(object, "evidence", &seen))
        printf("booted    %s, by %s, after %s s\nsaid      %s\nconsole   %s\n",
               text_of(seen, "booted"), text_of(seen, "by"), text_of(seen, "seconds"),
               text_of(seen, "line"), text_of(seen, "console"));
    json_object_put(object);
    return 0;
}

static int virt_type(const struct arguments *arguments, struct error **err)
{
    struct config config;
    const char *type;

    if (config_load(NULL, &config, err) < 0 ||
        virt_choose(wanted_virt_type(arguments, &config), &type, err) < 0)
        return -1;
    printf("%s\n", type);
    return 0;
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "point", required_argument, NULL, 'p' },
                                             { "expect", required_argument, NULL, 'e' },
                                             { "timeout", required_argument, NULL, 't' },
                                             { "virt-type", required_argument, NULL, 'v' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        switch (c) {
        case 'p':
            arguments->point = optarg;
            break;
        case 'e':
            arguments->expect = optarg;
            break;
        case 't':
            arguments->timeout = optarg;
            break;
        case 'v':
            arguments->virt_type = optarg;
            break;
        default:
            if (common_option(c, argv, &arguments->common, err) < 0)
                return -1;
        }
    }
    return 0;
}

/* The verbs that are about one VM. */
static int run_on_vm(const char *verb, const char *name, const struct arguments *arguments,
                     struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct store_vm vm;

    if (context_open(arguments->common.state, &context, err) < 0 ||
        store_vm_find(context.store, name, &vm, err) < 0)
        return -1;
    if (strcmp(verb, "test") == 0)
        return test(&context, &vm, arguments, err);
    if (strcmp(verb, "rollback") == 0)
        return rollback(&context, &vm, arguments->common.json, err);
    return show(&context, &vm, arguments->common.json, err);
}

static int run_list(const char *name, const struct arguments *arguments, struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };

    if (context_open(arguments->common.state, &context, err) < 0)
        return -1;
    return list(&context, name, arguments->common.json, err);
}

int command_failover(int argc, char *argv[], struct error **err)
{
    struct arguments arguments = { 0 };
    const char *verb;
    int given;

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    verb = optind < argc ? argv[optind] : "";
    given = argc - optind - 1;
    if (strcmp(verb, "virt-type") == 0 && given == 0)
        return virt_type(&arguments, err);
    if (strcmp(verb, "list") == 0 && given <= 1)
        return run_list(given ? argv[optind + 1] : NULL, &arguments, err);
    if ((strcmp(verb, "test") == 0 || strcmp(verb, "rollback") == 0 || strcmp(verb, "show") == 0) &&
        given == 1)
        return run_on_vm(verb, argv[optind + 1], &arguments, err);
    return error_set_kind(err, ERROR_USAGE,
                          "usage: vmferry failover test|rollback|show VM, list [VM], or virt-type");
}
