/* Map files: what is read, what is refused, and that writing and reading agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>

#include "exportmap-file.h"

#define GOOD                                                                                       \
    "{\"path\": \"/a\", \"format\": \"raw\", \"size\": 512, \"mode\": \"rw\","                     \
    " \"identity\": {\"inode\": 18446744073709551614, \"dev\": \"8:1\"},"                          \
    " \"lease\": \"job-1\", \"description\": \"\\u00e9\\n\"}"

static int parse(const char *text, struct exportmap_file *map, struct error **err)
{
    return exportmap_file_parse(text, strlen(text), map, err);
}

static void test_good(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };

    (void)state;
    assert_int_equal(parse(GOOD, &map, &err), 0);
    assert_string_equal(map.path, "/a");
    assert_int_equal(map.format, EXPORTMAP_RAW);
    assert_int_equal(map.size, 512);
    assert_true(map.writable);
    assert_string_equal(map.lease, "job-1");
    assert_string_equal(map.identity.value[EXPORTMAP_INODE], "18446744073709551614");
    assert_string_equal(map.identity.value[EXPORTMAP_DEV], "8:1");
    assert_null(map.identity.value[EXPORTMAP_SERIAL]);
}

/* Every proper prefix of a good file is an error: a file that was cut short. */
static void test_prefixes(void **state)
{
    (void)state;
    for (size_t length = 0; length < strlen(GOOD); length++) {
        CLEANUP_ERROR struct error *err = NULL;
        CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };
        CLEANUP_FREE char *text = strndup(GOOD, length); /* exact size, for the sanitizer */

        assert_int_equal(exportmap_file_parse(text, length, &map, &err), -1);
        assert_non_null(err);
        assert_null(map.path);
    }
}

/* Any one byte changed: an error or a good map, never anything else. */
static void test_mutations(void **state)
{
    static const char bytes[] = "\"{}[],:0-9eE.\\u\xff\x01 nt";

    (void)state;
    for (size_t i = 0; i < strlen(GOOD); i++) {
        for (size_t j = 0; j < sizeof bytes; j++) {
            CLEANUP_ERROR struct error *err = NULL;
            CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };
            CLEANUP_FREE char *text = strdup(GOOD);

            text[i] = bytes[j];
            if (exportmap_file_parse(text, strlen(GOOD), &map, &err) == 0)
                assert_non_null(map.path);
            else
                assert_non_null(err);
        }
    }
}

static void test_round_trip(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };
    CLEANUP(exportmap_file_free) struct exportmap_file again = { 0 };
    CLEANUP_FREE char *text = NULL;
    CLEANUP_FREE char *text_again = NULL;
    CLEANUP_FREE char *terms = NULL;
    CLEANUP_FREE char *other = NULL;

    (void)state;
    assert_int_equal(parse(GOOD, &map, &err), 0);
    text = exportmap_file_format(&map);
    assert_int_equal(parse(text, &again, &err), 0);
    text_again = exportmap_file_format(&again);
    assert_string_equal(text, text_again);

    /* Terms: not the description, not the mode, but the lease. */
    terms = exportmap_file_terms(&map);
    again.writable = false;
    free(again.description);
    again.description = NULL;
    other = exportmap_file_terms(&again);
    assert_string_equal(terms, other);
    free(other);
    again.lease[0] = 'J';
    other = exportmap_file_terms(&again);
    assert_string_not_equal(terms, other);
}

static void test_names(void **state)
{
    char longest[EXPORTMAP_NAME_MAX + 2];
    static const char *const good[] = { "a", "vm-1_disk.0", "\xc3\xa9", "a b", "\xf0\x9f\x98\x80" };
    static const char *const bad[] = {
        "",
        ".",
        "..",
        ".a",
        "a/b",
        "a@b",
        "a\n",
        "\x7f",
        "a~",
        "a.tmp",
        "\xe9",
        "\xc0\xaf",
        "\xc3",
        "\xed\xa0\x80",
        "\xe0\x80\xaf",
        "\xff",
        "\xf5\x80\x80\x80",
        "\xc2\x9b",
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_null(exportmap_name_problem(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_non_null(exportmap_name_problem(bad[i]));
    memset(longest, 'x', sizeof longest);
    longest[EXPORTMAP_NAME_MAX + 1] = '\0';
    assert_non_null(exportmap_name_problem(longest));
    longest[EXPORTMAP_NAME_MAX] = '\0';
    assert_null(exportmap_name_problem(longest));

    assert_true(exportmap_lease_ok("A.b_c-9"));
    assert_false(exportmap_lease_ok(""));
    assert_false(exportmap_lease_ok("a b"));
    assert_false(exportmap_lease_ok("a@b"));
}

/* A map file that nobody could read is not written, and the good one stays. */
static void test_unreadable(void **state)
{
    static const struct {
        const char *path, *lease, *description;
    } bad[] = {
        { "/a", NULL, "\xff" }, { "/\xe9", NULL, NULL }, { "a", NULL, NULL }, { "/a", "a b", NULL }
    };
    char dir[] = "/tmp/vmferry-test.XXXXXX";
    char longest[EXPORTMAP_DESCRIPTION_MAX + 2];

    (void)state;
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        const struct exportmap_file map = { .path = (char *)bad[i].path,
                                            .lease = (char *)bad[i].lease,
                                            .description = (char *)bad[i].description };

        assert_int_equal(exportmap_file_write(dir, "e", &map, &err), -1);
        assert_non_null(strstr(error_message(err), "export e: its map file: "));
    }
    memset(longest, 'x', sizeof longest);
    for (size_t length = EXPORTMAP_DESCRIPTION_MAX + 1; length >= EXPORTMAP_DESCRIPTION_MAX;
         length--) {
        CLEANUP_ERROR struct error *err = NULL;
        const struct exportmap_file map = { .path = (char *)"/a", .description = longest };

        longest[length] = '\0';
        assert_int_equal(exportmap_file_write(dir, "e", &map, &err),
                         length > EXPORTMAP_DESCRIPTION_MAX ? -1 : 0);
    }
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(exportmap_file_remove(dir, "e", &err), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void test_write_and_remove(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };
    CLEANUP(exportmap_file_free) struct exportmap_file again = { 0 };
    char dir[] = "/tmp/vmferry-test.XXXXXX";
    char path[64];
    struct stat st;
    int dirfd;
    int fd;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/disk", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, 12345), 0);
    close(fd);
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(exportmap_file_probe(path, EXPORTMAP_RAW, &map, &err), 0);
    assert_int_equal(map.size, 12345);
    assert_int_equal(exportmap_file_write(dir, "a", &map, &err), 0);
    assert_int_equal(exportmap_file_write(dir, "a", &map, &err), 0);
    fd = exportmap_file_read(dirfd, "a", &again, &st, &err);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_string_equal(again.path, path);
    assert_string_equal(again.identity.value[EXPORTMAP_BIRTH], map.identity.value[EXPORTMAP_BIRTH]);

    assert_int_equal(exportmap_file_write(dir, "a/b", &map, &err), -1);
    error_clear(&err);
    assert_int_equal(exportmap_file_remove(dir, "a", &err), 0);
    assert_int_equal(exportmap_file_remove(dir, "a", &err), 0);
    exportmap_file_free(&again);
    assert_int_equal(exportmap_file_read(dirfd, "a", &again, &st, &err), -1);
    assert_int_equal(err->errnum, ENOENT);
    close(dirfd);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0); /* no temporary file is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_write_and_remove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
