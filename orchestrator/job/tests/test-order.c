/* The order in which many VMs are replicated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "job/order.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void expect(const struct order_item *items, const size_t *wanted, size_t count)
{
    size_t order[16];

    assert_int_equal(order_fair(items, count, order), 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(order[i], wanted[i]);
}

static void test_longest_waiting_first(void **state)
{
    static const struct order_item items[] = {
        { 1, 300 }, { 1, 100 }, { 1, 0 }, { 1, 200 }, { 1, 0 }
    };
    static const size_t wanted[] = { 2, 4, 1, 3, 0 };

    (void)state;
    expect(items, wanted, COUNT(items));
    expect(items, wanted, 0);
}

static void test_sources_in_turn(void **state)
{
    static const struct order_item items[] = { { 1, 10 },  { 1, 20 },  { 1, 30 }, { 1, 40 },
                                               { 2, 500 }, { 2, 400 }, { 3, 25 } };
    static const size_t wanted[] = { 0, 6, 5, 1, 4, 2, 3 };

    (void)state;
    expect(items, wanted, COUNT(items));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_longest_waiting_first),
        cmocka_unit_test(test_sources_in_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
