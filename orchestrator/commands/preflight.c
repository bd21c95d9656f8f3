/* vmferry preflight: what stands in the way of a VM's replication, before it is begun. */
#include <json.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "commands/watch.h"
#include "job/connect.h"
#include "job/find.h"
#include "job/preflight.h"
#include "table.h"

static const char help[] =
    "usage: vmferry preflight VM [OPTIONS]\n"
    "\n"
    "Looks at the VM, its source and the room for its replica, and changes nothing.\n"
    "VM is a name, a uuid, an inventory path, or a moref.\n"
    "\n"
    "  --transport=auto|vddk|https|ssh\n"
    "                instead of the source's own\n"
    "  --json        for programs\n"
    "  --state=DIR   state directory\n";

struct arguments {
    struct common_options common;
    const char *transport;
};

static const char *const levels[] = {
    [FINDING_OK] = "ok",
    [FINDING_WARNING] = "warning",
    [FINDING_BLOCKER] = "blocker",
};

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "transport", required_argument, NULL, 't' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 't')
            arguments->transport = optarg;
        else if (common_option(c, argv, &arguments->common, err) < 0)
            return -1;
    }
    return 0;
}

static int look(struct context *context, const char *transport, const struct store_vm *vm,
                struct findings *findings, struct error **err)
{
    CLEANUP_CONNECTION struct connection from = { .settings = { .transport = transport,
                                                                .cancel = cancel_on_signals() } };
    CLEANUP_SPEC struct vm_spec spec = { 0 };
    struct preflight_target target = { .reserve = context->config.reserve };

    if (preflight_target(context->store, context->state_dir, vm, context->config.pool, &target,
                         err) < 0)
        return -1;
    if (connection_open(context->store, vm->source_id, context->state_dir, &from, err) < 0)
        return -1;
    if (from.source->kind->find(from.source, vm->uuid, &spec, err) < 0)
        return error_prefix(err, "source '%s'", from.row.name);
    return job_preflight(context->store, &target, vm, from.source, &spec, findings, err);
}

static int print_as_json(const struct store_vm *vm, const struct findings *findings,
                         struct error **err)
{
    json_object *object = json_object_new_object();
    json_object *array = json_object_new_array();

    json_object_object_add(object, "vm", json_object_new_string(vm->name));
    json_object_object_add(object, "uuid", json_object_new_string(vm->uuid));
    json_object_object_add(
        object, "blockers",
        json_object_new_int64((int64_t)findings_count(findings, FINDING_BLOCKER)));
    json_object_object_add(
        object, "warnings",
        json_object_new_int64((int64_t)findings_count(findings, FINDING_WARNING)));
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->list[i];
        json_object *item = json_object_new_object();

        json_object_object_add(item, "check", json_object_new_string(finding->check));
        json_object_object_add(item, "level", json_object_new_string(levels[finding->level]));
        json_object_object_add(item, "text", json_object_new_string(finding->text));
        json_object_object_add(item, "remedy",
                               finding->remedy[0] ? json_object_new_string(finding->remedy) : NULL);
        json_object_array_add(array, item);
    }
    json_object_object_add(object, "findings", array);
    return print_json(object, err);
}

static void print_text(const struct findings *findings)
{
    CLEANUP_TABLE struct table table = TABLE("", "CHECK", "FOUND", "REMEDY");

    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->list[i];

        table_cell(&table, "%s", levels[finding->level]);
        table_cell(&table, "%s", finding->check);
        table_cell(&table, "%s", finding->text);
        table_cell(&table, "%s", finding->remedy);
    }
    table_print(&table, stdout);
}

int command_preflight(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    CLEANUP_FINDINGS struct findings findings = { 0 };
    struct arguments arguments = { 0 };
    struct store_vm vm;
    size_t blockers;

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    if (expect_arguments(argc, 1, "vmferry preflight VM [--json]", err) < 0 ||
        context_open(arguments.common.state, &context, err) < 0 ||
        job_find_vm(context.store, context.state_dir, argv[optind], NULL, &vm, err) < 0 ||
        look(&context, arguments.transport, &vm, &findings, err) < 0)
        return -1;
    if (!arguments.common.json)
        print_text(&findings);
    else if (print_as_json(&vm, &findings, err) < 0)
        return -1;
    blockers = findings_count(&findings, FINDING_BLOCKER);
    if (blockers == 0)
        return 0;
    return error_set(err, "%zu blocker%s: '%s' can't be replicated now", blockers,
                     blockers == 1 ? "" : "s", vm.name);
}
