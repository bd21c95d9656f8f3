/* What takes too long is said, once, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <unistd.h>

#include "failover/overdue.h"

static atomic_int said;

static void count(const char *line)
{
    assert_string_equal(line, "slow");
    atomic_fetch_add(&said, 1);
}

static void test_in_time(void **state)
{
    struct overdue overdue;

    (void)state;
    overdue_start(&overdue, 60, count, "slow");
    overdue_stop(&overdue);
    assert_int_equal(atomic_load(&said), 0);
    overdue_start(&overdue, 0, NULL, "slow");
    overdue_stop(&overdue);
}

static void test_late(void **state)
{
    struct overdue overdue;

    (void)state;
    overdue_start(&overdue, 0, count, "slow");
    for (int i = 0; i < 500 && atomic_load(&said) == 0; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&said), 1);
    usleep(50000);
    overdue_stop(&overdue);
    assert_int_equal(atomic_load(&said), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_time),
        cmocka_unit_test(test_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
