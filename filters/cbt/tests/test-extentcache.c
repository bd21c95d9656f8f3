/* The extent cache: what is stored is found, nothing else is, memory is bounded,
 * and threads may use it at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "../extentcache.h"

static struct extentcache cache;
static struct window window;

static int setup(void **state)
{
    (void)state;
    extentcache_init(&cache);
    window = (struct window){ 0 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    extentcache_destroy(&cache);
    return 0;
}

/* A window of one extent. */
static void store(uint64_t start, uint64_t end, uint32_t type)
{
    window.start = start;
    window.count = 0;
    assert_true(window_add(&window, end, type));
    extentcache_store(&cache, &window);
}

static void test_window(void **state)
{
    (void)state;
    window.start = 100;
    assert_int_equal(window_end(&window), 100);
    assert_true(window_add(&window, 200, 0));
    assert_true(window_add(&window, 300, 0));
    assert_int_equal(window.count, 1);
    assert_int_equal(window_end(&window), 300);
    for (size_t i = 1; i < WINDOW_EXTENTS; i++)
        assert_true(window_add(&window, 300 + i, i % 2));
    assert_int_equal(window.count, WINDOW_EXTENTS);
    assert_false(window_add(&window, 10000, 0));
    assert_true(window_add(&window, 10000, 1));
    assert_int_equal(window_end(&window), 10000);
}

static void test_find(void **state)
{
    struct cached_extent found;

    (void)state;
    assert_false(extentcache_find(&cache, 0, &found));
    window.start = 1000;
    for (size_t i = 0; i < 10; i++)
        window_add(&window, 1010 + 10 * i, i % 2);
    extentcache_store(&cache, &window);

    assert_false(extentcache_find(&cache, 999, &found));
    assert_false(extentcache_find(&cache, 1100, &found));
    for (uint64_t offset = 1000; offset < 1100; offset++) {
        assert_true(extentcache_find(&cache, offset, &found));
        assert_int_equal(found.end, offset / 10 * 10 + 10);
        assert_int_equal(found.type, offset / 10 % 2);
    }
}

/* The window that has not been of use for longest makes room. */
static void test_bounded(void **state)
{
    struct cached_extent found;

    (void)state;
    for (uint64_t i = 0; i < EXTENTCACHE_WINDOWS; i++)
        store(i * 100, i * 100 + 50, 0);
    assert_true(extentcache_find(&cache, 0, &found));
    store(5000, 6000, 0);
    assert_true(extentcache_find(&cache, 5000, &found));
    assert_true(extentcache_find(&cache, 0, &found));
    assert_false(extentcache_find(&cache, 100, &found));
    for (uint64_t i = 2; i < EXTENTCACHE_WINDOWS; i++)
        assert_true(extentcache_find(&cache, i * 100, &found));
}

static void test_plan(void **state)
{
    uint64_t start, span, first;

    (void)state;
    extentcache_plan(&cache, 0, &start, &first);
    assert_int_equal(start, 0);
    extentcache_plan(&cache, first + 5, &start, &span);
    assert_int_equal(start, first);

    /* On from where what is known ends. */
    store(0, first + 3, 0);
    extentcache_plan(&cache, first + 5, &start, &span);
    assert_in_range(start, 0, first + 5);
    /* Few extents: ask about more, to a limit. */
    assert_int_equal(span, 2 * first);
    for (int i = 0; i < 100; i++)
        store(0, 1, 0);
    extentcache_plan(&cache, 0, &start, &span);
    assert_int_equal(span, UINT64_C(1) << 30);

    /* More than a window holds: about less, to a limit. */
    window.start = 0;
    window.count = 0;
    for (size_t i = 0; i < WINDOW_EXTENTS; i++)
        window_add(&window, 1 + i, i % 2);
    for (int i = 0; i < 100; i++)
        extentcache_store(&cache, &window);
    extentcache_plan(&cache, INT64_MAX, &start, &span);
    assert_int_equal(span, 1 << 20);
    assert_true(start <= INT64_MAX && start + span > INT64_MAX);
    extentcache_plan(&cache, WINDOW_EXTENTS + 7, &start, &span);
    assert_int_equal(start, WINDOW_EXTENTS);
}

/* The truth: extents of 16, of type "offset / 16 is odd". */
static void *hammer(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct window own = { 0 };
    struct cached_extent found;

    for (int i = 0; i < 20000; i++) {
        uint64_t offset = rand_r(&seed) % 65536;

        if (extentcache_find(&cache, offset, &found)) {
            if (found.end != offset / 16 * 16 + 16 || found.type != offset / 16 % 2)
                return "wrong";
            continue;
        }
        own.start = offset / 16 * 16;
        own.count = 0;
        for (uint64_t end = own.start + 16; end < own.start + 1600; end += 16)
            window_add(&own, end, (end / 16 - 1) % 2);
        extentcache_store(&cache, &own);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    void *result;

    (void)state;
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, (void *)(i + 1)), 0);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], &result);
        assert_null(result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_window, setup, teardown),
        cmocka_unit_test_setup_teardown(test_find, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
