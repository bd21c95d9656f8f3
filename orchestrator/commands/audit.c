/* vmferry audit: who did what to which VM. What comes in: nothing, or a VM. What goes out: the
 * audit log, oldest first. It changes nothing. */
#include <string.h>

#include "commands/command.h"
#include "commands/context.h"
#include "commands/options.h"
#include "escape.h"
#include "json-writer.h"
#include "table.h"
#include "when.h"

#define PAGE_ROWS 200

static const char help[] =
    "usage: vmferry audit [VM] [--since=WHEN] [--json]\n"
    "\n"
    "Who did what to which VM, when, and what it was before and after: oldest first.\n"
    "\n"
    "VM is a name, a uuid or an inventory path, also of a VM that is not here any more.\n"
    "\n"
    "  --since=WHEN   a time (2026-11-21, \"2026-11-21 18:30\") or an age (30m, 24h, 7d)\n"
    "  --json         for programs\n"
    "  --state=DIR    state directory\n";

struct arguments {
    struct common_options common;
    int64_t since_ms;
};

static int parse_since(const char *text, int64_t *ms, struct error **err)
{
    const char *problem = when_parse(text, store_now_ms(), ms);

    if (problem)
        return error_set_kind(err, ERROR_USAGE, "--since=%s %s", text, problem);
    return 0;
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "since", required_argument, NULL, 's' },
                                             COMMON_OPTIONS };
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        int r = c == 's' ? parse_since(optarg, &arguments->since_ms, err)
                         : common_option(c, argv, &arguments->common, err);

        if (r < 0)
            return -1;
    }
    return 0;
}

static void print_row_json(struct json_writer *json, const struct store_audit_row *row)
{
    json_open(json, NULL, '{');
    json_put_int(json, "id", row->id);
    json_put_time(json, "time", row->created_ms);
    json_put_text(json, "who", row->who);
    json_put_text(json, "host", row->host);
    json_put_text(json, "command", row->command);
    json_put_text(json, "what", row->what);
    json_put_text(json, "subject", row->subject);
    json_put_text(json, "vm", row->vm_name);
    json_put_text(json, "vm_uuid", row->vm_uuid);
    json_put_text(json, "before", row->before);
    json_put_text(json, "after", row->after);
    json_close(json, '}');
}

static void print_member(const char *name, const char *text)
{
    if (!*text)
        return;
    printf("    %-8s ", name);
    escape_terminal(stdout, text);
    putchar('\n');
}

static void print_row(const struct store_audit_row *row)
{
    char time[TIME_TEXT];

    printf("%s  ", time_text(time, row->created_ms));
    escape_terminal(stdout, row->what);
    if (row->vm_name[0]) {
        fputs("  ", stdout);
        escape_terminal(stdout, row->vm_name);
    }
    putchar('\n');
    print_member("by", row->who);
    print_member("on", row->host);
    print_member("command", row->command);
    if (strcmp(row->subject, row->vm_uuid) != 0)
        print_member("subject", row->subject);
    print_member("before", row->before);
    print_member("after", row->after);
}

/* Page by page: a log may be longer than memory. */
static int print_all(struct store *store, const char *vm, int64_t since_ms, bool as_json,
                     struct error **err)
{
    struct json_writer json = { .out = stdout };
    int64_t after_ms = since_ms - 1, after_id = INT64_MAX;
    size_t count;

    if (as_json)
        json_open(&json, NULL, '[');
    do {
        CLEANUP_FREE struct store_audit_row *rows = NULL;

        if (store_audits(store, vm, after_ms, after_id, PAGE_ROWS, &rows, &count, err) < 0)
            return -1;
        for (size_t i = 0; i < count; i++) {
            if (as_json)
                print_row_json(&json, &rows[i]);
            else
                print_row(&rows[i]);
        }
        if (count > 0) {
            after_ms = rows[count - 1].created_ms;
            after_id = rows[count - 1].id;
        }
    } while (count == PAGE_ROWS);
    if (as_json)
        json_close(&json, ']');
    return 0;
}

/* Rows outlive their VM: one that the store does not know may be named in them all the same. */
static int print_of_vm(struct store *store, const char *name, const struct arguments *arguments,
                       struct error **err)
{
    CLEANUP_ERROR struct error *unknown = NULL;
    CLEANUP_FREE struct store_audit_row *rows = NULL;
    struct store_vm vm;
    size_t count;

    if (store_vm_find(store, name, &vm, &unknown) == 0)
        return print_all(store, vm.uuid, arguments->since_ms, arguments->common.json, err);
    if (unknown->errnum != ENOENT)
        return error_move(err, &unknown);
    if (store_audits(store, name, 0, 0, 1, &rows, &count, err) < 0)
        return -1;
    if (count == 0)
        return error_move(err, &unknown);
    return print_all(store, name, arguments->since_ms, arguments->common.json, err);
}

int command_audit(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct arguments arguments = { 0 };

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(help);
    if ((argc - optind > 0 && expect_arguments(argc, 1, "vmferry audit [VM] [OPTIONS]", err) < 0) ||
        context_open(arguments.common.state, &context, err) < 0)
        return -1;
    if (argc > optind)
        return print_of_vm(context.store, argv[optind], &arguments, err);
    return print_all(context.store, NULL, arguments.since_ms, arguments.common.json, err);
}
