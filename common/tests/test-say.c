/* A listener hears the line, once and whole; nobody listening is no fault. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "say.h"

struct heard {
    unsigned calls;
    char line[2 * SAY_MOST];
};

static struct heard alone;

static void hear_into(void *opaque, const char *line)
{
    struct heard *heard = opaque;

    heard->calls++;
    snprintf(heard->line, sizeof heard->line, "%s", line);
}

static void hear(const char *line)
{
    hear_into(&alone, line);
}

static void lines_are_formatted(void **state)
{
    struct heard heard = { 0 };
    struct {
        void (*say)(void *opaque, const char *line);
        void *opaque;
    } options = { hear_into, &heard };

    (void)state;
    alone = (struct heard){ 0 };
    say_line(hear, "%s: %d", "app01", 7);
    assert_string_equal(alone.line, "app01: 7");
    say_to(hear_into, &heard, "%u %%", 42u);
    assert_string_equal(heard.line, "42 %");
    say_with(&options, "as it is");
    assert_string_equal(heard.line, "as it is");
    assert_int_equal(alone.calls, 1);
    assert_int_equal(heard.calls, 2);
}

static void nobody_listens(void **state)
{
    (void)state;
    say_line(NULL, "%s", "lost");
    say_to(NULL, NULL, "%s", "lost");
}

static void long_lines_end(void **state)
{
    char text[SAY_MOST + 10];
    struct heard heard = { 0 };

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    alone = (struct heard){ 0 };
    say_line(hear, "%s", text);
    say_to(hear_into, &heard, "%s", text);
    assert_int_equal(strlen(alone.line), SAY_MOST - 1);
    assert_int_equal(strlen(heard.line), SAY_MOST - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_formatted),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(long_lines_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
