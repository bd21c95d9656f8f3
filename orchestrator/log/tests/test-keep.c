/* The log's way into the store: nothing is lost without a word, and nobody waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "log/keep.h"
#include "log/log.h"
#include "progress.h"
#include "store/store.h"

#define SECOND_NS 1000000000LL

static char directory[64], database[96];

static void ignore(void *opaque, const char *line, bool json)
{
    (void)opaque;
    (void)line;
    (void)json;
}

static int begin(void **context)
{
    CLEANUP_ERROR struct error *err = NULL;
    const char *tmp = getenv("TMPDIR");

    snprintf(directory, sizeof directory, "%.40s/keep.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(directory))
        return -1;
    snprintf(database, sizeof database, "%s/vmferry.db", directory);
    log_set_screen(ignore, NULL);
    return store_open(database, (struct store **)context, &err);
}

static int end(void **context)
{
    static const char *const suffixes[] = { "", "-wal", "-shm" };
    char path[128];

    store_close(*context);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", database, suffixes[i]);
        unlink(path);
    }
    return rmdir(directory);
}

static size_t read_log(struct store *store, int64_t job, struct store_log_line **lines)
{
    CLEANUP_ERROR struct error *err = NULL;
    size_t count = 0;

    assert_int_equal(store_job_log(store, job, 0, 0, 100000, lines, &count, &err), 0);
    return count;
}

static void test_lines(void **context)
{
    CLEANUP_FREE struct store_log_line *lines = NULL;
    char text[2 * STORE_LOG_MESSAGE + 1];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_keep_start(*context);
    log_notice("job", "of no job");
    {
        LOG_JOB(5, "app01");
        log_debug("job", "not wanted");
        log_warning("copy", "a \xff z");
        log_info("vsphere", "%s", text);
        log_notice("job", "%s", "");
    }
    assert_true(log_keep_stop());
    assert_int_equal(read_log(*context, 5, &lines), 3);
    assert_string_equal(lines[0].level, "warning");
    assert_string_equal(lines[0].part, "copy");
    assert_string_equal(lines[0].message, "a \xef\xbf\xbd z");
    assert_int_equal(lines[0].key, -1);
    assert_true(store_now_ms() - lines[0].created_ms < 60000);
    assert_true(strlen(lines[1].message) > STORE_LOG_MESSAGE - 8);
    assert_string_equal(lines[2].message, "-");
}

static void test_pages(void **context)
{
    int64_t after_ms = 0, after_id = 0;
    size_t count, total = 0;

    log_keep_start(*context);
    {
        LOG_JOB(5, "app01");
        for (int i = 0; i < 100; i++)
            log_notice("job", "%d", i);
    }
    assert_true(log_keep_stop());
    do {
        CLEANUP_FREE struct store_log_line *lines = NULL;
        CLEANUP_ERROR struct error *err = NULL;

        assert_int_equal(store_job_log(*context, 5, after_ms, after_id, 7, &lines, &count, &err),
                         0);
        for (size_t i = 0; i < count; i++, total++) {
            assert_int_equal(atoi(lines[i].message), total);
            after_ms = lines[i].created_ms;
            after_id = lines[i].id;
        }
    } while (count > 0);
    assert_int_equal(total, 100);
}

/* Waits until a line with this text is there, for a minute. */
static void wait_for_line(struct store *store, int64_t job, const char *text)
{
    for (int i = 0; i < 1200; i++) {
        CLEANUP_FREE struct store_log_line *lines = NULL;
        size_t count = read_log(store, job, &lines);

        if (count > 0 && strcmp(lines[count - 1].message, text) == 0)
            return;
        usleep(50000);
    }
    fail_msg("no line \"%s\"", text);
}

/* The store is busy for longer than the queue lasts. */
static void test_nobody_waits(void **context)
{
    CLEANUP_FREE struct store_log_line *lines = NULL;
    CLEANUP_ERROR struct error *err = NULL;
    unsigned long missing;
    size_t count;

    log_keep_start(*context);
    assert_int_equal(store_begin(*context, &err), 0);
    {
        LOG_JOB(5, "app01");
        for (int i = 0; i < 10000; i++)
            log_notice("job", "line %d", i);
    }
    /* That is where a line that waited for the store would never come. */
    {
        LOG_JOB(6, "app02");
        log_notice("job", "of another job");
    }
    store_rollback(*context);
    {
        for (int i = 0; i < 1200 && !lines; i++) {
            usleep(50000);
            if (read_log(*context, 5, &lines) == 0)
                free(steal_ptr(lines));
        }
    }
    {
        LOG_JOB(5, "app01");
        log_notice("job", "the last one");
    }
    wait_for_line(*context, 5, "the last one");
    assert_true(log_keep_stop());
    free(steal_ptr(lines));
    count = read_log(*context, 5, &lines);
    assert_string_equal(lines[0].message, "line 0");
    assert_int_equal(sscanf(lines[count - 2].message, "%lu line", &missing), 1);
    assert_int_equal(count - 2 + missing, 10000);
    free(steal_ptr(lines));
    assert_int_equal(read_log(*context, 6, &lines), 1);
    assert_string_equal(lines[0].message, "1 line of the log missing here");
}

/* Somebody holds the store for good. */
static void test_a_store_that_does_not_answer(void **context)
{
    CLEANUP_FREE struct store_log_line *lines = NULL;
    CLEANUP_ERROR struct error *err = NULL;
    int64_t began = progress_now_ns();

    log_keep_start(*context);
    assert_int_equal(store_begin(*context, &err), 0);
    {
        LOG_JOB(5, "app01");
        log_notice("job", "for nobody");
    }
    assert_true(log_keep_stop());
    assert_true(progress_now_ns() - began < (KEEP_STOP_S + 1) * SECOND_NS);
    store_rollback(*context);
    assert_int_equal(read_log(*context, 5, &lines), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines, begin, end),
        cmocka_unit_test_setup_teardown(test_pages, begin, end),
        cmocka_unit_test_setup_teardown(test_nobody_waits, begin, end),
        cmocka_unit_test_setup_teardown(test_a_store_that_does_not_answer, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
