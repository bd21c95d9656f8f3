/* Time windows: what is written, which rule fits, and when the next one begins; over midnight,
 * and on the days on which clocks jump. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "job/throttle.h"

#define M UINT64_C(1048576)

static void zone(const char *name)
{
    setenv("TZ", name, 1);
    tzset();
}

/* Local time of the zone: "2026-03-28 23:30". */
static time_t at(const char *text)
{
    struct tm tm = { .tm_isdst = -1 };

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &tm));
    return mktime(&tm);
}

static struct throttle parsed(const char *text)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct throttle throttle;

    if (throttle_parse(text, &throttle, &err) < 0)
        fail_msg("%s: %s", text, error_message(err));
    return throttle;
}

static uint64_t rate(const char *rules, const char *when)
{
    struct throttle throttle = parsed(rules);

    return throttle_rate(&throttle, at(when));
}

static void test_rules(void **state)
{
    static const char office[] = "mon-fri 08:00-18:00 50M; * unlimited";

    (void)state;
    zone("UTC");
    assert_int_equal(rate(office, "2026-11-20 08:00"), 50 * M); /* a Friday */
    assert_int_equal(rate(office, "2026-11-20 17:59"), 50 * M);
    assert_true(rate(office, "2026-11-20 18:00") == THROTTLE_UNLIMITED);
    assert_true(rate(office, "2026-11-20 07:59") == THROTTLE_UNLIMITED);
    assert_true(rate(office, "2026-11-21 12:00") == THROTTLE_UNLIMITED);
    assert_true(rate("", "2026-11-21 12:00") == THROTTLE_UNLIMITED);
    assert_true(rate("sat 1M", "2026-11-22 12:00") == THROTTLE_UNLIMITED); /* none fits */
    assert_int_equal(rate("sat,sun 2M", "2026-11-22 12:00"), 2 * M);
    assert_int_equal(rate("fri-mon 3M", "2026-11-22 23:59"), 3 * M);
    assert_true(rate("fri-mon 3M", "2026-11-24 12:00") == THROTTLE_UNLIMITED);
    assert_int_equal(rate(" MON-Sun  00:00-24:00  1k ;; ", "2026-11-24 23:59"), 1024);
    assert_int_equal(rate("* 0", "2026-11-24 12:00"), 0);
    /* the first one that fits */
    assert_int_equal(rate("12:00-13:00 1M; * 2M", "2026-11-24 12:30"), M);
    assert_int_equal(rate("* 2M; 12:00-13:00 1M", "2026-11-24 12:30"), 2 * M);
}

static void test_midnight(void **state)
{
    (void)state;
    zone("UTC");
    assert_int_equal(rate("22:00-06:00 0", "2026-11-20 22:00"), 0);
    assert_int_equal(rate("22:00-06:00 0", "2026-11-20 05:59"), 0);
    assert_true(rate("22:00-06:00 0", "2026-11-20 06:00") == THROTTLE_UNLIMITED);
    /* it belongs to the day on which it begins: Saturday's ends on Sunday */
    assert_int_equal(rate("sat 22:00-06:00 4M", "2026-11-22 05:00"), 4 * M);
    assert_true(rate("sat 22:00-06:00 4M", "2026-11-21 05:00") == THROTTLE_UNLIMITED);
    assert_true(rate("sat 22:00-06:00 4M", "2026-11-22 22:00") == THROTTLE_UNLIMITED);
    assert_int_equal(rate("sun 23:00-00:00 4M", "2026-11-22 23:59"), 4 * M);
    assert_true(rate("sun 23:00-00:00 4M", "2026-11-23 00:00") == THROTTLE_UNLIMITED);
}

static void test_until(void **state)
{
    struct throttle office = parsed("mon-fri 08:00-18:00 50M; * unlimited");
    struct throttle night = parsed("22:00-06:00 0");
    struct throttle twice = parsed("08:00-12:00 1M; 12:00-13:00 1M");
    struct throttle always = parsed("* 0");

    (void)state;
    zone("UTC");
    assert_int_equal(throttle_until(&office, at("2026-11-20 12:00") + 42), at("2026-11-20 18:00"));
    assert_int_equal(throttle_until(&office, at("2026-11-20 18:00")), at("2026-11-23 08:00"));
    assert_int_equal(throttle_until(&night, at("2026-11-20 23:00")), at("2026-11-21 06:00"));
    assert_int_equal(throttle_until(&twice, at("2026-11-20 08:00")), at("2026-11-20 13:00"));
    assert_int_equal(throttle_until(&always, at("2026-11-20 08:00")), 0);
}

/* In Berlin 02:00 became 03:00 on 2026-03-29, and 03:00 became 02:00 on 2026-10-25. */
static void test_clocks_jump(void **state)
{
    struct throttle early = parsed("02:30-04:00 1M");
    struct throttle night = parsed("22:00-06:00 0");
    time_t before, end;

    (void)state;
    zone("CET-1CEST,M3.5.0,M10.5.0/3"); /* Berlin's */
    before = at("2026-03-29 01:59");
    assert_true(throttle_rate(&early, before) == THROTTLE_UNLIMITED);
    assert_int_equal(throttle_rate(&early, before + 60), M); /* 03:00 */
    assert_int_equal(throttle_until(&early, before), before + 60);
    assert_int_equal(throttle_until(&early, before + 60), before + 60 + 3600);
    assert_int_equal(throttle_until(&night, at("2026-03-28 22:00")) - at("2026-03-28 22:00"),
                     7 * 3600);
    assert_int_equal(throttle_until(&night, at("2026-10-24 22:00")) - at("2026-10-24 22:00"),
                     9 * 3600);
    /* 02:30 is there twice: the clock on the wall goes out of the window in between. */
    before = at("2026-10-25 00:00");
    end = throttle_until(&early, before);
    assert_int_equal(end - before, 2 * 3600 + 1800);
    assert_int_equal(throttle_until(&early, end) - end, 1800);
    assert_int_equal(throttle_until(&early, end + 1800) - end, 3600);
    assert_int_equal(throttle_until(&early, end + 3600) - end, 3600 + 5400);
    zone("UTC");
}

static void test_refused(void **state)
{
    static const char *const wrong[] = { "50M",
                                         "mon-fri",
                                         "*",
                                         "mon-fry 50M",
                                         "mon- 50M",
                                         "mon,, 1M",
                                         "monday 1M",
                                         "8:00-18:00 1M",
                                         "08:00-25:00 1M",
                                         "08:60-09:00 1M",
                                         "24:00-08:00 1M",
                                         "08:00-08:00 1M",
                                         "08:00 1M",
                                         "-1:00-08:00 1M",
                                         "08:00-18:00x 1M",
                                         "mon 08:00-18:00 fast",
                                         "mon 08:00-18:00 -5",
                                         "mon tue 1M",
                                         "mon 08:00-18:00 1M 2M",
                                         "08:00-18:00 mon 1M" };
    struct throttle throttle;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CLEANUP_ERROR struct error *err = NULL;

        if (throttle_parse(wrong[i], &throttle, &err) == 0)
            fail_msg("taken: %s", wrong[i]);
        assert_int_equal(err->kind, ERROR_USAGE);
    }
}

static void test_share(void **state)
{
    (void)state;
    assert_int_equal(throttle_share(0, 5, 0), 0);
    assert_int_equal(throttle_share(0, 5, 7), 7);
    assert_int_equal(throttle_share(100, 4, 0), 25);
    assert_int_equal(throttle_share(100, 4, 20), 20);
    assert_int_equal(throttle_share(100, 4, 30), 25);
    assert_int_equal(throttle_share(100, 0, 0), 100);
    assert_int_equal(throttle_share(3, 4, 0), 1); /* slow, not unlimited */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),   cmocka_unit_test(test_midnight),
        cmocka_unit_test(test_until),   cmocka_unit_test(test_clocks_jump),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_share),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
