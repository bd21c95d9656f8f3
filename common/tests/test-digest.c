/* The digest against one that is written down naively from digest.h: all levels
 * of the tree as arrays, and against values made by xxhsum(1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <xxhash.h>

#include "digest.h"

#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)
#define TiB (UINT64_C(1) << 40)

static bool all_zero(const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (data[i])
            return false;
    }
    return true;
}

static void naive_hash(const void *data, size_t length, uint8_t out[16])
{
    XXH128_hash_t h = XXH3_128bits(data, length);

    for (int i = 0; i < 8; i++) {
        out[i] = h.high64 >> (56 - 8 * i);
        out[8 + i] = h.low64 >> (56 - 8 * i);
    }
}

/* Takes over `nodes`, 16 bytes each. */
static struct digest naive_root(uint8_t *nodes, uint64_t count, uint64_t size)
{
    uint8_t covered[40] = "vmferry-digest-1";
    uint64_t size_le = htole64(size);
    struct digest root;

    while (count > 1) {
        uint64_t parents = (count + 255) / 256;
        uint8_t *above = calloc(parents, 16);

        for (uint64_t i = 0; i < parents; i++) {
            uint8_t children[4096] = { 0 };
            uint64_t n = count - i * 256 < 256 ? count - i * 256 : 256;

            memcpy(children, nodes + i * 4096, n * 16);
            if (!all_zero(children, sizeof children))
                naive_hash(children, sizeof children, above + i * 16);
        }
        free(nodes);
        nodes = above;
        count = parents;
    }
    memcpy(covered + 16, &size_le, 8);
    if (count)
        memcpy(covered + 24, nodes, 16);
    free(nodes);
    naive_hash(covered, sizeof covered, root.bytes);
    return root;
}

static int leaves_file(void)
{
    char name[] = "/tmp/vmferry-test-leaves.XXXXXX";
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

/* Bytes that repeat after a prime length, so that no two blocks are the same. */
static void fill(uint8_t *disk, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        disk[i] = (i * 7 + i % 8191) % 251 + 1;
}

static void check(const uint8_t *disk, uint64_t size)
{
    uint64_t blocks = (size + DIGEST_BLOCK - 1) / DIGEST_BLOCK;
    uint8_t *nodes = calloc(blocks + 1, 16);
    CLEANUP_CLOSE int fd = leaves_file();
    CLEANUP_ERROR struct error *err = NULL;
    struct digest got, expected;

    /* Last block first: leaves arrive in any order. */
    for (uint64_t i = blocks; i-- > 0;) {
        uint64_t at = i * DIGEST_BLOCK;
        size_t length = size - at < DIGEST_BLOCK ? size - at : DIGEST_BLOCK;
        struct digest leaf = digest_leaf(disk + at, length);

        if (!all_zero(disk + at, length))
            naive_hash(disk + at, length, nodes + i * 16);
        assert_memory_equal(leaf.bytes, nodes + i * 16, 16);
        if (!all_zero(leaf.bytes, 16))
            assert_int_equal(pwrite(fd, &leaf, 16, i * 16), 16);
    }
    expected = naive_root(nodes, blocks, size);
    assert_int_equal(digest_root(fd, size, &got, &err), 0);
    assert_memory_equal(got.bytes, expected.bytes, 16);
    assert_true(digest_equal(&got, &expected));
}

static void test_sizes(void **state)
{
    static const uint64_t sizes[] = { 0,     1,      511,          512,      65535,       65536,
                                      65537, 131072, 16 * MiB - 1, 16 * MiB, 16 * MiB + 1 };
    uint8_t *disk = malloc(16 * MiB + 1);

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fill(disk, sizes[i]);
        check(disk, sizes[i]);
        /* With a hole in the middle, and with nothing but holes. */
        memset(disk + sizes[i] / 3, 0, sizes[i] / 3);
        check(disk, sizes[i]);
        memset(disk, 0, sizes[i]);
        check(disk, sizes[i]);
        /* One byte set, the last one. */
        if (sizes[i])
            disk[sizes[i] - 1] = 1;
        check(disk, sizes[i]);
    }
    free(disk);
}

static void test_every_byte_counts(void **state)
{
    uint8_t block[DIGEST_BLOCK] = { 0 };
    struct digest none = { 0 }, leaf;

    (void)state;
    for (size_t i = 0; i < sizeof block; i++) {
        block[i] = 0x80;
        leaf = digest_leaf(block, sizeof block);
        assert_false(digest_equal(&leaf, &none));
        block[i] = 0;
    }
    leaf = digest_leaf(block, sizeof block);
    assert_true(digest_equal(&leaf, &none));
}

/* Sparse leaves of a big disk, at random places; the seed is printed. */
static void test_sparse(void **state)
{
    static const uint64_t sizes[] = { 4 * GiB + 1, 5 * GiB - 512, 64 * GiB };
    unsigned seed = time(NULL);

    (void)state;
    print_message("seed %u\n", seed);
    srandom(seed);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint64_t blocks = (sizes[s] + DIGEST_BLOCK - 1) / DIGEST_BLOCK;
        uint8_t *nodes = calloc(blocks, 16);
        CLEANUP_CLOSE int fd = leaves_file();
        CLEANUP_ERROR struct error *err = NULL;
        struct digest got, expected;

        for (int i = 0; i < 1000; i++) {
            uint64_t at = i == 0 ? blocks - 1 : random() % blocks;

            naive_hash(&at, sizeof at, nodes + at * 16);
            assert_int_equal(pwrite(fd, nodes + at * 16, 16, at * 16), 16);
        }
        expected = naive_root(nodes, blocks, sizes[s]);
        assert_int_equal(digest_root(fd, sizes[s], &got, &err), 0);
        assert_memory_equal(got.bytes, expected.bytes, 16);
    }
}

static void test_huge_is_instant(void **state)
{
    CLEANUP_CLOSE int fd = leaves_file();
    CLEANUP_ERROR struct error *err = NULL;
    struct digest empty, one, leaf = digest_leaf("x", 1);
    struct timespec start, end;

    (void)state;
    clock_gettime(CLOCK_MONOTONIC, &start);
    assert_int_equal(digest_root(fd, 64 * TiB, &empty, &err), 0);
    assert_int_equal(ftruncate(fd, 64 * TiB / DIGEST_BLOCK * 16), 0);
    assert_int_equal(digest_root(fd, 64 * TiB, &one, &err), 0);
    assert_true(digest_equal(&empty, &one));
    assert_int_equal(pwrite(fd, &leaf, 16, 40 * TiB / DIGEST_BLOCK * 16), 16);
    assert_int_equal(digest_root(fd, 64 * TiB, &one, &err), 0);
    assert_false(digest_equal(&empty, &one));
    assert_int_equal(digest_root(fd, INT64_MAX, &one, &err), 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true(end.tv_sec - start.tv_sec < 2);
}

/* What the file holds past the disk's end does not count; half a leaf is an error. */
static void test_file_size(void **state)
{
    CLEANUP_CLOSE int fd = leaves_file();
    CLEANUP_ERROR struct error *err = NULL;
    struct digest leaves[3], two, three, again;

    (void)state;
    for (int i = 0; i < 3; i++)
        leaves[i] = digest_leaf(&"abc"[i], 1);
    assert_int_equal(write(fd, leaves, sizeof leaves), sizeof leaves);
    assert_int_equal(digest_root(fd, 2 * DIGEST_BLOCK, &two, &err), 0);
    assert_int_equal(digest_root(fd, 3 * DIGEST_BLOCK, &three, &err), 0);
    assert_false(digest_equal(&two, &three));
    assert_int_equal(ftruncate(fd, 2 * 16), 0);
    assert_int_equal(digest_root(fd, 2 * DIGEST_BLOCK, &again, &err), 0);
    assert_true(digest_equal(&two, &again));
    assert_int_equal(ftruncate(fd, 2 * 16 + 5), 0);
    assert_int_equal(digest_root(fd, 3 * DIGEST_BLOCK, &again, &err), -1);
    assert_non_null(strstr(error_message(err), "ends inside a leaf"));
}

#define DIFF_BLOCKS 5000

struct expected_diff {
    bool differs[DIFF_BLOCKS + 1]; /* [DIFF_BLOCKS] stays false */
    uint64_t at, size;
};

/* Runs must be maximal, in order, and hold exactly the blocks expected. */
static void check_run(void *opaque, uint64_t offset, uint64_t length)
{
    struct expected_diff *e = opaque;
    uint64_t end = offset + length;

    assert_true(length > 0 && offset % DIGEST_BLOCK == 0);
    assert_true(end % DIGEST_BLOCK == 0 || end == e->size);
    for (; e->at * DIGEST_BLOCK < offset; e->at++)
        assert_false(e->differs[e->at]);
    for (; e->at * DIGEST_BLOCK < end; e->at++)
        assert_true(e->differs[e->at]);
    assert_false(e->differs[e->at]);
}

static void diff(int a, uint64_t a_size, int b, uint64_t b_size, struct expected_diff *e)
{
    CLEANUP_ERROR struct error *err = NULL;

    e->at = 0;
    e->size = a_size > b_size ? a_size : b_size;
    assert_int_equal(digest_diff(a, a_size, b, b_size, check_run, e, &err), 0);
    for (; e->at < DIFF_BLOCKS; e->at++)
        assert_false(e->differs[e->at]);
}

static void test_diff(void **state)
{
    uint64_t size = DIFF_BLOCKS * DIGEST_BLOCK - 100;
    CLEANUP_CLOSE int a = leaves_file();
    CLEANUP_CLOSE int b = leaves_file();
    struct expected_diff *e = calloc(1, sizeof *e);
    struct digest leaf = digest_leaf("a", 1), other = digest_leaf("b", 1);

    (void)state;
    diff(a, size, b, size, e);
    for (int i = 0; i < 300; i++) {
        uint64_t at = i == 0 ? DIFF_BLOCKS - 1 : random() % DIFF_BLOCKS;

        /* Data only here, only there, the same in both, unlike in both. */
        if (i % 4 != 1)
            assert_int_equal(pwrite(a, &leaf, 16, at * 16), 16);
        if (i % 4 != 0)
            assert_int_equal(pwrite(b, i % 4 == 3 ? &other : &leaf, 16, at * 16), 16);
    }
    for (uint64_t i = 0; i < DIFF_BLOCKS; i++) {
        uint8_t x[16] = { 0 }, y[16] = { 0 };

        assert_true(pread(a, x, 16, i * 16) >= 0 && pread(b, y, 16, i * 16) >= 0);
        e->differs[i] = memcmp(x, y, 16) != 0;
    }
    diff(a, size, b, size, e);
    diff(b, size, a, size, e);
    /* A shorter disk lacks the rest. */
    for (uint64_t i = 3000; i < DIFF_BLOCKS; i++)
        e->differs[i] = true;
    diff(a, 3000 * DIGEST_BLOCK + 1, b, size, e);
    diff(b, size, a, 3000 * DIGEST_BLOCK, e);
    free(e);
}

/* printf '%65536s' | tr ' ' x | xxhsum -H2 and so on, by hand through the tree. */
static void test_known(void **state)
{
    static const struct {
        uint64_t blocks, size;
        const char *text;
    } known[] = {
        { 0, 0, "xxh3-64k:b097baf94477eaee156735e0456964b0" },
        { 1, 65536, "xxh3-64k:272fb80d79e71bf0be1f671b3948dd2f" },
        { 3, 200000, "xxh3-64k:596bc6f5fdadd4ad9036f667351bd7ee" },
        { 256, 16777216, "xxh3-64k:99cd41a656e0e3d80708ed69ea19a237" },
        { 257, 19660800, "xxh3-64k:be483c7a9acf0bc05962f066d248d654" },
    };
    uint8_t block[DIGEST_BLOCK];
    CLEANUP_ERROR struct error *err = NULL;

    (void)state;
    memset(block, 'x', sizeof block);
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        CLEANUP_CLOSE int fd = leaves_file();
        struct digest leaf = digest_leaf(block, sizeof block), root, parsed;
        char text[DIGEST_TEXT];

        for (uint64_t i = 0; i < known[k].blocks; i++)
            assert_int_equal(write(fd, &leaf, 16), 16);
        assert_int_equal(digest_root(fd, known[k].size, &root, &err), 0);
        digest_to_text(&root, text);
        assert_string_equal(text, known[k].text);
        assert_int_equal(digest_from_text(text, &parsed, &err), 0);
        assert_true(digest_equal(&parsed, &root));
    }
}

static void test_bad_text(void **state)
{
    static const char *const bad[] = {
        "",
        "xxh3-64k:",
        "xxh3-64k:0123",
        "xxh3-32k:00112233445566778899aabbccddeeff",
        "xxh3-64k:00112233445566778899aabbccddeefg",
        "xxh3-64k:00112233445566778899AABBCCDDEEFF",
        "xxh3-64k:00112233445566778899aabbccddeeff0",
    };
    struct digest digest;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CLEANUP_ERROR struct error *err = NULL;

        assert_int_equal(digest_from_text(bad[i], &digest, &err), -1);
        assert_int_equal(err->kind, ERROR_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),     cmocka_unit_test(test_every_byte_counts),
        cmocka_unit_test(test_sparse),    cmocka_unit_test(test_huge_is_instant),
        cmocka_unit_test(test_file_size), cmocka_unit_test(test_diff),
        cmocka_unit_test(test_known),     cmocka_unit_test(test_bad_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
