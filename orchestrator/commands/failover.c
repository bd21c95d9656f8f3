/* vmferry failover: boot a replica in a test, take the test back, list and show them. */
#include <fcntl.h>
#include <json.h>
#include <string.h>
#include <unistd.h>

#include "commands/command.h"
#include "commands/failover-list.h"
#include "commands/options.h"
#include "duration.h"
#include "failover/failover.h"
#include "failover/virt.h"
#include "log/log.h"
#include "process.h"
#include "size.h"

static const char help[] =
    "usage: vmferry failover test VM [OPTIONS]\n"
    "       vmferry failover rollback VM [--id=N]\n"
    "       vmferry failover list [VM]\n"
    "       vmferry failover show VM [--id=N]\n"
    "       vmferry failover virt-type\n"
    "\n"
    "VM is a name or a uuid. `test` boots a restore point on overlays in an isolated\n"
    "network; the source and the point are not touched.\n"
    "\n"
    "  --point=N            which restore point (default: the newest)\n"
    "  --expect=REGEX       booted means: the serial console shows a matching line\n"
    "                       (default: the guest agent answers)\n"
    "  --timeout=SECONDS    how long the boot may take (default 120)\n"
    "  --keep=DURATION      roll back by itself so long after the verdict (30m, 2h)\n"
    "  --network=isolated|none|net:NAME|bridge:NAME\n"
    "                       where its NICs go (default: an isolated network of its own)\n"
    "  --dhcp               the isolated network gives addresses out\n"
    "  --override=FILE      changes of the domain, line by line: vcpus = 4\n"
    "  --set=LINE           one more such line; may be repeated\n"
    "  --print-xml          print the domain's XML, and do nothing\n"
    "  --virt-type=auto|kvm|qemu\n"
    "                       (default auto: kvm where it works)\n"
    "  --connect=URI        which libvirt (default: qemu:///system)\n"
    "  --id=N               of several failovers of the VM this one\n"
    "  --after=DURATION     roll back so much later\n"
    "  --json               for programs\n"
    "  --state=DIR          state directory\n";

struct arguments {
    struct common_options common;
    const char *point;
    const char *timeout;
    const char *virt_type;
    const char *expect;
    const char *keep;
    const char *network;
    const char *connect;
    const char *id;
    const char *after;
    bool dhcp;
    bool print_xml;
    struct override override;
};

static void free_arguments(struct arguments *arguments)
{
    override_free(&arguments->override);
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

static int duration(const char *text, const char *what, unsigned *out, struct error **err)
{
    const char *problem = duration_parse(text, out);

    if (problem)
        return error_set_kind(err, ERROR_USAGE, "%s '%s' %s", what, text, problem);
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

/* The option, then libvirt's environment, then vmferry.conf. */
static const char *wanted_uri(const struct arguments *arguments, const struct config *config)
{
    const char *environment = getenv("LIBVIRT_DEFAULT_URI");

    if (arguments->connect)
        return arguments->connect;
    return environment && *environment ? environment : config->uri;
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
        .uri = wanted_uri(arguments, config),
        .dhcp = arguments->dhcp,
        .override = &arguments->override,
        .say = say,
        .tick = isatty(STDERR_FILENO) ? tick : NULL,
    };
    if (arguments->point &&
        number(arguments->point, "--point", 1, INT32_MAX, &options->point, err) < 0)
        return -1;
    if (arguments->timeout &&
        number(arguments->timeout, "--timeout", 1, 86400, &options->timeout_s, err) < 0)
        return -1;
    if (arguments->keep && duration(arguments->keep, "--keep", &options->keep_s, err) < 0)
        return -1;
    if (arguments->network && net_target_parse(arguments->network, &options->network, err) < 0)
        return error_prefix(err, "--network");
    if (options->dhcp && options->network.kind != NET_ISOLATED)
        return error_set_kind(err, ERROR_USAGE, "--dhcp is for the isolated network");
    return 0;
}

static int print_result(const struct failover_result *result, const struct store_vm *vm,
                        struct store *store, struct error **err)
{
    CLEANUP_FREE char *evidence = NULL;
    json_object *object;

    if (store_failover_get_evidence(store, result->failover.id, &evidence, err) < 0)
        return -1;
    object = failover_to_json(&result->failover, vm->name, evidence);
    json_object_object_add(object, "point", json_object_new_int64(result->point));
    return print_json(object, err);
}

/* A process of its own, that nobody waits for: `recover` does it when that is killed. */
static int roll_back_later(struct context *context, const struct store_vm *vm,
                           const struct failover_result *result, const char *keep,
                           struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    CLEANUP_CLOSE int silence = open("/dev/null", O_WRONLY | O_CLOEXEC);
    char id[48], after[48], state[PATH_MAX + 16];
    const char *const argv[] = {
        "/proc/self/exe", "failover", "rollback", vm->uuid, id, after, state, NULL
    };

    snprintf(id, sizeof id, "--id=%lld", (long long)result->failover.id);
    snprintf(after, sizeof after, "--after=%s", keep);
    snprintf(state, sizeof state, "--state=%s", context->state_dir);
    options.stderr_fd = silence;
    options.own_group = true;
    if (process_start(argv, &options, err) < 0)
        return error_prefix(err, "keeping the test for %s", keep);
    return 0;
}

static void print_booted(const struct failover_result *result, const struct store_vm *vm,
                         const char *keep)
{
    printf("point %u of %s booted in %.1f s: %s\n", result->point, vm->name,
           result->evidence.seconds,
           *result->evidence.line ? result->evidence.line : "the guest agent answers");
    printf("console log: %s\n", result->console);
    if (result->screen[0])
        printf("screen:      %s\n", result->screen);
    printf("roll back:   vmferry failover rollback %s --id=%lld", vm->name,
           (long long)result->failover.id);
    if (keep)
        printf(" (it does so by itself after %s)", keep);
    printf("\n");
}

static int not_booted(const struct failover_result *result, const struct store_vm *vm,
                      struct error **err)
{
    const struct evidence *evidence = &result->evidence;
    char why[600];

    if (strcmp(evidence->by, "stuck") == 0)
        snprintf(why, sizeof why, "it is stuck at \"%s\"", evidence->line);
    else
        strcpy(why, strcmp(evidence->by, "stopped") == 0 ? "the guest stopped" : "no sign");
    return error_set(err,
                     "point %u of %s did not boot: %s after %.1f s; its console: %s%s%s; domain %s "
                     "is left for you until: vmferry failover rollback %s --id=%lld",
                     result->point, vm->name, why, evidence->seconds, result->console,
                     result->screen[0] ? ", its screen: " : "", result->screen,
                     result->failover.domain_name, vm->name, (long long)result->failover.id);
}

static int print_xml(struct context *context, const struct store_vm *vm,
                     const struct failover_options *options, struct error **err)
{
    CLEANUP_FREE char *xml = NULL;

    if (failover_print_xml(context->store, context->state_dir, vm, options, &xml, err) < 0)
        return -1;
    fputs(xml, stdout);
    return 0;
}

static int test(struct context *context, const struct store_vm *vm,
                const struct arguments *arguments, struct error **err)
{
    struct failover_options options;
    struct failover_result result;
    const struct evidence *evidence = &result.evidence;

    if (test_options(arguments, &context->config, &options, err) < 0)
        return -1;
    if (arguments->print_xml)
        return print_xml(context, vm, &options, err);
    if (failover_test(context->store, context->state_dir, vm, &options, &result, err) < 0)
        return -1;
    if (options.tick)
        fprintf(stderr, "\r\033[K");
    if (options.keep_s && roll_back_later(context, vm, &result, arguments->keep, err) < 0)
        return -1;
    if (arguments->common.json) {
        if (print_result(&result, vm, context->store, err) < 0)
            return -1;
    } else if (evidence->booted) {
        print_booted(&result, vm, arguments->keep);
    }
    return evidence->booted ? 0 : not_booted(&result, vm, err);
}

static int rollback(struct context *context, const struct store_vm *vm, int64_t id, bool json,
                    struct error **err)
{
    json_object *object;
    size_t count;

    if (failover_rollback(context->store, context->state_dir, vm, id, &count, err) < 0)
        return -1;
    if (json) {
        object = json_object_new_object();
        json_object_object_add(object, "vm", json_object_new_string(vm->name));
        json_object_object_add(object, "rolled_back", json_object_new_int64((int64_t)count));
        return print_json(object, err);
    }
    if (count)
        printf("%zu test%s of %s %s rolled back: domain, network and overlays are gone, its "
               "restore points are as they were\n",
               count, count == 1 ? "" : "s", vm->name, count == 1 ? "is" : "are");
    else
        printf("%s has no failover to roll back\n", vm->name);
    return 0;
}

static int virt_type(const struct arguments *arguments, struct error **err)
{
    struct config config;
    const char *type;

    if (config_load(NULL, &config, err) < 0 ||
        virt_choose(wanted_virt_type(arguments, &config), &type, err) < 0)
        return -1;
    if (arguments->common.json) {
        json_object *object = json_object_new_object();

        json_object_object_add(object, "virt_type", json_object_new_string(type));
        return print_json(object, err);
    }
    printf("%s\n", type);
    return 0;
}

static int add_override(struct arguments *arguments, int c, struct error **err)
{
    if (c == 'o')
        return override_load(optarg, &arguments->override, err);
    return override_add(&arguments->override, "--set", optarg, err);
}

static int take_option(struct arguments *arguments, int c, char *argv[], struct error **err)
{
    const struct {
        int c;
        const char **value;
    } texts[] = { { 'p', &arguments->point },   { 'e', &arguments->expect },
                  { 't', &arguments->timeout }, { 'v', &arguments->virt_type },
                  { 'k', &arguments->keep },    { 'n', &arguments->network },
                  { 'c', &arguments->connect }, { 'i', &arguments->id },
                  { 'a', &arguments->after } };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].c == c) {
            *texts[i].value = optarg;
            return 0;
        }
    }
    switch (c) {
    case 'd':
        arguments->dhcp = true;
        return 0;
    case 'x':
        arguments->print_xml = true;
        return 0;
    case 'o':
    case 's':
        return add_override(arguments, c, err);
    default:
        return common_option(c, argv, &arguments->common, err);
    }
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = {
        { "point", required_argument, NULL, 'p' },   { "expect", required_argument, NULL, 'e' },
        { "timeout", required_argument, NULL, 't' }, { "virt-type", required_argument, NULL, 'v' },
        { "keep", required_argument, NULL, 'k' },    { "network", required_argument, NULL, 'n' },
        { "connect", required_argument, NULL, 'c' }, { "id", required_argument, NULL, 'i' },
        { "after", required_argument, NULL, 'a' },   { "dhcp", no_argument, NULL, 'd' },
        { "print-xml", no_argument, NULL, 'x' },     { "override", required_argument, NULL, 'o' },
        { "set", required_argument, NULL, 's' },     COMMON_OPTIONS
    };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (take_option(arguments, c, argv, err) < 0)
            return -1;
    }
    return 0;
}

#define WAIT_SLICE_S 5

/* Before the store is opened, which nobody else should wait for. One that is known by its files
 * is waited for no longer when somebody else has rolled it back. */
static int wait_until(const struct arguments *arguments, unsigned id, struct error **err)
{
    const char *state = arguments->common.state;
    unsigned seconds = 0;

    if (arguments->after && duration(arguments->after, "--after", &seconds, err) < 0)
        return -1;
    while (seconds > 0 && !(id && state && !failover_is_standing(state, id))) {
        unsigned slice = seconds < WAIT_SLICE_S ? seconds : WAIT_SLICE_S;

        seconds -= slice - sleep(slice);
    }
    return 0;
}

/* The verbs that are about one VM. */
static int run_on_vm(const char *verb, const char *name, const struct arguments *arguments,
                     struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct store_vm vm;
    unsigned id = 0;

    if ((arguments->id && number(arguments->id, "--id", 1, INT32_MAX, &id, err) < 0) ||
        wait_until(arguments, id, err) < 0 ||
        context_open(arguments->common.state, &context, err) < 0 ||
        store_vm_find(context.store, name, &vm, err) < 0)
        return -1;
    if (strcmp(verb, "test") == 0)
        return test(&context, &vm, arguments, err);
    if (strcmp(verb, "rollback") == 0)
        return rollback(&context, &vm, id, arguments->common.json, err);
    return failover_show(&context, &vm, id, arguments->common.json, err);
}

static int run_list(const char *name, const struct arguments *arguments, struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };

    if (context_open(arguments->common.state, &context, err) < 0)
        return -1;
    return failover_list(&context, name, arguments->common.json, err);
}

/* An option that the verb has no use for is a mistake that should not go unnoticed. */
static int check_verb(const char *verb, const struct arguments *arguments, struct error **err)
{
    bool is_test = strcmp(verb, "test") == 0;

    if (arguments->after && strcmp(verb, "rollback") != 0)
        return error_set_kind(err, ERROR_USAGE, "--after is for rollback");
    if (arguments->id && is_test)
        return error_set_kind(err, ERROR_USAGE, "--id is for rollback and show");
    if (!is_test && (arguments->print_xml || arguments->keep || arguments->network ||
                     arguments->dhcp || arguments->override.count || arguments->connect))
        return error_set_kind(err, ERROR_USAGE,
                              "--print-xml, --keep, --network, --dhcp, --override, --set and "
                              "--connect are for test");
    return 0;
}

int command_failover(int argc, char *argv[], struct error **err)
{
    CLEANUP(free_arguments) struct arguments arguments = { 0 };
    const char *verb;
    int given;

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    verb = optind < argc ? argv[optind] : "";
    given = argc - optind - 1;
    if (check_verb(verb, &arguments, err) < 0)
        return -1;
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
