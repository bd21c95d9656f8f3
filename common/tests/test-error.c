/* The context chain of struct error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "error.h"

static void test_chain(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;

    (void)state;
    assert_int_equal(error_set_errno(&err, ENOENT, "opening %s", "a"), -1);
    assert_int_equal(err->errnum, ENOENT);
    assert_int_equal(error_prefix(&err, "disk-%d", 2000), -1);
    assert_string_equal(error_message(err), "disk-2000: opening a: No such file or directory");
    assert_int_equal(error_append(&err, "%s said: %s", "nbdkit", "gone"), -1);
    assert_string_equal(error_message(err),
                        "disk-2000: opening a: No such file or directory; nbdkit said: gone");
    assert_int_equal(err->errnum, ENOENT);
    assert_int_equal(err->kind, ERROR_FAILED);
}

static void test_kind(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_ERROR struct error *outer = NULL;

    (void)state;
    error_set_kind(&err, ERROR_PAUSED, "waiting");
    error_move(&outer, &err);
    assert_null(err);
    assert_int_equal(outer->kind, ERROR_PAUSED);
    error_clear(&outer);
    assert_string_equal(error_message(outer), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
