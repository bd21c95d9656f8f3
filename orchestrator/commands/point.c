/* vmferry point: the restore points of a VM. */
#include "commands/point.h"

#include <string.h>

#include "commands/command.h"
#include "commands/options.h"

static const char help[] =
    "usage: vmferry point list VM [--json]\n"
    "       vmferry point show VM [N] [--json]\n"
    "       vmferry point verify VM [N] [--json]\n"
    "       vmferry point delete VM N [--newest]\n"
    "       vmferry point delete VM --all [--lost-pool]\n"
    "       vmferry point pin VM [N]\n"
    "       vmferry point unpin VM [N]\n"
    "       vmferry point keep VM [RULES ...|all|default]\n"
    "       vmferry point prune VM|--all [--dry-run] [--json]\n"
    "\n"
    "N is the number of a restore point; default: the newest.\n"
    "RULES say which points stay: 'last:7 daily:14 weekly:4 monthly:6'.\n"
    "\n"
    "  --newest      delete it even if it is the newest one\n"
    "  --all         delete: every point, the whole replica; prune: of all VMs\n"
    "  --lost-pool   its pool is lost for good: what lies in it is left there\n"
    "  --dry-run     say what would be deleted\n"
    "  --json        for programs\n"
    "  --state=DIR   state directory\n";

struct arguments {
    struct common_options common;
    bool newest;
    bool all;
    bool dry_run;
    bool lost_pool;
    const char *verb;
    const char *vm;   /* NULL: not given */
    const char *rest; /* the number or the rules; NULL: not given */
    char rules[STORE_NAME];
};

static const struct verb {
    const char *name;
    const char *rest; /* what may follow the VM */
    bool all_vms;     /* may go without a VM */
} verbs[] = {
    { "list", "", false },
    { "show", " [N]", false },
    { "verify", " [N]", false },
    { "delete", " N|--all", false },
    { "pin", " [N]", false },
    { "unpin", " [N]", false },
    { "keep", " [RULES ...|all|default]", false },
    { "prune", "", true },
};

static int parse_options(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "newest", no_argument, NULL, 'n' },
                                             { "all", no_argument, NULL, 'a' },
                                             { "dry-run", no_argument, NULL, 'd' },
                                             { "lost-pool", no_argument, NULL, 'l' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'n')
            arguments->newest = true;
        else if (c == 'a')
            arguments->all = true;
        else if (c == 'l')
            arguments->lost_pool = true;
        else if (c == 'd')
            arguments->dry_run = true;
        else if (common_option(c, argv, &arguments->common, err) < 0)
            return -1;
    }
    return 0;
}

static int check_options(const struct arguments *arguments, struct error **err)
{
    bool prune = strcmp(arguments->verb, "prune") == 0;
    bool delete = strcmp(arguments->verb, "delete") == 0;

    if (arguments->dry_run && !prune)
        return error_set_kind(err, ERROR_USAGE, "--dry-run is for `vmferry point prune`");
    if (arguments->all && !prune && !delete)
        return error_set_kind(err, ERROR_USAGE, "--all is for delete and prune");
    if (delete &&arguments->all == (arguments->rest != NULL))
        return error_set_kind(err, ERROR_USAGE, "usage: vmferry point delete VM N|--all");
    if (arguments->newest && !delete)
        return error_set_kind(err, ERROR_USAGE, "--newest is for `vmferry point delete`");
    if (arguments->lost_pool && (!delete || !arguments->all))
        return error_set_kind(err, ERROR_USAGE,
                              "--lost-pool is for `vmferry point delete VM --all`");
    if (prune && arguments->all == (arguments->vm != NULL))
        return error_set_kind(err, ERROR_USAGE, "usage: vmferry point prune VM|--all [--dry-run]");
    return 0;
}

/* Rules may come as one word or as several. */
static int join_rules(char *words[], int count, char rules[STORE_NAME], struct error **err)
{
    size_t length = 0;

    for (int i = 0; i < count; i++) {
        length +=
            (size_t)snprintf(rules + length, STORE_NAME - length, "%s%s", i ? " " : "", words[i]);
        if (length >= STORE_NAME)
            return error_set_kind(err, ERROR_USAGE, "these rules are too long");
    }
    return 0;
}

static int parse_words(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    const struct verb *verb = NULL;
    int words = argc - optind;

    for (size_t i = 0; words > 0 && i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, argv[optind]) == 0)
            verb = &verbs[i];
    }
    if (!verb)
        return error_set_kind(err, ERROR_USAGE,
                              "say what to do: list, show, verify, delete, pin, unpin, keep or "
                              "prune");
    arguments->verb = verb->name;
    arguments->vm = words > 1 ? argv[optind + 1] : NULL;
    arguments->rest = words > 2 ? argv[optind + 2] : NULL;
    if (words > 2 && strcmp(verb->name, "keep") == 0) {
        if (join_rules(argv + optind + 2, words - 2, arguments->rules, err) < 0)
            return -1;
        arguments->rest = arguments->rules;
        words = 3;
    }
    if (words > 2 + (verb->rest[0] != '\0') || (words < 2 && !verb->all_vms))
        return error_set_kind(err, ERROR_USAGE, "usage: vmferry point %s VM%s", verb->name,
                              verb->rest);
    return check_options(arguments, err);
}

static int parse_number(const char *text, unsigned *number, struct error **err)
{
    uint64_t value;

    *number = 0;
    if (!text)
        return 0;
    if (strncmp(text, "live-", 5) == 0)
        return error_set_kind(err, ERROR_USAGE,
                              "'%s' is what a live failover left: `vmferry failover test VM "
                              "--point=%s` boots it, `vmferry failover rollback VM --id=%s "
                              "--discard` removes it",
                              text, text, text + 5);
    if (text[strspn(text, "0123456789")] || parse_size(text, &value, err) < 0 || value < 1 ||
        value > UINT32_MAX) {
        error_clear(err);
        return error_set_kind(err, ERROR_USAGE, "'%s' is no number of a restore point", text);
    }
    *number = (unsigned)value;
    return 0;
}

static int run(struct context *context, const struct store_vm *vm,
               const struct arguments *arguments, struct error **err)
{
    const char *verb = arguments->verb;
    bool json = arguments->common.json;
    unsigned number;

    if (strcmp(verb, "keep") == 0)
        return point_keep(context, vm, arguments->rest, json, err);
    if (parse_number(arguments->rest, &number, err) < 0)
        return -1;
    if (strcmp(verb, "list") == 0)
        return point_list(context, vm, json, err);
    if (strcmp(verb, "show") == 0)
        return point_show(context, vm, number, json, err);
    if (strcmp(verb, "delete") == 0 && arguments->all)
        return point_delete_all(context, vm, arguments->lost_pool, json, err);
    if (strcmp(verb, "delete") == 0)
        return point_delete(context, vm, number, arguments->newest, json, err);
    if (strcmp(verb, "prune") == 0)
        return point_prune(context, arguments->all ? NULL : vm, arguments->dry_run, json, err);
    return point_pin(context, vm, number, strcmp(verb, "pin") == 0, json, err);
}

/* `vmferry verify VM --point=N` under another name. */
static int verify(const struct arguments *arguments, struct error **err)
{
    char point[64], state[PATH_MAX + 16];
    char *argv[6] = { (char *)"verify", (char *)arguments->vm };
    int argc = 2;
    unsigned number;

    if (parse_number(arguments->rest, &number, err) < 0)
        return -1;
    if (number) {
        snprintf(point, sizeof point, "--point=%u", number);
        argv[argc++] = point;
    }
    if (arguments->common.state) {
        snprintf(state, sizeof state, "--state=%s", arguments->common.state);
        argv[argc++] = state;
    }
    if (arguments->common.json)
        argv[argc++] = (char *)"--json";
    optind = 0;
    return command_verify(argc, argv, err);
}

int command_point(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct arguments arguments = { 0 };
    struct store_vm vm = { 0 };

    if (parse_options(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    if (parse_words(argc, argv, &arguments, err) < 0)
        return -1;
    if (strcmp(arguments.verb, "verify") == 0)
        return verify(&arguments, err);
    if (context_open(arguments.common.state, &context, err) < 0 ||
        (arguments.vm && store_vm_find(context.store, arguments.vm, &vm, err) < 0))
        return -1;
    return run(&context, &vm, &arguments, err);
}
