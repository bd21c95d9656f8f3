/* Retention rules: what they parse to, where errors are, and which points stay, over days
 * that have 23 and 25 hours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "job/retention.h"

#define MOST 2000

static void set_zone(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

/* Milliseconds of a local time; dst -1: whatever holds then. */
static int64_t at(int year, int month, int day, int hour, int minute, int dst)
{
    struct tm tm = { .tm_year = year - 1900,
                     .tm_mon = month - 1,
                     .tm_mday = day,
                     .tm_hour = hour,
                     .tm_min = minute,
                     .tm_isdst = dst };
    time_t seconds = mktime(&tm);

    assert_int_not_equal(seconds, -1);
    return (int64_t)seconds * 1000;
}

/* "1.1" for stays, goes, stays. */
static const char *chosen(const char *rules, const int64_t *times, size_t count)
{
    static char text[MOST + 1];
    static struct retention_point points[MOST];
    CLEANUP_ERROR struct error *err = NULL;
    struct retention retention;

    assert_int_equal(retention_parse(rules, &retention, &err), 0);
    for (size_t i = 0; i < count; i++)
        points[i] = (struct retention_point){ .ms = llabs(times[i]), .pinned = times[i] < 0 };
    retention_choose(&retention, points, count);
    for (size_t i = 0; i < count; i++)
        text[i] = points[i].stays ? '1' : '.';
    text[count] = '\0';
    return text;
}

#define CHOSEN(rules, times) chosen(rules, times, sizeof(times) / sizeof(times)[0])

static void refused(const char *text, const char *says)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct retention retention = { .all = true, .keep = { 3 } };

    assert_int_equal(retention_parse(text, &retention, &err), -1);
    assert_int_equal(err->kind, ERROR_USAGE);
    if (!strstr(error_message(err), says))
        fail_msg("'%s': %s", text, error_message(err));
    assert_true(retention.all && retention.keep[0] == 3); /* left alone */
}

static void test_parse(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct retention retention;

    (void)state;
    assert_int_equal(retention_parse("  last:7\tdaily:14 monthly:6 weekly:4 ", &retention, &err),
                     0);
    assert_false(retention.all);
    assert_int_equal(retention.keep[KEEP_LAST], 7);
    assert_int_equal(retention.keep[KEEP_DAILY], 14);
    assert_int_equal(retention.keep[KEEP_WEEKLY], 4);
    assert_int_equal(retention.keep[KEEP_MONTHLY], 6);
    assert_int_equal(retention.keep[KEEP_HOURLY], 0);
    assert_int_equal(retention_parse(" all ", &retention, &err), 0);
    assert_true(retention.all);
    assert_int_equal(retention_parse("", &retention, &err), 0);
    assert_true(retention.all);
}

static void test_errors_name_the_position(void **state)
{
    (void)state;
    refused("last:7 dayly:3", "position 8: no rule");
    refused("last", "position 5: expected ':'");
    refused("last:", "position 6: expected a number");
    refused("last:x", "position 6: expected a number");
    refused("last:7x", "position 7: expected a number");
    refused("last:7,daily:3", "position 7: expected a number");
    refused("last:-1", "position 6: expected a number");
    refused("last:0", "position 6: 0 keeps nothing");
    refused("daily:3 last:100001", "position 14: the number is above");
    refused("last:99999999999999999999999", "position 6: the number is above");
    refused("last:7 last:8", "position 8: this rule is there already");
    refused("all last:1", "position 1: no rule");
    refused("last:1 all", "position 8: no rule");
    refused("LAST:1", "position 1: no rule");
    refused(":1", "position 1: no rule");
    refused("last :1", "position 5: expected ':'");
}

static void test_last(void **state)
{
    const int64_t times[] = { 1000, 2000, 2000, 3000 };

    (void)state;
    assert_string_equal(CHOSEN("last:2", times), "..11");
    assert_string_equal(CHOSEN("last:9", times), "1111");
    assert_string_equal(CHOSEN("all", times), "1111");
    assert_string_equal(chosen("last:1", times, 0), "");
    assert_string_equal(chosen("last:1", times, 1), "1");
}

static void test_same_second(void **state)
{
    const int64_t times[] = { 5000, 5000, 5000, 5999 };

    (void)state;
    set_zone("UTC");
    assert_string_equal(CHOSEN("daily:7 weekly:7 hourly:7", times), "...1");
    assert_string_equal(CHOSEN("daily:7 last:3", times), ".111");
}

/* Pinned points stay, and take nobody's place. */
static void test_pinned(void **state)
{
    const int64_t times[] = { -1000, 2000, -3000, 4000, -5000 };
    const int64_t all_pinned[] = { -1000, -2000 };

    (void)state;
    assert_string_equal(CHOSEN("last:1", times), "1.111");
    assert_string_equal(CHOSEN("last:2", times), "11111");
    assert_string_equal(CHOSEN("last:1", all_pinned), "11");
}

static void test_days(void **state)
{
    int64_t times[6];

    (void)state;
    set_zone("Europe/Berlin");
    times[0] = at(2026, 11, 18, 23, 59, -1);
    times[1] = at(2026, 11, 19, 0, 0, -1);
    times[2] = at(2026, 11, 19, 23, 59, -1);
    times[3] = at(2026, 11, 21, 0, 0, -1); /* the 20th has none: it takes no place */
    times[4] = at(2026, 11, 21, 12, 0, -1);
    times[5] = at(2026, 11, 21, 23, 59, -1);
    assert_string_equal(CHOSEN("daily:1", times), ".....1");
    assert_string_equal(CHOSEN("daily:2", times), "..1..1");
    assert_string_equal(CHOSEN("daily:3", times), "1.1..1");
    assert_string_equal(CHOSEN("daily:14", times), "1.1..1");
    assert_string_equal(CHOSEN("last:2 daily:2", times), "..1.11");
    assert_string_equal(CHOSEN("hourly:4", times), "..1111");
}

/* In UTC both of 2026-10-25's 00:30 and 23:30 in Berlin are on different days than there. */
static void test_days_are_local(void **state)
{
    int64_t times[4];

    (void)state;
    set_zone("Europe/Berlin");
    times[0] = at(2026, 10, 25, 0, 30, -1);  /* 24th, 22:30 UTC */
    times[1] = at(2026, 10, 25, 2, 30, 1);   /* the first 2:30 */
    times[2] = at(2026, 10, 25, 2, 30, 0);   /* the second one, an hour later */
    times[3] = at(2026, 10, 25, 23, 30, -1); /* the day has 25 hours */
    assert_int_equal(times[2] - times[1], 3600000);
    assert_string_equal(CHOSEN("daily:9", times), "...1");
    assert_string_equal(CHOSEN("hourly:9", times), "1111");
    times[0] = at(2026, 3, 29, 0, 0, -1); /* 23 hours */
    times[1] = at(2026, 3, 29, 1, 59, -1);
    times[2] = at(2026, 3, 29, 3, 0, -1);
    times[3] = at(2026, 3, 30, 0, 0, -1);
    assert_int_equal(times[2] - times[1], 60000);
    assert_string_equal(CHOSEN("daily:9", times), "..11");
    set_zone("America/New_York");
    times[0] = at(2026, 11, 1, 1, 30, 1);
    times[1] = at(2026, 11, 1, 1, 30, 0);
    assert_string_equal(chosen("daily:2", times, 2), ".1");
    assert_string_equal(chosen("hourly:2", times, 2), "11");
}

static void test_weeks_and_months(void **state)
{
    int64_t times[7];

    (void)state;
    set_zone("Europe/Berlin");
    times[0] = at(2026, 12, 27, 23, 0, -1); /* Sunday */
    times[1] = at(2026, 12, 28, 0, 0, -1);  /* Monday: one week up to */
    times[2] = at(2026, 12, 31, 23, 0, -1);
    times[3] = at(2027, 1, 1, 1, 0, -1);
    times[4] = at(2027, 1, 3, 23, 59, -1); /* Sunday */
    times[5] = at(2027, 1, 4, 0, 0, -1);
    times[6] = at(2027, 2, 28, 0, 0, -1);
    assert_string_equal(CHOSEN("weekly:9", times), "1...111");
    assert_string_equal(CHOSEN("weekly:2", times), ".....11");
    assert_string_equal(CHOSEN("monthly:9", times), "..1..11");
    assert_string_equal(CHOSEN("yearly:9", times), "..1...1");
    assert_string_equal(CHOSEN("yearly:1 monthly:2 weekly:3 last:1", times), "....111");
}

/* Half a year of a point every six hours: as many stay as the rules say, and going on for
 * another day moves the window by a day. */
static void test_steady_state(void **state)
{
    int64_t times[720];
    size_t stay = 0;
    const char *text;

    (void)state;
    set_zone("Europe/Berlin");
    for (int i = 0; i < 720; i++)
        times[i] = at(2026, 5, 1, 0, 5, -1) + (int64_t)i * 6 * 3600 * 1000;
    text = CHOSEN("last:7 daily:14 weekly:4 monthly:6", times);
    for (const char *p = text; *p; p++)
        stay += *p == '1';
    /* 7 last are of 2 days and a bit; 14 days in all hold 2 weeks' ends; 2 more weeks; of 6
     * months the newest's point is the last one. */
    assert_in_range(stay, 14 + 5 + 1 + 4, 14 + 7 + 4 + 6);
    assert_int_equal(text[719], '1');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),          cmocka_unit_test(test_errors_name_the_position),
        cmocka_unit_test(test_last),           cmocka_unit_test(test_same_second),
        cmocka_unit_test(test_pinned),         cmocka_unit_test(test_days),
        cmocka_unit_test(test_days_are_local), cmocka_unit_test(test_weeks_and_months),
        cmocka_unit_test(test_steady_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
