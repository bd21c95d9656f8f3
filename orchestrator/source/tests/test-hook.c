/* The power of an nbd source's VMs: with a hook, a shell script whose VM is a word in a file, and
 * without one. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "source/source.h"

#define UUID "6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f"

static const char script[] =
    "#!/bin/sh\n"
    "cd \"$(dirname \"$0\")\"\n"
    "echo \"$*|$VMFERRY_SOURCE_FILE\" >>calls\n"
    "[ ! -e \"bad-$1\" ] || { echo one >&2; echo 'two words' >&2; exit \"$(cat \"bad-$1\")\"; }\n"
    "case $1 in\n"
    "state) cat power ;;\n"
    "power-on) echo on >power ;;\n"
    "power-off) [ ! -e stubborn ] || exit 0; echo off >power ;;\n"
    "shutdown) (sleep 0.3; echo off >power) & ;;\n"
    "esac\n";

static const char description[] =
    "{ \"uuid\": \"" UUID "\", \"name\": \"app 01\", \"firmware\": \"bios\", \"cpus\": 1,"
    "  \"memory\": 1048576, \"disks\": [ { \"key\": 2000, \"unit\": 0, \"capacity\": 512,"
    "  \"backing_uuid\": \"b\", \"file\": \"disk\" } ] }";

static char folder[PATH_MAX];

static void put(const char *name, const char *text)
{
    char path[PATH_MAX + 32];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
    assert_int_equal(chmod(path, 0700), 0);
}

static void take_away(const char *name)
{
    char path[PATH_MAX + 32];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static bool was_called(const char *line)
{
    char path[PATH_MAX + 32], text[65536] = "";
    FILE *file;

    snprintf(path, sizeof path, "%s/calls", folder);
    file = fopen(path, "r");
    if (file) {
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
    }
    return strstr(text, line);
}

struct opened {
    struct source_settings settings;
    char location[PATH_MAX + 32];
    char options[PATH_MAX + 64];
    atomic_int cancel;
    struct source *source;
};

static void open_source(struct opened *o, bool hook, const char *more)
{
    CLEANUP_ERROR struct error *err = NULL;

    *o = (struct opened){ .source = NULL };
    snprintf(o->location, sizeof o->location, "%s/vm.json", folder);
    if (hook)
        snprintf(o->options, sizeof o->options, "{\"hook\":\"%s/hook\"%s}", folder, more);
    o->settings = (struct source_settings){ .name = "lab",
                                            .kind = "nbd",
                                            .location = o->location,
                                            .options = o->options,
                                            .state_dir = folder,
                                            .cancel = &o->cancel };
    if (source_open(&o->settings, &o->source, &err) < 0)
        fail_msg("%s", error_message(err));
}

static enum power power_of(struct opened *o)
{
    CLEANUP_ERROR struct error *err = NULL;
    enum power now = POWER_SUSPENDED;

    if (o->source->kind->power(o->source, UUID, &now, &err) < 0)
        fail_msg("%s", error_message(err));
    return now;
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s/test-hook.XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(folder));
    put("hook", script);
    put("vm.json", description);
    put("power", "on\n");
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = { "hook",         "vm.json",      "power",
                                         "calls",        "bad-state",    "stubborn",
                                         "bad-shutdown", "bad-power-on", "bad-retire" };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        take_away(names[i]);
    return rmdir(folder);
}

static void test_power(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct opened o;
    const struct source_kind *kind;

    (void)state;
    open_source(&o, true, "");
    kind = o.source->kind;
    assert_string_equal(kind->name, "nbd");
    assert_int_equal(power_of(&o), POWER_ON);
    assert_int_equal(kind->power_on(o.source, UUID, &err), 0);
    assert_false(was_called("power-on"));
    assert_int_equal(kind->power_off(o.source, UUID, &err), 0);
    assert_int_equal(power_of(&o), POWER_OFF);
    assert_true(was_called("power-off app 01 " UUID "|"));
    assert_true(was_called("/vm.json\n"));
    assert_int_equal(kind->shut_down(o.source, UUID, &err), 0);
    assert_false(was_called("shutdown"));
    assert_int_equal(kind->power_on(o.source, UUID, &err), 0);
    assert_int_equal(kind->shut_down(o.source, UUID, &err), 0);
    assert_true(was_called("shutdown"));
    for (int i = 0; i < 100 && power_of(&o) != POWER_OFF; i++)
        usleep(50000);
    assert_int_equal(power_of(&o), POWER_OFF);
    put("power", "suspended\n");
    assert_int_equal(power_of(&o), POWER_SUSPENDED);
    assert_int_equal(kind->retire(o.source, UUID, "new name", "a note; $(rm -rf)", &err), 0);
    assert_true(was_called("retire app 01 " UUID " new name a note; $(rm -rf)|"));
    source_close(o.source);
}

/* A description that is gone does not keep a VM from being asked. */
static void test_without_description(void **state)
{
    struct opened o;

    (void)state;
    open_source(&o, true, "");
    take_away("vm.json");
    assert_int_equal(power_of(&o), POWER_ON);
    assert_true(was_called("state " UUID " " UUID "|"));
    source_close(o.source);
}

static void test_refusals(void **state)
{
    CLEANUP_ERROR struct error *unavailable = NULL;
    CLEANUP_ERROR struct error *failed = NULL;
    CLEANUP_ERROR struct error *senseless = NULL;
    struct opened o;
    const struct source_kind *kind;
    enum power now;

    (void)state;
    open_source(&o, true, "");
    kind = o.source->kind;
    put("bad-shutdown", "69");
    assert_int_equal(kind->shut_down(o.source, UUID, &unavailable), -1);
    assert_int_equal(unavailable->errnum, ENOTSUP);
    assert_non_null(strstr(error_message(unavailable), "shutdown of VM app 01: two words"));
    put("bad-state", "3");
    assert_int_equal(kind->power(o.source, UUID, &now, &failed), -1);
    assert_int_not_equal(failed->errnum, ENOTSUP);
    assert_non_null(strstr(error_message(failed), "two words; exit status 3"));
    take_away("bad-state");
    put("power", "perhaps\n");
    assert_int_equal(kind->power(o.source, UUID, &now, &senseless), -1);
    assert_non_null(strstr(error_message(senseless), "'perhaps'"));
    source_close(o.source);
}

static void test_cancel(void **state)
{
    CLEANUP_ERROR struct error *stopped = NULL;
    CLEANUP_ERROR struct error *err = NULL;
    struct opened o;
    const struct source_kind *kind;

    (void)state;
    open_source(&o, true, ",\"hook_timeout\":20");
    kind = o.source->kind;
    put("stubborn", ""); /* it says that it is done, and is not */
    atomic_store(&o.cancel, 1);
    assert_int_equal(kind->power_off(o.source, UUID, &stopped), -1);
    assert_int_equal(stopped->kind, ERROR_PAUSED);
    put("power", "off\n");
    assert_int_equal(kind->power_on(o.source, UUID, &err), 0);
    assert_int_equal(power_of(&o), POWER_ON);
    source_close(o.source);
}

static void refused(int r, struct error **err)
{
    assert_int_equal(r, -1);
    assert_int_equal((*err)->errnum, ENOTSUP);
    assert_non_null(strstr(error_message(*err), "--hook"));
    error_clear(err);
}

static void test_without_hook(void **state)
{
    struct error *err = NULL;
    struct opened o;
    const struct source_kind *kind;
    enum power now;

    (void)state;
    open_source(&o, false, "");
    kind = o.source->kind;
    assert_null(kind->freeze);
    refused(kind->power(o.source, UUID, &now, &err), &err);
    refused(kind->shut_down(o.source, UUID, &err), &err);
    refused(kind->power_off(o.source, UUID, &err), &err);
    refused(kind->power_on(o.source, UUID, &err), &err);
    refused(kind->retire(o.source, UUID, "a", "b", &err), &err);
    source_close(o.source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_power, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_description, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_hook, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
