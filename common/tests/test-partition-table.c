/* Names of partition tables, against what sfdisk was told to write. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "partition-table.h"

static int make_disk(const char *script, char path[64])
{
    char command[512];
    int fd;

    strcpy(path, "/tmp/vmferry-table.XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 8 << 20), 0);
    snprintf(command, sizeof command, "printf '%s' | sfdisk -q --no-reread --no-tell-kernel %s",
             script, path);
    assert_int_equal(system(command), 0);
    unlink(path);
    return fd;
}

static void test_gpt(void **state)
{
    char path[64], name[PARTITION_TABLE_TEXT];
    int fd = make_disk("label: gpt\\nlabel-id: 01234567-89AB-CDEF-0123-456789ABCDEF\\n"
                       "size=1M, uuid=11111111-2222-3333-4444-555555555555\\n"
                       "size=1M, uuid=AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE\\n",
                       path);

    (void)state;
    assert_true(partition_table_name(fd, name));
    assert_string_equal(name, "gpt:01234567-89ab-cdef-0123-456789abcdef");
    assert_true(partition_name(fd, 2, name));
    assert_string_equal(name, "gpt:aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
    assert_false(partition_name(fd, 3, name));
    assert_false(partition_name(fd, 100000, name));
    close(fd);
}

static void test_dos(void **state)
{
    char path[64], name[PARTITION_TABLE_TEXT];
    int fd = make_disk("label: dos\\nlabel-id: 0xdeadbeef\\nsize=1M\\n", path);

    (void)state;
    assert_true(partition_table_name(fd, name));
    assert_string_equal(name, "dos:deadbeef");
    assert_true(partition_name(fd, 1, name));
    assert_string_equal(name, "dos:deadbeef-01");
    close(fd);
}

static void test_none(void **state)
{
    char path[] = "/tmp/vmferry-table.XXXXXX", name[PARTITION_TABLE_TEXT];
    int fd = mkstemp(path);

    (void)state;
    unlink(path);
    assert_false(partition_table_name(fd, name));
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    assert_false(partition_table_name(fd, name));
    assert_int_equal(pwrite(fd, "\x55\xaa", 2, 510), 2); /* a table without a signature */
    assert_false(partition_table_name(fd, name));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt),
        cmocka_unit_test(test_dos),
        cmocka_unit_test(test_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
