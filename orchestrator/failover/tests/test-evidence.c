/* What is made of a guest's console and of its screen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <png.h>
#include <unistd.h>

#include "failover/console.h"
#include "failover/screen.h"

/* A console that said all of it a minute ago. */
static void say(struct console *console, char path[], const char *text, const regex_t *expect,
                bool *matched)
{
    int fd;

    strcpy(path, "/tmp/vmferry-console.XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    console_open(console, path);
    *matched = console_read(console, expect, 1);
    unlink(path);
}

static const char *stuck_at(const char *text, double seconds)
{
    CLEANUP_CONSOLE struct console console;
    char path[64];
    bool matched;

    say(&console, path, text, NULL, &matched);
    assert_false(matched);
    return console_stuck(&console, seconds);
}

static void guests_that_are_stuck_are_known(void **state)
{
    static const char *const texts[] = {
        "GRUB loading.\r\nerror: no such device.\r\nEntering rescue mode...\r\ngrub rescue> ",
        "Begin: Waiting for root file system\r\n(initramfs) ",
        "\x1b[2J\x1b[01;01HBdsDxe: No bootable option or device was found.\r\nPress any key",
        ("Booting from Hard Disk...\r\nBoot failed: not a bootable disk\r\n\r\nNo bootable "
         "device.\r\n"),
        "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n[    1.3] ---[ end",
        "Gave up waiting for root\r\nBusyBox v1.35.0\r\n\r\n(initramfs) \x1b[6n",
        ("Use the ^ and v keys to select which entry is highlighted.\r\n\x1b[3;3H*Debian        "
         "                                                                             "
         "                                                                             "
         "                                                                             "
         "                                                                             "
         "                                                                             "
         "                                                                             "
         "                                                                             "
         "                                                                             "),
        "/bin/sh: can't access tty; job control turned off\r\n/ # ",
        "\x1b[0mgrub\x1b[1;1H> ", /* drawn piece by piece */
    };
    static const char *const well[] = {
        "",
        "Debian GNU/Linux 12 app01 ttyS0\r\n\r\napp01 login: ",
        "grub> boot\r\nLoading Linux ...\r\n",
        "(initramfs) exit\r\nWelcome\r\n",
        ("Use the ^ and v keys to select which entry is highlighted.\r\n*Debian\r\n"
         "The highlighted entry will be executed automatically in 0s."),
        ("Use the ^ and v keys to select which entry is highlighted.\r\n*Debian\r\n"
         "Booting `Debian'\r\n\r\n"),
        "Boot failed: not a bootable disk\r\nBooting from Hard Disk...\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!stuck_at(texts[i], 60))
            fail_msg("'%s' is not seen", texts[i]);
        assert_null(stuck_at(texts[i], 5)); /* it may go on yet */
    }
    for (size_t i = 0; i < sizeof well / sizeof well[0]; i++) {
        if (stuck_at(well[i], 60))
            fail_msg("'%s' is called stuck at '%s'", well[i], stuck_at(well[i], 60));
    }
}

static void the_last_line_is_known(void **state)
{
    static const struct {
        const char *text, *last;
    } consoles[] = { { "", "" },
                     { "\r\n \r\n", "" },
                     { "one\r\n  two  three\r\n\r\n  ", "two three" },
                     { "prompt: ", "prompt:" } };

    (void)state;
    for (size_t i = 0; i < sizeof consoles / sizeof consoles[0]; i++) {
        CLEANUP_CONSOLE struct console console;
        char path[64];
        bool matched;

        say(&console, path, consoles[i].text, NULL, &matched);
        assert_string_equal(console_last_line(&console), consoles[i].last);
    }
}

static void what_is_long_past_does_not_count(void **state)
{
    char text[4096];

    (void)state;
    strcpy(text, "No bootable device in the first drive\n");
    for (size_t i = strlen(text); i + 20 < sizeof text; i += 10)
        strcpy(text + i, "a service\n");
    assert_null(stuck_at(text, 60));
}

static void lines_match_without_what_draws_them(void **state)
{
    CLEANUP_CONSOLE struct console console;
    char path[64];
    regex_t login;
    bool matched;

    (void)state;
    assert_int_equal(regcomp(&login, "^app01 login: $", REG_EXTENDED | REG_NOSUB), 0);
    say(&console, path, "x\n\x1b[1;32mapp01\x1b[0m login: ", &login, &matched);
    assert_true(matched);
    assert_string_equal(console.line, "app01 login: ");
    regfree(&login);
}

static void pictures_become_png(void **state)
{
    static const unsigned char ppm[] = "P6\n# QEMU\n2 2\n255\n"
                                       "\xff\0\0\0\xff\0\0\0\xff\x01\x02\x03";
    static const char *const wrong[] = { "",
                                         "P5\n1 1\n255\n...",
                                         "P6\n9 9\n255\nabc",
                                         "P6\n1 1\n65535\nabcdef",
                                         "P6\n-1 1\n255\nabc",
                                         "P6\n99999 1\n255\nabc",
                                         "P6 1" };
    CLEANUP_ERROR struct error *err = NULL;
    png_image image = { .version = PNG_IMAGE_VERSION };
    unsigned char pixels[12];
    char path[] = "/tmp/vmferry-screen.XXXXXX";

    (void)state;
    close(mkstemp(path));
    if (screen_write(ppm, sizeof ppm - 1, path, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_true(png_image_begin_read_from_file(&image, path));
    assert_int_equal(image.width, 2);
    assert_int_equal(image.height, 2);
    image.format = PNG_FORMAT_RGB;
    assert_true(png_image_finish_read(&image, NULL, pixels, 0, NULL));
    assert_memory_equal(pixels, ppm + sizeof ppm - 1 - 12, 12);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        error_clear(&err);
        if (screen_write((const unsigned char *)wrong[i], strlen(wrong[i]), path, &err) == 0)
            fail_msg("'%s' is taken", wrong[i]);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guests_that_are_stuck_are_known),
        cmocka_unit_test(the_last_line_is_known),
        cmocka_unit_test(what_is_long_past_does_not_count),
        cmocka_unit_test(lines_match_without_what_draws_them),
        cmocka_unit_test(pictures_become_png),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
