/* The figures of the space guard: reserves as they are written, and what an overlay takes,
 * compared with what qemu-img makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "job/space.h"
#include "process.h"

#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)

static uint64_t reserve_of(const char *text, uint64_t total)
{
    struct space_reserve reserve = { 0 };
    CLEANUP_ERROR struct error *err = NULL;

    if (space_reserve_parse(text, &reserve, &err) < 0)
        fail_msg("%s: %s", text, error_message(err));
    return space_reserve_of(&reserve, total);
}

static void reserves_are_bytes_or_parts(void **state)
{
    const struct space_reserve none = { 0 };

    (void)state;
    assert_int_equal(reserve_of("2G", 100 * GiB), 2 * GiB);
    assert_int_equal(reserve_of("0", 100 * GiB), 0);
    assert_int_equal(reserve_of("10%", 100 * GiB), 10 * GiB);
    assert_int_equal(reserve_of("0%", 100 * GiB), 0);
    assert_int_equal(reserve_of("90%", INT64_MAX) / (INT64_MAX / 100), 90);
    assert_int_equal(space_reserve_of(&none, 100 * GiB), GiB);
    assert_int_equal(space_reserve_of(&none, 100 * MiB), 5 * MiB);
}

static void other_texts_are_refused(void **state)
{
    static const char *const texts[] = { "", "%", "91%", "1.5%", "-1", "5 %", "much", "5%%" };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct space_reserve reserve = { 0 };
        CLEANUP_ERROR struct error *err = NULL;

        if (space_reserve_parse(texts[i], &reserve, &err) == 0)
            fail_msg("'%s' was taken", texts[i]);
        assert_int_equal(err->kind, ERROR_USAGE);
    }
}

static void run(const char *const argv[])
{
    CLEANUP_ERROR struct error *err = NULL;

    if (process_run(argv, 60000, NULL, &err) < 0)
        fail_msg("%s", error_message(err));
}

/* `count` writes of a cluster each, `step` bytes apart. */
static void an_overlay_is_counted_whole(uint64_t capacity, unsigned count, uint64_t step)
{
    char path[] = "/tmp/vmferry-space-XXXXXX", size[32], commands[64][64];
    const char *create[] = { "qemu-img", "create", "-q", "-f", "qcow2", path, size, NULL };
    const char *write[4 + 2 * 64 + 2] = { "qemu-io", "-f", "qcow2" };
    size_t n = 3;
    struct stat st;
    uint64_t told, taken;
    int fd = mkstemp(path);

    assert_true(fd >= 0 && count <= 64);
    close(fd);
    snprintf(size, sizeof size, "%llu", (unsigned long long)capacity);
    run(create);
    for (unsigned i = 0; i < count; i++) {
        snprintf(commands[i], sizeof commands[i], "write -P 5 %llu 65536",
                 (unsigned long long)(i * step));
        write[n++] = "-c";
        write[n++] = commands[i];
    }
    write[n++] = path;
    if (count > 0)
        run(write);
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
    taken = (uint64_t)st.st_blocks * 512;
    told = count * UINT64_C(65536) + space_of_overlay(capacity, count * UINT64_C(65536));
    if (taken > told)
        fail_msg("%u writes on %llu bytes take %llu bytes, not %llu", count,
                 (unsigned long long)capacity, (unsigned long long)taken, (unsigned long long)told);
}

static void overlays_take_no_more_than_is_counted(void **state)
{
    (void)state;
    an_overlay_is_counted_whole(64 * MiB, 0, 0);
    an_overlay_is_counted_whole(64 * MiB, 1, 0);
    an_overlay_is_counted_whole(64 * MiB, 64, MiB);
    an_overlay_is_counted_whole(64 * GiB, 64, MiB);
    an_overlay_is_counted_whole(64 * GiB, 64, 512 * MiB);
    an_overlay_is_counted_whole(4096 * GiB, 64, 64 * GiB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reserves_are_bytes_or_parts),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(overlays_take_no_more_than_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
