/* Setting what is a VM's own; see vm-set.h. */
#include "commands/vm-set.h"

#include <json.h>
#include <regex.h>
#include <string.h>

#include "commands/options.h"
#include "commands/point.h"
#include "failover/check.h"

struct setting {
    const struct store_vm *vm;
    const char *what, *value;
};

static int write_tests(struct store *store, void *opaque, struct error **err)
{
    const struct setting *setting = opaque;
    struct store_vm_tests tests;
    char *field = strcmp(setting->what, "checks") == 0 ? tests.checks : tests.expect;
    char before[STORE_TEXT];

    if (store_vm_tests(store, setting->vm->id, &tests, err) < 0)
        return -1;
    strcpy(before, *field ? field : "default");
    strcpy(field, setting->value);
    if (store_vm_set_tests(store, setting->vm->id, &tests, err) < 0)
        return -1;
    return store_audit_vm(store, setting->vm->id, "vm set", setting->what, before,
                          *setting->value ? setting->value : "default", err);
}

static int check_value(const struct setting *setting, struct error **err)
{
    CLEANUP_CHECKS struct checks checks = { 0 };
    char reason[128];
    regex_t regex;
    int code;

    if (strlen(setting->value) >= STORE_TEXT)
        return error_set_kind(err, ERROR_USAGE, "%s is too long", setting->what);
    if (strcmp(setting->what, "checks") == 0)
        return checks_add_list(&checks, setting->value, err);
    code = regcomp(&regex, setting->value, REG_EXTENDED | REG_NOSUB);
    if (code == 0) {
        regfree(&regex);
        return 0;
    }
    regerror(code, &regex, reason, sizeof reason);
    return error_set_kind(err, ERROR_USAGE, "regular expression '%s': %s", setting->value, reason);
}

static int set_tests(struct context *context, const struct setting *setting, bool json,
                     struct error **err)
{
    json_object *object;

    if (check_value(setting, err) < 0 ||
        store_transaction(context->store, write_tests, (void *)setting, err) < 0)
        return -1;
    if (!json) {
        printf("%s: %s %s\n", setting->vm->name, setting->what,
               *setting->value ? setting->value : "default");
        return 0;
    }
    object = json_object_new_object();
    json_object_object_add(object, "vm", json_object_new_string(setting->vm->name));
    json_object_object_add(object, setting->what,
                           *setting->value ? json_object_new_string(setting->value) : NULL);
    return print_json(object, err);
}

int vm_set(struct context *context, const struct store_vm *vm, const char *assignment, bool json,
           struct error **err)
{
    struct setting setting = { .vm = vm };
    const char *value = strchr(assignment, '=');

    if (strncmp(assignment, "keep=", 5) == 0)
        return point_keep(context, vm, value + 1, json, err);
    if (strncmp(assignment, "checks=", 7) == 0)
        setting.what = "checks";
    else if (strncmp(assignment, "expect=", 7) == 0)
        setting.what = "expect";
    else
        return error_set_kind(err, ERROR_USAGE,
                              "'%s': what can be set is keep=RULES, checks=LIST and expect=REGEX",
                              assignment);
    setting.value = strcmp(value + 1, "default") == 0 ? "" : value + 1;
    return set_tests(context, &setting, json, err);
}
