/* The plan against a model: random disks, change maps, journals, answers of any
 * length; every byte that should move does, and no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "copy/plan.h"

#define UNIT  512 /* bytes; what the model knows */
#define UNITS 4000

/* What is true of each unit of the disk. */
struct model {
    uint64_t size;
    bool zero[UNITS];
    bool hole[UNITS];
    bool dirty[UNITS];
    bool changed[UNITS]; /* by the map */
    bool durable[UNITS];
    unsigned moved[UNITS]; /* how often; counts bytes */
    bool as_zero[UNITS];
};

static void set_runs(bool *units, unsigned longest)
{
    bool value = rand() % 2;

    for (size_t i = 0; i < UNITS;) {
        size_t n = (size_t)rand() % longest + 1;

        for (; n && i < UNITS; n--)
            units[i++] = value;
        value = !value;
    }
}

static struct changemap to_map(const bool *units, uint64_t size)
{
    struct changemap map = CHANGEMAP_INIT;

    map.ranges = calloc(UNITS, sizeof *map.ranges);
    for (size_t i = 0; i < UNITS; i++) {
        struct range *last = map.count ? &map.ranges[map.count - 1] : NULL;

        if (!units[i] || i * UNIT >= size)
            continue;
        if (last && range_end(*last) == i * UNIT)
            last->length += UNIT;
        else
            map.ranges[map.count++] = (struct range){ i * UNIT, UNIT };
        if (range_end(map.ranges[map.count - 1]) > size)
            map.ranges[map.count - 1].length = size - map.ranges[map.count - 1].offset;
    }
    return map;
}

/* An answer about [offset, offset + length), perhaps a short one. */
static void answer(struct plan *plan, const struct model *model, enum extents_kind kind,
                   uint64_t offset, uint64_t length)
{
    static uint32_t entries[2 * UNITS];
    size_t most = rand() % 3 ? UNITS : (size_t)rand() % 20 + 1;
    size_t pairs = 0;
    uint64_t pos = offset;

    while (pos < offset + length && pairs < most) {
        size_t unit = pos / UNIT;
        uint64_t end = (unit + 1) * UNIT;
        uint32_t flags = kind == EXTENTS_CHANGES
                             ? model->dirty[unit]
                             : (uint32_t)(model->hole[unit] | model->zero[unit] << 1);

        if (end > model->size)
            end = model->size;
        if (pairs && entries[2 * pairs - 1] == flags) {
            entries[2 * pairs - 2] += (uint32_t)(end - pos);
        } else {
            entries[2 * pairs] = (uint32_t)(end - pos);
            entries[2 * pairs + 1] = flags;
            pairs++;
        }
        pos = end;
    }
    plan_extents(plan, kind, offset, entries, pairs);
}

static void note(struct model *model, uint64_t offset, uint64_t length, bool zero)
{
    for (uint64_t pos = offset; pos < offset + length;) {
        uint64_t end = (pos / UNIT + 1) * UNIT;

        if (end > offset + length)
            end = offset + length;
        model->moved[pos / UNIT] += (unsigned)(end - pos);
        model->as_zero[pos / UNIT] |= zero;
        pos = end;
    }
}

static void check_piece(const struct plan_config *config, const struct piece *piece)
{
    uint64_t end = piece->offset + piece->length;

    assert_true(piece->length > 0);
    assert_true(end <= config->size);
    assert_int_equal(piece->offset % config->read_align, 0);
    assert_true(end % config->read_align == 0 || end == config->size);
    if (piece->zero) {
        assert_true(piece->length <= config->zero_size);
        assert_int_equal(piece->count, 0);
        return;
    }
    assert_true(piece->length <= config->request_size);
    assert_in_range(piece->count, 1, PIECE_SEGMENTS);
    for (unsigned i = 0; i < piece->count; i++) {
        const struct segment *segment = &piece->segments[i];

        assert_true(segment->length > 0);
        assert_true(segment->offset + segment->length <= piece->length);
        assert_true(i == 0 || segment->offset >
                                  piece->segments[i - 1].offset + piece->segments[i - 1].length);
    }
}

static void run_plan(struct plan *plan, const struct plan_config *config, struct model *model)
{
    struct error *err = NULL;
    struct piece piece;
    unsigned turns = 0;

    for (;;) {
        uint64_t offset;
        uint64_t length;
        enum plan_answer next;

        assert_true(turns++ < 100000);
        if (plan_question(plan, &offset, &length)) {
            assert_true(offset + length <= config->size && length > 0);
            if (config->has_allocation)
                answer(plan, model, EXTENTS_ALLOCATION, offset, length);
            if (config->has_changes)
                answer(plan, model, EXTENTS_CHANGES, offset, length);
            assert_int_equal(plan_answered(plan, &err), 0);
        }
        next = plan_next(plan, &piece);
        if (next == PLAN_DONE)
            return;
        if (next == PLAN_WAIT)
            continue;
        check_piece(config, &piece);
        if (piece.zero)
            note(model, piece.offset, piece.length, true);
        for (unsigned i = 0; i < piece.count; i++)
            note(model, piece.offset + piece.segments[i].offset, piece.segments[i].length, false);
    }
}

static void check_model(const struct plan_config *config, const struct model *model)
{
    for (size_t i = 0; i < UNITS && i * UNIT < model->size; i++) {
        uint64_t bytes = model->size - i * UNIT < UNIT ? model->size - i * UNIT : UNIT;
        bool wanted = (!config->changes || model->changed[i]) &&
                      (!config->durable || !model->durable[i]) &&
                      (!config->has_changes || model->dirty[i]) &&
                      (!config->holes_unchanged || !model->hole[i]);
        bool zero = config->has_allocation && model->zero[i];

        if (!wanted)
            assert_int_equal(model->moved[i], 0);
        else if (!(config->skip_zeroes && zero))
            assert_int_equal(model->moved[i], bytes);
        if (model->as_zero[i])
            assert_true(zero);
    }
}

static void test_model(void **state)
{
    static struct model model;

    (void)state;
    for (int round = 0; round < 400; round++) {
        struct error *err = NULL;
        struct changemap changes;
        struct changemap durable;
        struct plan_config config = { .write_align = 1, .status_align = 512 };
        struct plan *plan;

        memset(&model, 0, sizeof model);
        model.size = (uint64_t)UNITS * UNIT - (rand() % 2 ? (unsigned)rand() % 100000 : 0);
        set_runs(model.zero, (unsigned)rand() % 500 + 1);
        set_runs(model.hole, (unsigned)rand() % 500 + 1);
        set_runs(model.dirty, (unsigned)rand() % 100 + 1);
        set_runs(model.changed, (unsigned)rand() % 60 + 1);
        set_runs(model.durable, (unsigned)rand() % 900 + 1);
        changes = to_map(model.changed, model.size);
        durable = to_map(model.durable, model.size);

        config.size = model.size;
        config.read_align = (uint64_t[]){ 1, 512, 4096, 65536 }[rand() % 4];
        config.request_size = config.read_align * (uint64_t)(1 + rand() % 4);
        if (config.request_size < 4096)
            config.request_size = 4096;
        config.zero_size = rand() % 2 ? 1 << 30 : 65536 * 2;
        config.has_allocation = rand() % 4;
        config.has_changes = rand() % 3 == 0;
        config.holes_unchanged = config.has_allocation && rand() % 4 == 0;
        config.skip_zeroes = rand() % 4 == 0;
        config.changes = rand() % 2 ? &changes : NULL;
        config.durable = rand() % 2 ? &durable : NULL;
        plan = plan_new(&config, &err);
        assert_non_null(plan);
        run_plan(plan, &config, &model);
        check_model(&config, &model);

        /* Once more what a lost connection took along. */
        memset(model.moved, 0, sizeof model.moved);
        assert_int_equal(plan_again(plan, 0, model.size / 2, false), 0);
        run_plan(plan, &config, &model);
        for (size_t i = 0; (i + 1) * UNIT <= model.size / 2; i++)
            assert_int_equal(model.moved[i], UNIT);
        plan_free(plan);
        changemap_free(&changes);
        changemap_free(&durable);
    }
}

/* One lie about the first question of a disk of 1 MiB. */
static void lie(const uint32_t *entries, size_t pairs, uint64_t offset, const char *expected)
{
    struct plan_config config = { .size = 1 << 20,
                                  .request_size = 65536,
                                  .zero_size = 65536,
                                  .read_align = 512,
                                  .write_align = 1,
                                  .status_align = 1,
                                  .has_allocation = true };
    CLEANUP_ERROR struct error *err = NULL;
    struct plan *plan = plan_new(&config, &err);
    uint64_t asked;
    uint64_t length;

    assert_true(plan_question(plan, &asked, &length));
    assert_false(plan_question(plan, &asked, &length)); /* one at a time */
    if (pairs)
        plan_extents(plan, EXTENTS_ALLOCATION, offset, entries, pairs);
    assert_int_equal(plan_answered(plan, &err), -1);
    assert_non_null(strstr(error_message(err), expected));
    plan_free(plan);
}

static void test_lies(void **state)
{
    const uint32_t no_progress[] = { 0, 0 };
    const uint32_t stuck_later[] = { 4096, 0, 0, 3, 4096, 0 };
    const uint32_t outside[] = { 1 << 20, 0, 1, 0 };
    const uint32_t elsewhere[] = { 4096, 0 };

    (void)state;
    lie(no_progress, 1, 0, "length 0");
    lie(stuck_later, 3, 0, "length 0");
    lie(outside, 2, 0, "outside the disk");
    lie(elsewhere, 1, 4096, "is about byte 4096");
    lie(NULL, 0, 0, "no extents");
}

/* Far more extents than the ring holds, on a disk of 1 EiB. */
static void test_bounded(void **state)
{
    static uint32_t entries[2 * 200000];
    struct plan_config config = { .size = UINT64_C(1) << 60,
                                  .request_size = 262144,
                                  .zero_size = 1 << 30,
                                  .read_align = 512,
                                  .write_align = 1,
                                  .status_align = 1,
                                  .has_allocation = true };
    CLEANUP_ERROR struct error *err = NULL;
    struct plan *plan = plan_new(&config, &err);
    uint64_t expected = 0;
    uint64_t moved = 0;

    (void)state;
    for (size_t i = 0; i < 200000; i++) {
        entries[2 * i] = 65536;
        entries[2 * i + 1] = i % 2 ? 3 : 0;
    }
    for (int i = 0; i < 300000; i++) {
        uint64_t offset;
        uint64_t length;
        struct piece piece;

        if (plan_question(plan, &offset, &length)) {
            size_t phase = offset / 65536 % 2;

            assert_int_equal(offset % 65536, 0);
            plan_extents(plan, EXTENTS_ALLOCATION, offset, entries + 2 * phase, 199998);
            assert_int_equal(plan_answered(plan, &err), 0);
        }
        assert_int_equal(plan_next(plan, &piece), PLAN_PIECE);
        assert_int_equal(piece.offset, expected);
        assert_int_equal(piece.length, 65536);
        assert_int_equal(piece.zero, piece.offset / 65536 % 2);
        expected += piece.length;
        moved += piece.length;
    }
    assert_int_equal(moved, 300000 * UINT64_C(65536));
    plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_bounded),
    };

    srand(getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
