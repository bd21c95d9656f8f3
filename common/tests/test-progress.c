/* The promises of struct progress_record: percent, eta, rate, JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"

#define SECOND 1000000000LL
#define MIB    1048576ULL

static void test_steady_rate(void **state)
{
    struct progress_meter meter;

    (void)state;
    progress_meter_init(&meter, "disk-2000", "initial");
    for (int s = 0; s <= 30; s++)
        progress_meter_update(&meter, s * 10 * MIB, 1000 * MIB, 1 + s * SECOND);
    assert_int_equal(meter.record.bytes_done, 300 * MIB);
    assert_int_equal(meter.record.throughput, 10 * MIB);
    assert_int_equal(meter.record.eta_seconds, 70);
    assert_int_equal((int)meter.record.percent, 30);
    assert_int_equal(meter.record.state, PROGRESS_RUNNING);
}

/* The rate follows a change within some ten seconds, and a stall takes the eta away. */
static void test_rate_follows(void **state)
{
    struct progress_meter meter;
    uint64_t done = 0;
    int64_t now = SECOND;

    (void)state;
    progress_meter_init(&meter, "", "");
    for (int s = 0; s < 60; s++)
        progress_meter_update(&meter, done += 100 * MIB, 100000 * MIB, now += SECOND);
    for (int s = 0; s < 30; s++)
        progress_meter_update(&meter, done += 10 * MIB, 100000 * MIB, now += SECOND);
    assert_in_range(meter.record.throughput, 10 * MIB, 15 * MIB);
    for (int s = 0; s < 600; s++)
        progress_meter_update(&meter, done, 100000 * MIB, now += SECOND);
    assert_int_equal(meter.record.throughput, 0);
    assert_int_equal(meter.record.eta_seconds, -1);
}

/* What a resumed copy has already done is not speed. */
static void test_resumed(void **state)
{
    struct progress_meter meter;

    (void)state;
    progress_meter_init(&meter, "", "");
    progress_meter_update(&meter, 900 * MIB, 1000 * MIB, SECOND);
    assert_int_equal(meter.record.throughput, 0);
    progress_meter_update(&meter, 910 * MIB, 1000 * MIB, 2 * SECOND);
    assert_int_equal(meter.record.throughput, 10 * MIB);
    progress_meter_finish(&meter, PROGRESS_COMPLETED, 3 * SECOND);
    assert_int_equal(meter.record.throughput, 5 * MIB);
}

/* Whatever is fed, percent never falls, and only finish says 100 and eta 0. */
static void test_monotone(void **state)
{
    struct progress_meter meter;
    double before = 0;
    int64_t now = 1;

    (void)state;
    srandom(1);
    progress_meter_init(&meter, "", "");
    for (int i = 0; i < 100000; i++) {
        uint64_t done = (uint64_t)random() * (uint64_t)random();
        uint64_t total = i % 7 == 0 ? 0 : (uint64_t)random() * (uint64_t)random();

        progress_meter_update(&meter, done, i % 1000 == 0 ? UINT64_MAX : total,
                              now += random() % SECOND);
        assert_true(meter.record.percent >= before);
        assert_true(meter.record.percent < 100);
        assert_true(meter.record.eta_seconds != 0);
        assert_true(meter.record.bytes_done <= meter.record.bytes_total);
        before = meter.record.percent;
    }
    progress_meter_finish(&meter, PROGRESS_COMPLETED, now);
    assert_true(meter.record.percent == 100);
    assert_int_equal(meter.record.eta_seconds, 0);
}

static void test_not_finished(void **state)
{
    struct progress_meter meter;

    (void)state;
    progress_meter_init(&meter, "", "");
    progress_meter_update(&meter, 0, 10, 1);
    progress_meter_update(&meter, 10, 10, SECOND);
    progress_meter_finish(&meter, PROGRESS_FAILED, SECOND);
    assert_true(meter.record.percent < 100);
    assert_int_equal(meter.record.eta_seconds, -1);
    assert_string_equal(progress_state_name(meter.record.state), "failed");
}

/* Nothing to move is finished, too. */
static void test_empty(void **state)
{
    struct progress_meter meter;

    (void)state;
    progress_meter_init(&meter, NULL, NULL);
    progress_meter_update(&meter, 0, 0, 1);
    assert_true(meter.record.percent == 0);
    progress_meter_finish(&meter, PROGRESS_COMPLETED, 2);
    assert_true(meter.record.percent == 100);
}

static struct json_object *field(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;

    assert_true(json_object_object_get_ex(object, name, &value));
    return value;
}

static void test_json(void **state)
{
    char buf[PROGRESS_JSON_MAX];
    struct progress_record record = {
        .label = "a \"disk\"\\\n\x7f \xc3\xa4 \xff\xed\xa0\x80",
        .sync_type = "incremental",
        .bytes_done = INT64_MAX,
        .bytes_total = INT64_MAX,
        .percent = 99.999,
        .throughput = 7,
        .eta_seconds = -1,
        .time_ms = 1769860800123,
    };
    struct json_object *object;
    size_t length;

    (void)state;
    /* A decimal comma must not reach JSON, where that locale is installed. */
    setlocale(LC_ALL, "de_DE.UTF-8");
    length = progress_record_to_json(&record, buf, sizeof buf);
    setlocale(LC_ALL, "C");
    assert_int_equal(length, strlen(buf));
    assert_null(strchr(buf, '\n'));
    object = json_tokener_parse(buf);
    assert_non_null(object);
    assert_string_equal(
        json_object_get_string(field(object, "label")),
        "a \"disk\"\\\n\x7f \xc3\xa4 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_string_equal(json_object_get_string(field(object, "sync_type")), "incremental");
    assert_true(json_object_get_int64(field(object, "bytes_done")) == INT64_MAX);
    assert_true(json_object_get_double(field(object, "percent")) == 99.99);
    assert_null(field(object, "eta_seconds"));
    assert_string_equal(json_object_get_string(field(object, "state")), "running");
    assert_string_equal(json_object_get_string(field(object, "time")), "2026-01-31T12:00:00.123Z");
    json_object_put(object);
}

/* The longest record fits, and a short buffer is not overrun. */
static void test_json_size(void **state)
{
    char buf[PROGRESS_JSON_MAX];
    char small[16];
    struct progress_record record = {
        .bytes_done = UINT64_MAX,
        .bytes_total = UINT64_MAX,
        .percent = 100,
        .throughput = UINT64_MAX,
        .eta_seconds = INT64_MAX,
        .state = PROGRESS_COMPLETED,
    };

    (void)state;
    memset(record.label, 1, sizeof record.label - 1);
    memset(record.sync_type, 1, sizeof record.sync_type - 1);
    assert_in_range(progress_record_to_json(&record, buf, sizeof buf), 1, sizeof buf - 1);
    assert_int_equal(progress_record_to_json(&record, small, sizeof small), strlen(buf));
    assert_int_equal(strlen(small), sizeof small - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steady_rate),  cmocka_unit_test(test_rate_follows),
        cmocka_unit_test(test_resumed),      cmocka_unit_test(test_monotone),
        cmocka_unit_test(test_not_finished), cmocka_unit_test(test_empty),
        cmocka_unit_test(test_json),         cmocka_unit_test(test_json_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
