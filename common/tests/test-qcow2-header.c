/* qcow2 headers as qemu-img writes them, and damaged ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>

#include "process.h"
#include "qcow2-header.h"

#define HEADER 1024

static char dir[] = "/tmp/vmferry-test.XXXXXX";

static void run(const char *const argv[])
{
    CLEANUP_ERROR struct error *err = NULL;

    if (process_run(argv, 20000, NULL, &err) < 0)
        fail_msg("%s", error_message(err));
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    static const char *const names[] = { "base", "top", "damaged" };

    (void)state;
    for (size_t i = 0; i < 3; i++)
        unlink(names[i]);
    return chdir("/") < 0 ? -1 : rmdir(dir);
}

static void test_chain(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP(qcow2_header_free) struct qcow2_header header = { 0 };
    const char *base[] = { "qemu-img", "create", "-q", "-f", "qcow2", "base", "1048576", NULL };
    const char *top[] = { "qemu-img", "create", "-q",    "-f",  "qcow2",   "-b",
                          "base",     "-F",     "qcow2", "top", "2097152", NULL };
    uint64_t size = 0;
    CLEANUP_CLOSE int fd = -1;

    (void)state;
    run(base);
    run(top);
    fd = open("top", O_RDONLY | O_CLOEXEC);
    assert_int_equal(qcow2_header_read(fd, &header, &err), 0);
    assert_int_equal(header.size, 2097152);
    assert_string_equal(header.backing_file, "base");
    assert_string_equal(header.backing_format, "qcow2");
    assert_false(header.external_data);
    assert_int_equal(qcow2_chain_check("top", &size, &err), 0);
    assert_int_equal(size, 2097152);
}

/* Its own backing file, as a damaged or hostile image may say. */
static void test_endless_chain(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    const char *argv[] = { "qemu-img", "rebase", "-u",    "-f",   "qcow2", "-b",
                           "top",      "-F",     "qcow2", "base", NULL };
    uint64_t size;

    (void)state;
    run(argv);
    assert_int_equal(qcow2_chain_check("top", &size, &err), -1);
    assert_non_null(strstr(error_message(err), "chain is longer"));
}

/* No damaged byte may lead astray: an answer or an error, in bounded time. */
static void test_damaged(void **state)
{
    char good[HEADER];
    CLEANUP_CLOSE int top = open("top", O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int fd = open("damaged", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    (void)state;
    assert_int_equal(pread(top, good, HEADER, 0), HEADER);
    for (int i = 0; i < HEADER; i++) {
        for (int value = 0; value < 256; value += 51) {
            CLEANUP_ERROR struct error *err = NULL;
            CLEANUP(qcow2_header_free) struct qcow2_header header = { 0 };
            char bad[HEADER];

            memcpy(bad, good, HEADER);
            bad[i] = (char)value;
            assert_int_equal(pwrite(fd, bad, HEADER, 0), HEADER);
            if (qcow2_header_read(fd, &header, &err) < 0)
                assert_non_null(err);
        }
    }
    for (int length = HEADER - 1; length >= 0; length--) {
        CLEANUP_ERROR struct error *err = NULL;
        CLEANUP(qcow2_header_free) struct qcow2_header header = { 0 };

        assert_int_equal(ftruncate(fd, length), 0);
        qcow2_header_read(fd, &header, &err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_endless_chain),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
