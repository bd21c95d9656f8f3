/* Which words of a configuration are names of disks that change on virtio. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "convert/diskname.h"

static void check(const char *before, size_t count, const char *after)
{
    char text[512];

    strcpy(text, before);
    assert_int_equal(diskname_change(text), count);
    assert_string_equal(text, after);
}

static void test_change(void **state)
{
    (void)state;
    check("/dev/sda1 / ext4 defaults 0 1\n/dev/hdb2 none swap sw 0 0\n", 2,
          "/dev/vda1 / ext4 defaults 0 1\n/dev/vdb2 none swap sw 0 0\n");
    check("linux /vmlinuz root=/dev/sda3 ro resume=/dev/sda5\n", 2,
          "linux /vmlinuz root=/dev/vda3 ro resume=/dev/vda5\n");
    check("GRUB_CMDLINE_LINUX=\"root=/dev/sdaa1\"", 1, "GRUB_CMDLINE_LINUX=\"root=/dev/vdaa1\"");
}

static void test_leave(void **state)
{
    static const char *const others[] = {
        "# / was on /dev/sda1 during installation\n",
        "  # /dev/sda1",
        "UUID=0123 / ext4 defaults 0 1\n",
        "/dev/mapper/vg-root / xfs defaults 0 0\n",
        "/dev/vda1 / ext4 defaults 0 1\n",
        "/dev/sdaemon-socket",
        "/dev/sr0 /media/cdrom udf,iso9660\n",
        "/dev/disk/by-id/sda1",
        "",
    };

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        check(others[i], 0, others[i]);
        if (!strchr(others[i], '#'))
            assert_null(diskname_find(others[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_leave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
