/* vmferry failover: boot a replica in a test, take the test back, list and show them. */
#include <json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/command.h"
#include "commands/crew.h"
#include "commands/failover-list.h"
#include "commands/failover-live.h"
#include "commands/failover-test.h"
#include "failover/virt.h"
#include "report/report.h"

static const char help[] =
    "usage: vmferry failover test VM [OPTIONS]\n"
    "       vmferry failover test --all [--source=NAME] [OPTIONS]\n"
    "       vmferry failover live VM [OPTIONS]\n"
    "       vmferry failover commit VM\n"
    "       vmferry failover rollback VM [--id=N]\n"
    "       vmferry failover list [VM]\n"
    "       vmferry failover show VM [--id=N]\n"
    "       vmferry failover virt-type\n"
    "\n"
    "VM is a name or a uuid. `test` boots a restore point on overlays in an isolated\n"
    "network; the source and the point are not touched. With --all every VM that has a\n"
    "point is tested and rolled back, one after another, with one report at the end.\n"
    "`live` syncs the VM, shuts its source down, syncs the rest, and boots it here, on the\n"
    "networks that its own are mapped to. Then `rollback` goes back to the source, and\n"
    "`commit` stays for good.\n"
    "\n"
    "  --point=N            which restore point (default: the newest)\n"
    "  --expect=REGEX       booted means: the serial console shows a matching line\n"
    "                       (default: the guest agent answers)\n"
    "  --timeout=SECONDS    how long the boot may take (default 120)\n"
    "  --check=CHECK        once it has booted: tcp:22, tcp:22@nic0, tcp:22@192.0.2.10/24,\n"
    "                       'command:/usr/bin/systemctl is-active nginx'; may be repeated\n"
    "  --checks=LIST        several, with commas between; none\n"
    "  --check-timeout=SECONDS\n"
    "                       how long checks may take to pass (default 60)\n"
    "  --rollback           roll back as soon as there is a verdict\n"
    "  --keep=DURATION      roll back by itself so long after the verdict (30m, 2h)\n"
    "  --network=isolated|none|net:NAME|bridge:NAME\n"
    "                       where its NICs go (default: an isolated network of its own)\n"
    "  --dhcp               the isolated network gives addresses out\n"
    "  --override=FILE      changes of the domain, line by line: vcpus = 4\n"
    "  --set=LINE           one more such line; may be repeated\n"
    "  --conversion=auto|v2v|native|none\n"
    "                       what makes it ready for virtio, if it needs that (default auto)\n"
    "  --virtio-win=PATH    Windows' virtio drivers, directory or ISO\n"
    "  --print-xml          print the domain's XML, and do nothing\n"
    "  --virt-type=auto|kvm|qemu\n"
    "                       (default auto: kvm where it works)\n"
    "  --connect=URI        which libvirt (default: qemu:///system)\n"
    "  --all                a drill: all VMs, the newest point of each\n"
    "  --source=NAME        the VMs of this source\n"
    "  --folder=PATH        those below this folder of the inventory\n"
    "  --name=PATTERN       those whose name fits: 'web*'\n"
    "  --parallel=N         so many at once (default 1)\n"
    "  --output=FILE        the whole report, with screens in html; replaced when complete\n"
    "  --format=text|json|html\n"
    "                       of that file (default: by its name)\n"
    "  --id=N               of several failovers of the VM this one\n"
    "  --after=DURATION     roll back so much later\n"
    "live:\n"
    "  --dry-run            say what stands in the way, and how long it will be down\n"
    "  --max-downtime=DURATION\n"
    "                       sync ahead until the downtime fits, or don't begin (30s, 5m)\n"
    "  --shutdown-timeout=DURATION\n"
    "                       for a guest to shut down, also in a rollback (default 5m)\n"
    "  --allow-power-off    power the source off when its guest does not shut down\n"
    "  --source-is-off      you say so, of a source that can't tell\n"
    "  --source-lost        it is gone: boot the newest point, or --point\n"
    "  --yes                don't ask, on a terminal\n"
    "rollback of a live one:\n"
    "  --discard            what the guest wrote here goes, instead of being kept\n"
    "  --leave-off          don't power the source on\n"
    "\n"
    "  --json               for programs\n"
    "  --state=DIR          state directory\n";

static void free_arguments(struct failover_arguments *arguments)
{
    override_free(&arguments->override);
    checks_free(&arguments->checks);
    for (size_t i = 0; i < arguments->word_count; i++)
        free((char *)arguments->words[i]);
}

static int virt_type(const struct failover_arguments *arguments, struct error **err)
{
    struct config config;
    const char *type;

    if (config_load(NULL, &config, err) < 0 ||
        virt_choose(failover_virt_type(arguments, &config), &type, err) < 0)
        return -1;
    if (arguments->common.json) {
        json_object *object = json_object_new_object();

        json_object_object_add(object, "virt_type", json_object_new_string(type));
        return print_json(object, err);
    }
    printf("%s\n", type);
    return 0;
}

static int add_override(struct failover_arguments *arguments, int c, struct error **err)
{
    if (c == 'o')
        return override_load(optarg, &arguments->override, err);
    return override_add(&arguments->override, "--set", optarg, err);
}

/* Options that each test of a drill gets. */
static int keep_word(struct failover_arguments *arguments, const struct option *option,
                     struct error **err)
{
    char *word = NULL;

    if (option->val >= OPTION_STATE || (option->val < 128 && strchr("pkxvrAPOFSfNia", option->val)))
        return 0; /* what is the drill's, or can't be a test's of it */
    if (arguments->word_count == DRILL_WORDS_MAX)
        return error_set_kind(err, ERROR_USAGE, "these are too many options");
    if (asprintf(&word, "--%s%s%s", option->name, option->has_arg ? "=" : "",
                 option->has_arg ? optarg : "") < 0)
        return error_set_errno(err, ENOMEM, "options");
    arguments->words[arguments->word_count++] = word;
    return 0;
}

static int take_option(struct failover_arguments *arguments, int c, char *argv[],
                       struct error **err)
{
    const struct {
        int c;
        const char **value;
    } texts[] = { { 'p', &arguments->point },
                  { 'e', &arguments->expect },
                  { 't', &arguments->timeout },
                  { 'v', &arguments->virt_type },
                  { 'k', &arguments->keep },
                  { 'n', &arguments->network },
                  { 'c', &arguments->connect },
                  { 'i', &arguments->id },
                  { 'a', &arguments->after },
                  { 'T', &arguments->check_timeout },
                  { 'V', &arguments->conversion },
                  { 'W', &arguments->virtio_win },
                  { 'P', &arguments->parallel },
                  { 'O', &arguments->output },
                  { 'F', &arguments->drill.format },
                  { 'S', &arguments->drill.source },
                  { 'f', &arguments->drill.filter.folder },
                  { 'N', &arguments->drill.filter.name },
                  { '1', &arguments->max_downtime },
                  { '2', &arguments->shutdown_timeout } };
    const struct {
        int c;
        bool *flag;
    } flags[] = { { '3', &arguments->allow_power_off },
                  { '4', &arguments->source_lost },
                  { '5', &arguments->source_is_off },
                  { '6', &arguments->dry_run },
                  { '7', &arguments->yes },
                  { '8', &arguments->discard },
                  { '9', &arguments->leave_off },
                  { 'A', &arguments->all },
                  { 'r', &arguments->roll_back },
                  { 'd', &arguments->dhcp },
                  { 'x', &arguments->print_xml } };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].c == c) {
            *texts[i].value = optarg;
            return 0;
        }
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (flags[i].c == c)
            return *flags[i].flag = true, 0;
    }
    switch (c) {
    case 'C':
        arguments->checks_given = true;
        return checks_add(&arguments->checks, optarg, err);
    case 'L':
        arguments->checks_given = true;
        return checks_add_list(&arguments->checks, optarg, err);
    case 'o':
    case 's':
        return add_override(arguments, c, err);
    default:
        return common_option(c, argv, &arguments->common, err);
    }
}

static int parse(int argc, char *argv[], struct failover_arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "point", required_argument, NULL, 'p' },
                                             { "expect", required_argument, NULL, 'e' },
                                             { "timeout", required_argument, NULL, 't' },
                                             { "virt-type", required_argument, NULL, 'v' },
                                             { "keep", required_argument, NULL, 'k' },
                                             { "network", required_argument, NULL, 'n' },
                                             { "connect", required_argument, NULL, 'c' },
                                             { "id", required_argument, NULL, 'i' },
                                             { "after", required_argument, NULL, 'a' },
                                             { "dhcp", no_argument, NULL, 'd' },
                                             { "print-xml", no_argument, NULL, 'x' },
                                             { "override", required_argument, NULL, 'o' },
                                             { "set", required_argument, NULL, 's' },
                                             { "conversion", required_argument, NULL, 'V' },
                                             { "virtio-win", required_argument, NULL, 'W' },
                                             { "check", required_argument, NULL, 'C' },
                                             { "checks", required_argument, NULL, 'L' },
                                             { "check-timeout", required_argument, NULL, 'T' },
                                             { "rollback", no_argument, NULL, 'r' },
                                             { "all", no_argument, NULL, 'A' },
                                             { "parallel", required_argument, NULL, 'P' },
                                             { "output", required_argument, NULL, 'O' },
                                             { "format", required_argument, NULL, 'F' },
                                             { "source", required_argument, NULL, 'S' },
                                             { "folder", required_argument, NULL, 'f' },
                                             { "name", required_argument, NULL, 'N' },
                                             { "max-downtime", required_argument, NULL, '1' },
                                             { "shutdown-timeout", required_argument, NULL, '2' },
                                             { "allow-power-off", no_argument, NULL, '3' },
                                             { "source-lost", no_argument, NULL, '4' },
                                             { "source-is-off", no_argument, NULL, '5' },
                                             { "dry-run", no_argument, NULL, '6' },
                                             { "yes", no_argument, NULL, '7' },
                                             { "discard", no_argument, NULL, '8' },
                                             { "leave-off", no_argument, NULL, '9' },
                                             COMMON_OPTIONS };
    int c, index = 0;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, &index)) != -1) {
        if (take_option(arguments, c, argv, err) < 0 ||
            keep_word(arguments, &options[index], err) < 0)
            return -1;
    }
    return 0;
}

#define WAIT_SLICE_S 5

/* Before the store is opened, which nobody else should wait for. One that is known by its files
 * is waited for no longer when somebody else has rolled it back. */
static int wait_until(const struct failover_arguments *arguments, unsigned id, struct error **err)
{
    const char *state = arguments->common.state;
    unsigned seconds = 0;

    if (arguments->after && failover_duration(arguments->after, "--after", &seconds, err) < 0)
        return -1;
    while (seconds > 0 && !(id && state && !failover_is_standing(state, id))) {
        unsigned slice = seconds < WAIT_SLICE_S ? seconds : WAIT_SLICE_S;

        seconds -= slice - sleep(slice);
    }
    return 0;
}

/* The verbs that are about one VM. */
static int run_on_vm(const char *verb, const char *name, const struct failover_arguments *arguments,
                     struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct store_vm vm;
    unsigned id = 0;

    if ((arguments->id && failover_number(arguments->id, "--id", 1, INT32_MAX, &id, err) < 0) ||
        wait_until(arguments, id, err) < 0 ||
        context_open(arguments->common.state, &context, err) < 0 ||
        store_vm_find(context.store, name, &vm, err) < 0)
        return -1;
    if (strcmp(verb, "test") == 0)
        return failover_test_verb(&context, &vm, arguments, err);
    if (strcmp(verb, "rollback") == 0)
        return failover_rollback_verb(&context, &vm, id, arguments, err);
    if (strcmp(verb, "live") == 0)
        return failover_live_verb(&context, &vm, arguments, err);
    if (strcmp(verb, "commit") == 0)
        return failover_commit_verb(&context, &vm, arguments, err);
    return failover_show(&context, &vm, id, arguments->common.json, err);
}

/* Only a commit goes on where it stopped. */
static int run_verb(const char *verb, const char *name, const struct failover_arguments *arguments,
                    struct error **err)
{
    int r = run_on_vm(verb, name, arguments, err);

    if (r < 0 && *err && (*err)->kind == ERROR_PAUSED && strcmp(verb, "commit") != 0)
        (*err)->kind = ERROR_FAILED;
    return r;
}

static int run_drill(struct failover_arguments *arguments, struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct drill_request *request = &arguments->drill;
    struct failover_options options;

    request->parallel = 1;
    if ((arguments->parallel && failover_number(arguments->parallel, "--parallel", 1, CREW_MAX,
                                                &request->parallel, err) < 0) ||
        (request->format && report_check_format(request->format, err) < 0) ||
        context_open(arguments->common.state, &context, err) < 0 ||
        failover_options(arguments, &context.config, &options, err) < 0 ||
        virt_choose(options.virt_type, &request->virt_type, err) < 0)
        return -1;
    request->json = arguments->common.json;
    request->output = arguments->output;
    request->words = arguments->words;
    request->word_count = arguments->word_count;
    return failover_drill(&context, request, err);
}

static int run_list(const char *name, const struct failover_arguments *arguments,
                    struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };

    if (context_open(arguments->common.state, &context, err) < 0)
        return -1;
    return failover_list(&context, name, arguments->common.json, err);
}

/* An option that the verb has no use for is a mistake that should not go unnoticed. */
static int check_verb(const char *verb, const struct failover_arguments *arguments,
                      struct error **err)
{
    const struct drill_request *drill = &arguments->drill;
    bool is_test = strcmp(verb, "test") == 0, is_live = strcmp(verb, "live") == 0;
    bool is_rollback = strcmp(verb, "rollback") == 0;

    if (arguments->all && (!is_test || arguments->point || arguments->keep || arguments->print_xml))
        return error_set_kind(err, ERROR_USAGE,
                              "--all is for test, of the newest points, and without --keep and "
                              "--print-xml");
    if (!arguments->all && (arguments->parallel || arguments->output || drill->format ||
                            drill->source || drill->filter.folder || drill->filter.name))
        return error_set_kind(err, ERROR_USAGE,
                              "--source, --folder, --name, --parallel, --output and --format are "
                              "for test --all");
    if (drill->format && !arguments->output)
        return error_set_kind(err, ERROR_USAGE, "--format is that of the file: --output=FILE");
    if (arguments->after && strcmp(verb, "rollback") != 0)
        return error_set_kind(err, ERROR_USAGE, "--after is for rollback");
    if (arguments->roll_back && arguments->keep)
        return error_set_kind(err, ERROR_USAGE,
                              "--rollback leaves nothing to keep: --keep or "
                              "--rollback");
    if (arguments->id && (is_test || is_live))
        return error_set_kind(err, ERROR_USAGE, "--id is for rollback and show");
    if (!is_test &&
        (arguments->print_xml || arguments->keep || arguments->network || arguments->dhcp ||
         arguments->checks_given || arguments->check_timeout || arguments->roll_back))
        return error_set_kind(
            err, ERROR_USAGE,
            "--print-xml, --keep, --network, --dhcp, --check, --check-timeout and "
            "--rollback are for test");
    if (!is_test && !is_live &&
        (arguments->override.count || arguments->connect || arguments->conversion ||
         arguments->virtio_win))
        return error_set_kind(err, ERROR_USAGE,
                              "--override, --set, --conversion, --virtio-win and --connect are for "
                              "test and live");
    if (!is_live && (arguments->max_downtime || arguments->allow_power_off ||
                     arguments->source_lost || arguments->source_is_off || arguments->dry_run))
        return error_set_kind(err, ERROR_USAGE,
                              "--max-downtime, --allow-power-off, --source-lost, --source-is-off "
                              "and --dry-run are for live");
    if ((arguments->discard || arguments->leave_off) && !is_rollback)
        return error_set_kind(err, ERROR_USAGE, "--discard and --leave-off are for rollback");
    if (arguments->shutdown_timeout && !is_live && !is_rollback)
        return error_set_kind(err, ERROR_USAGE, "--shutdown-timeout is for live and rollback");
    return 0;
}

static bool is_about_vm(const char *verb)
{
    static const char *const verbs[] = { "test", "live", "commit", "rollback", "show" };

    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verb, verbs[i]) == 0)
            return true;
    }
    return false;
}

int command_failover(int argc, char *argv[], struct error **err)
{
    CLEANUP(free_arguments) struct failover_arguments arguments = { 0 };
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
    if (arguments.all && given == 0)
        return run_drill(&arguments, err);
    if (arguments.all)
        return error_set_kind(err, ERROR_USAGE, "--all is all VMs: --name chooses among them");
    if (strcmp(verb, "virt-type") == 0 && given == 0)
        return virt_type(&arguments, err);
    if (strcmp(verb, "list") == 0 && given <= 1)
        return run_list(given ? argv[optind + 1] : NULL, &arguments, err);
    if (is_about_vm(verb) && given == 1)
        return run_verb(verb, argv[optind + 1], &arguments, err);
    return error_set_kind(
        err, ERROR_USAGE,
        "usage: vmferry failover test|live|commit|rollback|show VM, list [VM], or "
        "virt-type");
}
