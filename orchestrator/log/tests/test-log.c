/* The log: what reaches stderr, what is kept, how it is worded, and levels per part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <json.h>
#include <string.h>

#include "escape.h"
#include "log/levels.h"
#include "log/log.h"

/* What the two sinks got. */
static char shown[4096];
static struct {
    int count;
    struct log_line last;
    char text[256], vm[64], disk[24];
} kept;

static void show(void *opaque, const char *line, bool json)
{
    (void)opaque;
    (void)json;
    strncat(shown, line, sizeof shown - strlen(shown) - 1);
}

static void keep(void *opaque, const struct log_line *line)
{
    (void)opaque;
    kept.count++;
    kept.last = *line;
    snprintf(kept.text, sizeof kept.text, "%s", line->text);
    snprintf(kept.vm, sizeof kept.vm, "%s", line->vm ? line->vm : "");
    snprintf(kept.disk, sizeof kept.disk, "%s", line->disk);
}

static int begin(void **context)
{
    CLEANUP_ERROR struct error *err = NULL;

    (void)context;
    shown[0] = '\0';
    memset(&kept, 0, sizeof kept);
    log_set_screen(show, NULL);
    log_set_keeper(keep, NULL);
    log_set_format(LOG_PLAIN);
    log_name_vms(false);
    return log_set_levels("info", LOG_BY_OPTION, &err);
}

static void test_scopes(void **context)
{
    (void)context;
    log_notice("job", "outside");
    assert_int_equal(kept.count, 0);
    {
        LOG_JOB(7, "app01");
        {
            LOG_DISK(2001, 3);
            log_notice("copy", "inside");
            assert_int_equal(kept.last.job, 7);
            assert_int_equal(kept.last.disk_id, 3);
            assert_string_equal(kept.disk, "disk-2001");
            assert_string_equal(kept.vm, "app01");
        }
        log_warning("copy", "between");
        assert_int_equal(kept.last.disk_id, 0);
        assert_string_equal(kept.disk, "");
    }
    log_notice("job", "outside again");
    assert_int_equal(kept.count, 2);
    assert_string_equal(shown, "outside\ndisk-2001: inside\nwarning: between\noutside again\n");
}

static void *in_a_thread(void *unused)
{
    log_notice("job", "of nobody");
    return unused;
}

static void test_a_thread_starts_with_no_scope(void **context)
{
    pthread_t thread;
    LOG_JOB(7, "app01");

    (void)context;
    assert_int_equal(pthread_create(&thread, NULL, in_a_thread, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(kept.count, 0);
    assert_string_equal(shown, "of nobody\n");
}

static void test_levels(void **context)
{
    CLEANUP_ERROR struct error *err = NULL;
    LOG_JOB(7, "app01");

    (void)context;
    assert_int_equal(log_set_levels("warning,vsphere=debug", LOG_BY_OPTION, &err), 0);
    log_debug("job", "a");
    log_debug("vsphere", "b");
    log_notice("job", "c");
    log_warning("job", "d");
    assert_string_equal(shown, "debug: vsphere: b\nwarning: d\n");
    assert_int_equal(kept.count, 3); /* all but a */
}

static void test_a_weaker_setting_changes_nothing(void **context)
{
    CLEANUP_ERROR struct error *err = NULL;

    (void)context;
    assert_int_equal(log_set_levels("error", LOG_BY_CONFIG, &err), 0);
    log_notice("job", "a");
    assert_string_equal(shown, "a\n");
}

static void test_wrong_levels(void **context)
{
    static const char *const wrong[] = { "",           "loud",        "info,",
                                         "vsphere=",   "=info",       "vspheres=info",
                                         "info debug", "info,,debug", "info=debug" };

    (void)context;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        struct log_levels levels;

        assert_int_equal(log_levels_parse(wrong[i], &levels, &err), -1);
        assert_int_equal(err->kind, ERROR_USAGE);
    }
}

static const char *member(json_object *object, const char *name)
{
    json_object *value;

    assert_true(json_object_object_get_ex(object, name, &value));
    return json_object_get_string(value);
}

static void test_json(void **context)
{
    CLEANUP_ERROR struct error *err = NULL;
    json_object *object;

    (void)context;
    log_set_format(LOG_JSON);
    error_set_errno(&err, ENOSPC, "writing");
    err->kind = ERROR_PAUSED;
    {
        LOG_JOB(7, "a\"pp\\\n\xff");
        LOG_DISK(2000, 1);
        log_problem(LEVEL_ERROR, "copy", err, "\x1b[1m\xc3\xbc");
    }
    object = json_tokener_parse(shown);
    assert_non_null(object);
    assert_string_equal(strchr(shown, '\n'), "\n");
    assert_string_equal(member(object, "level"), "error");
    assert_string_equal(member(object, "part"), "copy");
    assert_string_equal(member(object, "job"), "7");
    assert_string_equal(member(object, "disk"), "disk-2000");
    assert_string_equal(member(object, "vm"), "a\"pp\\\n\xef\xbf\xbd");
    assert_string_equal(member(object, "message"),
                        "\x1b[1m\xc3\xbc: writing: No space left on device");
    assert_string_equal(member(object, "error_kind"), "paused");
    assert_string_equal(member(object, "errno"), "28");
    assert_int_equal(strlen(member(object, "time")), strlen("2026-11-21T18:30:29.123Z"));
    json_object_put(object);
}

static void test_journal(void **context)
{
    LOG_JOB(7, "app01");

    (void)context;
    log_set_format(LOG_JOURNAL);
    log_warning("job", "one\ntwo");
    assert_string_equal(shown, "<4>job 7: app01: job: one\n<4>job 7: app01: job: two\n");
}

static void test_terminals_are_safe(void **context)
{
    LOG_JOB(7, "\x1b]0;x\a");

    (void)context;
    log_name_vms(true);
    log_notice("job", "a\rb\x9b\xc2\x9b");
    assert_string_equal(shown, "?]0;x?: a?b\xef\xbf\xbd?\n");
}

static void test_secrets_are_masked(void **context)
{
    (void)context;
    log_notice("job", "of nbd://me:hun:t@er2@host/x and https://host:443/a@b, ssh://me@host:22");
    assert_string_equal(shown, "of nbd://me:@host/x and https://host:443/a@b, ssh://me@host:22\n");
}

static void test_failures(void **context)
{
    CLEANUP_ERROR struct error *err = NULL;

    (void)context;
    error_set(&err, "no");
    {
        LOG_JOB(9, "app01");
        log_failure("job", err);
    }
    assert_string_equal(shown, "");
    assert_int_equal(kept.count, 1);
    assert_int_equal(kept.last.level, LEVEL_ERROR);
    log_end("replicate", err);
    assert_int_equal(kept.count, 1);
    assert_string_equal(shown, "vmferry replicate: no\n");
    log_set_format(LOG_JSON);
    shown[0] = '\0';
    log_end("replicate", err);
    assert_non_null(strstr(shown, "\"job\":9,"));
    assert_non_null(strstr(shown, "\"command\":\"replicate\""));
}

static void test_utf8(void **context)
{
    static const struct {
        const char *text;
        unsigned code;
        int length;
    } cases[] = {
        { "a", 'a', 1 },
        { "\xc3\xbc", 0xfc, 2 },
        { "\xe2\x82\xac", 0x20ac, 3 },
        { "\xf0\x9f\x98\x80", 0x1f600, 4 },
        { "\xc0\xaf", 0xfffd, 1 },         /* overlong */
        { "\xe0\x80\xaf", 0xfffd, 1 },     /* overlong */
        { "\xed\xa0\x80", 0xfffd, 1 },     /* a surrogate */
        { "\xf4\x90\x80\x80", 0xfffd, 1 }, /* past the last one */
        { "\xf8\x88\x80\x80", 0xfffd, 1 },
        { "\xe2\x82", 0xfffd, 1 }, /* cut off */
        { "\xe2", 0xfffd, 1 },
        { "\x80", 0xfffd, 1 },
    };

    (void)context;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned code;

        assert_int_equal(utf8_next(cases[i].text, &code), cases[i].length);
        assert_int_equal(code, cases[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_scopes, begin),
        cmocka_unit_test_setup(test_a_thread_starts_with_no_scope, begin),
        cmocka_unit_test_setup(test_levels, begin),
        cmocka_unit_test_setup(test_a_weaker_setting_changes_nothing, begin),
        cmocka_unit_test_setup(test_wrong_levels, begin),
        cmocka_unit_test_setup(test_json, begin),
        cmocka_unit_test_setup(test_journal, begin),
        cmocka_unit_test_setup(test_terminals_are_safe, begin),
        cmocka_unit_test_setup(test_secrets_are_masked, begin),
        cmocka_unit_test_setup(test_failures, begin),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
