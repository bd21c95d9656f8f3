/* The set of bytes, against a plain array of bytes and at the largest sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../ranges.h"

#define MODEL (1 << 13)

/* As if the disk were too large for a bit a byte. */
static void init_with_grain(struct ranges *set, uint64_t size, unsigned shift)
{
    assert_int_equal(ranges_init(set, size, RANGES_FORGET), 0);
    set->shift = shift;
}

static void compare(const struct ranges *set, const char *model, uint64_t size)
{
    for (uint64_t start = 0, next; start < size; start = next) {
        bool inside;

        next = ranges_run(set, start, size, &inside);
        assert_true(next > start && next <= size);
        for (uint64_t i = start; i < next; i++) {
            if (inside != model[i])
                fail_msg("byte %d is wrong", (int)i);
        }
    }
}

static void test_random(void **state)
{
    static char model[MODEL];

    (void)state;
    srandom(1);
    for (unsigned shift = 0; shift <= 12; shift += 3) {
        for (int round = 0; round < 20; round++) {
            uint64_t size = MODEL - (uint64_t)random() % 1000;
            struct ranges set;

            init_with_grain(&set, size, shift);
            memset(model, 0, sizeof model);
            for (int i = 0; i < 60; i++) {
                uint64_t start = (uint64_t)random() % size;
                uint64_t length = (uint64_t)random() % (i % 4 == 0 ? 1500 : 70);
                uint64_t end = start + length < size ? start + length : size;
                uint64_t expected = 0;

                ranges_add(&set, start, start + length);
                memset(model + start, 1, end - start);
                for (uint64_t k = 0; k < size; k++)
                    expected += (uint64_t)model[k];
                assert_int_equal(ranges_overlap(&set, 0, size), expected);
            }
            compare(&set, model, size);
            ranges_destroy(&set);
        }
    }
}

/* Memory is bounded, and requests are counted to the byte, up to 8 EiB. */
static void test_sizes(void **state)
{
    static const uint64_t sizes[] = { 0,          1,
                                      511,        512,
                                      1ULL << 25, (1ULL << 25) + 1,
                                      1ULL << 41, (1ULL << 41) + 513,
                                      1ULL << 46, INT64_MAX };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t size = sizes[i];
        struct ranges set;

        assert_int_equal(ranges_init(&set, size, RANGES_FORGET), 0);
        assert_true(size == 0 || (size - 1) >> set.shift < RANGES_GRAINS_MAX);
        if (size <= 1ULL << 41)
            assert_true(set.shift <= 16);
        /* 1000 pieces, forwards, backwards, twice */
        for (uint64_t n = 0; n < 1000 && size > 1000000; n++) {
            uint64_t at = size / 1000 * (n % 2 ? n : 999 - n);

            ranges_add(&set, at, at + 513);
            ranges_add(&set, at + 512, at + 1024);
        }
        if (size > 1000000)
            assert_int_equal(ranges_overlap(&set, 0, size), 500 * 1024);
        ranges_add(&set, 0, size);
        assert_int_equal(ranges_overlap(&set, 0, size), size);
        assert_int_equal(set.nr_pieces, 0);
        ranges_destroy(&set);
    }
}

/* More open parts than there is room for: forgotten, or rounded to the grain. */
static void test_overflow(void **state)
{
    (void)state;
    for (int overflow = RANGES_FORGET; overflow <= RANGES_WHOLE_GRAIN; overflow++) {
        uint64_t size = 1ULL << 42;
        struct ranges set;

        assert_int_equal(ranges_init(&set, size, (enum ranges_overflow)overflow), 0);
        for (uint64_t n = 0; n < RANGES_PIECES + 10; n++)
            ranges_add(&set, (n << set.shift) + 1, (n << set.shift) + 2);
        assert_int_equal(ranges_overlap(&set, 0, size),
                         RANGES_PIECES + (overflow == RANGES_WHOLE_GRAIN ? 10ULL << set.shift : 0));
        ranges_destroy(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
