/* The journal: what was added is there again, whatever a crash leaves of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy/journal.h"

#define RECORDS 20

static char path[] = "/tmp/vmferry-test-journal.XXXXXX";
static const struct digest ours = { { 1, 2, 3 } };
static const struct digest other = { { 1, 2, 4 } };

static char made[4096];
static ssize_t made_size; /* 0: not yet */

static void restore_journal(void)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, made, (size_t)made_size), made_size);
    close(fd);
}

/* A journal of RECORDS separate ranges of 100 bytes, one each 1000. */
static void make_journal(void)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct changemap durable;
    struct journal *journal;
    int fd;

    if (made_size) {
        restore_journal();
        return;
    }
    unlink(path);
    journal = journal_open(path, &ours, &durable, &err);
    assert_non_null(journal);
    assert_int_equal(durable.count, 0);
    for (uint64_t i = 0; i < RECORDS; i++) {
        struct journal_range range = { i * 1000, 100, i % 2 ? JOURNAL_SAME : JOURNAL_DATA };

        assert_int_equal(journal_add(journal, &range, 1, &err), 0);
    }
    journal_close(journal);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    made_size = read(fd, made, sizeof made);
    close(fd);
}

/* How many ranges it has; checks that they are the first ones. */
static size_t count_ranges(void)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_CHANGEMAP struct changemap durable;
    struct journal *journal = journal_open(path, &ours, &durable, &err);

    assert_non_null(journal);
    for (size_t i = 0; i < durable.count; i++) {
        assert_int_equal(durable.ranges[i].offset, i * 1000);
        assert_int_equal(durable.ranges[i].length, 100);
    }
    journal_close(journal);
    return durable.count;
}

static size_t file_size(void)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (size_t)st.st_size;
}

static void test_all(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_CHANGEMAP struct changemap durable;
    CLEANUP_CHANGEMAP struct changemap written = CHANGEMAP_INIT;
    struct journal_range more[] = { { 100, 900, JOURNAL_ZERO }, { 50, 10, JOURNAL_DATA } };
    struct journal *journal;

    (void)state;
    make_journal();
    assert_int_equal(count_ranges(), RECORDS);
    journal = journal_open(path, &ours, &durable, &err);
    assert_int_equal(journal_add(journal, more, 2, &err), 0);
    assert_int_equal(journal_read(journal, true, &written, &err), 0);
    /* 0..1000 has become one, and every second was there already. */
    assert_int_equal(written.count, RECORDS / 2);
    assert_int_equal(written.ranges[0].length, 1000);
    journal_close(journal);
}

/* Cut off at every byte: the whole records in front of the cut, and no others. */
static void test_torn(void **state)
{
    size_t whole;

    (void)state;
    make_journal();
    whole = file_size();
    for (size_t size = whole; size-- > 0;) {
        size_t header = whole - RECORDS * 24;

        make_journal();
        assert_int_equal(truncate(path, (off_t)size), 0);
        assert_int_equal(count_ranges(), size < header ? 0 : (size - header) / 24);
        assert_int_equal(count_ranges(), size < header ? 0 : (size - header) / 24);
    }
}

/* A byte that is not what was written: nothing behind it counts. */
static void test_damaged(void **state)
{
    size_t whole;

    (void)state;
    make_journal();
    whole = file_size();
    for (size_t at = whole - RECORDS * 24; at < whole; at += 5) {
        uint8_t byte;
        int fd;

        make_journal();
        fd = open(path, O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        byte ^= (uint8_t)(1 + rand() % 255);
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        close(fd);
        assert_int_equal(count_ranges(), (at - (whole - RECORDS * 24)) / 24);
    }
}

static void test_refused(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_ERROR struct error *busy = NULL;
    struct changemap durable;
    struct journal *journal;

    (void)state;
    make_journal();
    assert_null(journal_open(path, &other, &durable, &err));
    assert_int_equal(err->kind, ERROR_USAGE);
    assert_non_null(strstr(error_message(err), "another copy"));
    assert_int_equal(count_ranges(), RECORDS); /* untouched */

    error_clear(&err);
    journal = journal_open(path, &ours, &durable, &err);
    changemap_free(&durable);
    assert_null(journal_open(path, &ours, &durable, &busy));
    assert_non_null(strstr(error_message(busy), "another copy is using it"));
    journal_close(journal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_torn),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_refused),
    };
    int failed;

    close(mkstemp(path));
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
