/* What is told of an end that does not answer, and for how long it is in trouble. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "copy/trouble.h"

#define S INT64_C(1000000000)

static void test_tries(void **state)
{
    struct trouble trouble;
    char text[TROUBLE_TEXT];

    (void)state;
    trouble_init(&trouble, 12, "source");
    assert_false(trouble_text(&trouble, 100 * S, false, text));
    assert_int_equal(trouble_since(&trouble, 100 * S), 100 * S);
    trouble_failed(&trouble, TROUBLE_READING, 1, "gone", 100 * S);
    assert_false(trouble_text(&trouble, 101 * S, false, text)); /* what is over soon is not told */
    trouble_failed(&trouble, TROUBLE_READING, 3, "gone away", 103 * S);
    trouble_failed(&trouble, TROUBLE_READING, 2, "gone", 104 * S);
    assert_true(trouble_text(&trouble, 104 * S, false, text));
    assert_string_equal(text, "the source does not answer (gone away): trying again (3 of 12)");
    assert_true(trouble_text(&trouble, 104 * S, true, text));
    assert_string_equal(text, "the source does not answer (gone away)");
    assert_int_equal(trouble_since(&trouble, 104 * S), 100 * S);
    trouble_over(&trouble, TROUBLE_SOURCE); /* that it lets us in is not enough */
    assert_true(trouble_text(&trouble, 104 * S, false, text));
    trouble_over(&trouble, TROUBLE_READING);
    assert_false(trouble_text(&trouble, 104 * S, false, text));
    assert_int_equal(trouble_since(&trouble, 104 * S), 104 * S);
    trouble_failed(&trouble, TROUBLE_READING, 1, "again", 200 * S);
    assert_true(trouble_text(&trouble, 202 * S, false, text));
    assert_string_equal(text, "the source does not answer (again): trying again (1 of 12)");
    trouble_destroy(&trouble);
}

static void test_silence(void **state)
{
    struct trouble trouble;
    char text[TROUBLE_TEXT];

    (void)state;
    trouble_init(&trouble, 12, "source");
    trouble_silent(&trouble, TROUBLE_DESTINATION, 10 * S);
    assert_true(trouble_text(&trouble, 20 * S, false, text));
    assert_string_equal(text, "the destination does not answer: waiting, then trying again");
    trouble_failed(&trouble, TROUBLE_DESTINATION, 1, "no answer", 70 * S);
    assert_int_equal(trouble_since(&trouble, 80 * S), 10 * S);
    trouble_failed(&trouble, TROUBLE_SOURCE, 1, "refused", 5 * S);
    assert_int_equal(trouble_since(&trouble, 80 * S), 5 * S);
    trouble_over(&trouble, TROUBLE_SOURCE);
    trouble_over(&trouble, TROUBLE_DESTINATION);
    assert_false(trouble_text(&trouble, 90 * S, false, text));
    trouble_destroy(&trouble);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tries),
        cmocka_unit_test(test_silence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
