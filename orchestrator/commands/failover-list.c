/* Lists of failovers; see failover-list.h. */
#include "commands/failover-list.h"

#include <string.h>

#include "commands/human.h"
#include "commands/options.h"
#include "escape.h"
#include "table.h"

static void put(json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, *text ? json_object_new_string(text) : NULL);
}

static void put_int(json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

json_object *failover_to_json(const struct store_failover *failover, const char *vm_name,
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
    put(object, "host", failover->host);
    put(object, "uri", failover->uri);
    put(object, "error", failover->error);
    put_int(object, "created_ms", failover->created_ms);
    put_int(object, "keep_until_ms", failover->keep_until_ms);
    put_int(object, "completed_ms", failover->completed_ms);
    json_object_object_add(object, "evidence", json_tokener_parse(evidence));
    return object;
}

static const char *name_of(const struct store_vm *vms, size_t count, int64_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (vms[i].id == id)
            return vms[i].name;
    }
    return "";
}

static const char *text_of(json_object *object, const char *key)
{
    json_object *value;

    return json_object_object_get_ex(object, key, &value) && value ? json_object_get_string(value)
                                                                   : "-";
}

static json_object *member(json_object *object, const char *key, json_type type)
{
    json_object *value;

    return json_object_object_get_ex(object, key, &value) && json_object_is_type(value, type)
               ? value
               : NULL;
}

int failover_list(struct context *context, const char *name, bool json, struct error **err)
{
    CLEANUP_TABLE struct table table =
        TABLE(">ID", "VM", "KIND", "STATE", "?VERDICT", "STARTED", "DOMAIN");
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
        json_object *object, *seen;
        char time[TIME_TEXT];

        if (store_failover_get_evidence(context->store, failover->id, &evidence, err) < 0) {
            json_object_put(array);
            return -1;
        }
        object = failover_to_json(failover, vm_name, evidence);
        json_object_array_add(array, object);
        json_object_object_get_ex(object, "evidence", &seen);
        table_cell(&table, "%lld", (long long)failover->id);
        table_cell(&table, "%s", vm_name);
        table_cell(&table, "%s", failover->kind);
        table_cell(&table, "%s", failover->state);
        table_cell(&table, "%s",
                   member(seen, "verdict", json_type_string) ? text_of(seen, "verdict") : "");
        table_cell(&table, "%s", time_text(time, failover->created_ms));
        table_cell(&table, "%s", failover->domain_name);
    }
    if (json)
        return print_json(array, err);
    json_object_put(array);
    table_print(&table, stdout);
    return 0;
}

/* The guest's own words may be anything. */
static void print_words(const char *text)
{
    escape_terminal(stdout, text ? text : "-");
}

static void print_filesystems(json_object *list)
{
    size_t count = list ? json_object_array_length(list) : 0;

    printf("mounted   %zu file system%s\n", count, count == 1 ? "" : "s");
    for (size_t i = 0; i < count; i++) {
        json_object *one = json_object_array_get_idx(list, i), *total;
        char bytes[HUMAN_MAX];

        printf("          ");
        print_words(text_of(one, "mountpoint"));
        printf(" (");
        print_words(text_of(one, "type"));
        if (json_object_object_get_ex(one, "total-bytes", &total))
            printf(", %s", human_bytes(bytes, json_object_get_uint64(total)));
        printf(")\n");
    }
}

static void print_guest(json_object *guest)
{
    json_object *os = member(guest, "os", json_type_object);

    printf("guest     ");
    print_words(text_of(os, json_object_object_get_ex(os, "pretty-name", NULL) ? "pretty-name"
                                                                               : "kernel-release"));
    printf("\n");
    print_filesystems(member(guest, "filesystems", json_type_array));
}

void failover_print_checks(json_object *evidence, const char *head)
{
    json_object *checks = member(evidence, "checks", json_type_array);

    for (size_t i = 0; checks && i < json_object_array_length(checks); i++) {
        json_object *check = json_object_array_get_idx(checks, i);
        bool passed = json_object_get_boolean(json_object_object_get(check, "passed"));

        printf("%s%s ", head, passed ? "passed" : "FAILED");
        print_words(text_of(check, "check"));
        printf(", %s s: ", text_of(check, "seconds"));
        print_words(text_of(check, "detail"));
        printf("\n");
    }
}

static void print_screens(json_object *seen)
{
    json_object *list = member(seen, "screens", json_type_array);
    size_t count = list ? json_object_array_length(list) : 0;

    for (size_t i = 0; i < count; i++)
        printf("screen    %s (after %s s)\n", text_of(json_object_array_get_idx(list, i), "file"),
               text_of(json_object_array_get_idx(list, i), "seconds"));
    if (!count)
        printf("screen    %s\n", text_of(seen, "screen"));
}

/* Of a live failover. */
static void print_downtime(json_object *seen)
{
    json_object *downtime = member(seen, "downtime", json_type_object);

    if (downtime)
        printf("downtime  %s s: shutdown %s, sync %s, start %s, boot %s\n",
               text_of(downtime, "seconds"), text_of(downtime, "shutdown_seconds"),
               text_of(downtime, "sync_seconds"), text_of(downtime, "start_seconds"),
               text_of(seen, "seconds"));
    if (member(seen, "source_was", json_type_string))
        printf("source    was %s\n", text_of(seen, "source_was"));
}

static void print_conversion(json_object *conversion)
{
    printf("converted %s", json_object_get_boolean(json_object_object_get(conversion, "needed"))
                               ? text_of(conversion, "engine")
                               : "no");
    printf(", in %s s: ", text_of(conversion, "seconds"));
    print_words(text_of(conversion, "why"));
    printf("\n");
}

static void print_seconds(const char *head, json_object *seen, const char *name)
{
    const char *text = text_of(seen, name);

    printf("%-9s %s%s\n", head, text, strcmp(text, "-") == 0 ? "" : " s");
}

static void print_evidence(json_object *seen)
{
    json_object *guest = member(seen, "guest", json_type_object);
    json_object *conversion = member(seen, "conversion", json_type_object);

    if (!json_object_object_get_ex(seen, "booted", NULL))
        return; /* it did not come that far */
    if (json_object_object_get_ex(seen, "verdict", NULL)) {
        printf("verdict   %s", text_of(seen, "verdict"));
        if (member(seen, "why", json_type_string)) {
            printf(": ");
            print_words(text_of(seen, "why"));
        }
        printf("\n");
        print_seconds("RPO", seen, "rpo_seconds");
        print_seconds("RTO", seen, "rto_seconds");
    }
    print_downtime(seen);
    printf("booted    %s, by %s, after %s s\nsaid      ", text_of(seen, "booted"),
           text_of(seen, "by"), text_of(seen, "seconds"));
    print_words(text_of(seen, "line"));
    printf("\nconsole   %s\n", text_of(seen, "console"));
    print_screens(seen);
    if (conversion)
        print_conversion(conversion);
    if (guest)
        print_guest(guest);
    failover_print_checks(seen, "check     ");
}

static const struct store_failover *chosen(const struct store_failover *failovers, size_t count,
                                           int64_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (!id || failovers[i].id == id)
            return &failovers[i];
    }
    return NULL;
}

int failover_show(struct context *context, const struct store_vm *vm, int64_t id, bool json,
                  struct error **err)
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
    newest = chosen(failovers, count, id);
    if (!newest)
        return error_set(err, "%s has no failover %lld; `vmferry failover list %s` lists them",
                         vm->name, (long long)id, vm->name);
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
        print_evidence(seen);
    json_object_put(object);
    return 0;
}
