/* Bars on a terminal, lines and JSON without one, and numbers for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <pty.h>
#include <stdbool.h>
#include <string.h>

#include "commands/bar.h"
#include "commands/human.h"
#include "log/log.h"

#define GIB (UINT64_C(1) << 30)

static struct progress_record record(const char *label, double percent, enum progress_state state)
{
    struct progress_record r = {
        .bytes_done = (uint64_t)(percent / 100 * 4 * (double)GIB),
        .bytes_total = 4 * GIB,
        .percent = percent,
        .throughput = 123 << 20,
        .eta_seconds = state == PROGRESS_COMPLETED ? 0
                       : state == PROGRESS_RUNNING ? 83
                                                   : -1,
        .state = state,
    };

    snprintf(r.label, sizeof r.label, "%s", label);
    return r;
}

/* A terminal of the given size; what is printed on it is read with screen(). */
struct terminal {
    int master;
    FILE *out;
};

static void terminal_open(struct terminal *terminal, int columns, int lines)
{
    struct winsize size = { .ws_col = (unsigned short)columns, .ws_row = (unsigned short)lines };
    int slave;

    assert_int_equal(openpty(&terminal->master, &slave, NULL, NULL, &size), 0);
    fcntl(terminal->master, F_SETFL, O_NONBLOCK);
    terminal->out = fdopen(slave, "w");
    setenv("TERM", "xterm", 1);
}

static void terminal_close(struct terminal *terminal)
{
    fclose(terminal->out);
    close(terminal->master);
}

/* What the screen shows: understands \r, \n, cursor up, erase to the end of line
 * and of screen, which is all that the bar may use. UTF-8 is shown as '%'. */
#define LINES   40
#define COLUMNS 200
struct screen {
    char line[LINES][COLUMNS + 1];
    int row, column, widest;
};

static void screen_read(struct terminal *terminal, struct screen *screen)
{
    static char buf[1 << 16];
    struct pollfd readable = { .fd = terminal->master, .events = POLLIN };
    ssize_t n = 0;

    /* The kernel hands over what was written a little later: until it is quiet. */
    while (poll(&readable, 1, 50) > 0 && (size_t)n < sizeof buf) {
        ssize_t got = read(terminal->master, buf + n, sizeof buf - (size_t)n);

        if (got <= 0)
            break;
        n += got;
    }

    for (ssize_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)buf[i];

        if (c == '\r') {
            screen->column = 0;
        } else if (c == '\n') {
            screen->row++;
        } else if (c == '\033') {
            int up = 0;

            assert_int_equal(buf[++i], '[');
            while (buf[++i] >= '0' && buf[i] <= '9')
                up = up * 10 + buf[i] - '0';
            if (buf[i] == 'A')
                screen->row -= up;
            else
                assert_true(buf[i] == 'K' || buf[i] == 'J');
            assert_true(screen->row >= 0);
            if (buf[i] == 'A')
                continue;
            memset(screen->line[screen->row] + screen->column, 0,
                   (size_t)(COLUMNS - screen->column));
            for (int r = screen->row + 1; buf[i] == 'J' && r < LINES; r++)
                memset(screen->line[r], 0, COLUMNS);
        } else if ((c & 0xc0) != 0x80) {
            assert_true(screen->row < LINES && screen->column < COLUMNS);
            screen->line[screen->row][screen->column++] = c < 0x80 ? (char)c : '%';
            if (screen->column > screen->widest)
                screen->widest = screen->column;
        }
    }
}

static void test_terminal(void **state)
{
    struct progress_record first = record("disk-2000", 50, PROGRESS_RUNNING);
    struct progress_record second = record("disk-2001", 0, PROGRESS_RUNNING);
    struct screen screen = { .row = 0 };
    struct terminal terminal;
    struct bar *bar;

    (void)state;
    setenv("LC_ALL", "C", 1);
    terminal_open(&terminal, 100, 24);
    bar = bar_open(terminal.out, BAR_AUTO);
    bar_show(bar, 0, &first, "copying");
    bar_show(bar, 1, &second, "waiting");
    screen_read(&terminal, &screen);
    assert_string_equal(screen.line[0], "disk-2000 [##############--------------]  50.0%"
                                        "  2.00 GiB of 4.00 GiB  123 MiB/s  ETA 1:23  copying");
    assert_int_equal(strncmp(screen.line[1], "disk-2001 [---", 14), 0);
    assert_int_equal(screen.row, 2);

    bar_message(bar, "disk-2001 has to wait");
    first = record("disk-2000", 100, PROGRESS_COMPLETED);
    bar_show(bar, 0, &first, NULL);
    bar_close(bar);
    screen_read(&terminal, &screen);
    assert_string_equal(screen.line[0], "disk-2001 has to wait");
    assert_non_null(strstr(screen.line[1], "100.0%  4.00 GiB of 4.00 GiB  123 MiB/s  done"));
    assert_non_null(strstr(screen.line[2], "failed")); /* nobody ended it */
    assert_int_equal(screen.row, 3);
    assert_int_equal(screen.column, 0);
    terminal_close(&terminal);
}

/* Lines of the log stand above the bars, which stay as they are; after the bars, they are on a
 * line of their own. */
static void test_log_lines(void **state)
{
    struct progress_record r = record("disk-2000", 50, PROGRESS_RUNNING);
    FILE *standard_error = stderr;
    struct screen screen = { .row = 0 };
    struct terminal terminal;
    struct bar *bar;

    (void)state;
    terminal_open(&terminal, COLUMNS, 24);
    stderr = terminal.out;
    log_set_format(LOG_PLAIN);
    bar = bar_open(stderr, BAR_AUTO);
    log_notice("job", "before the bars");
    bar_show(bar, 0, &r, "copying");
    for (int i = 0; i < 3; i++)
        log_warning("vsphere", "line %d", i);
    log_debug("vsphere", "not shown");
    screen_read(&terminal, &screen);
    assert_string_equal(screen.line[0], "before the bars");
    assert_string_equal(screen.line[1], "warning: line 0");
    assert_string_equal(screen.line[3], "warning: line 2");
    assert_int_equal(strncmp(screen.line[4], "disk-2000 [", 11), 0);
    assert_int_equal(screen.row, 5);
    bar_close(bar);
    log_notice("job", "after the bars");
    fflush(stderr);
    stderr = standard_error;
    screen_read(&terminal, &screen);
    assert_string_equal(screen.line[screen.row - 1], "after the bars");
    assert_int_equal(screen.column, 0);
    terminal_close(&terminal);
}

/* No line is ever as wide as the terminal, whatever its width. */
static void test_widths(void **state)
{
    struct progress_record r =
        record("a label that is longer than there is room \033[2J", 33.3, PROGRESS_RUNNING);

    (void)state;
    setenv("LC_ALL", "C.UTF-8", 1);
    for (int columns = 2; columns < COLUMNS; columns += 7) {
        struct screen screen = { .row = 0 };
        struct terminal terminal;
        struct bar *bar;

        terminal_open(&terminal, columns, 24);
        bar = bar_open(terminal.out, BAR_AUTO);
        bar_show(bar, 0, &r, "copying");
        bar_close(bar);
        screen_read(&terminal, &screen);
        assert_in_range(screen.widest, 1, columns - 1);
        assert_int_equal(screen.row, 1);
        terminal_close(&terminal);
    }
}

/* Of what failed before it began there is nothing to show; programs are told all the same. */
static void test_never_began(void **state)
{
    struct progress_record r = record("disk", 0, PROGRESS_FAILED);
    enum bar_style styles[] = { BAR_AUTO, BAR_JSON };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        FILE *out = tmpfile();
        struct bar *bar = bar_open(out, styles[i]);

        bar_show(bar, 0, &r, NULL);
        bar_close(bar);
        assert_int_equal(ftell(out) > 0, styles[i] == BAR_JSON);
        fclose(out);
    }
}

/* More disks than lines: those that run are seen, and all of them at the end. */
static void test_many_rows(void **state)
{
    struct screen screen = { .row = 0 };
    struct terminal terminal;
    struct bar *bar;
    char label[32];

    (void)state;
    terminal_open(&terminal, 80, 6);
    bar = bar_open(terminal.out, BAR_AUTO);
    for (unsigned i = 0; i < 20; i++) {
        struct progress_record r = record("", 100, i < 18 ? PROGRESS_COMPLETED : PROGRESS_RUNNING);

        snprintf(r.label, sizeof r.label, "disk-%u", 2000 + i);
        bar_show(bar, i, &r, NULL);
        screen_read(&terminal, &screen);
        assert_in_range(screen.row, 1, 5);
    }
    snprintf(label, sizeof label, "disk-%u", 2018);
    assert_int_equal(strncmp(screen.line[3], label, strlen(label)), 0);
    bar_close(bar);
    screen_read(&terminal, &screen);
    assert_int_equal(screen.row, 20);
    assert_int_equal(strncmp(screen.line[0], "disk-2000 ", 10), 0);
    terminal_close(&terminal);
}

/* A row that was cleared is another one's. */
static void test_rows_again(void **state)
{
    struct progress_record ended = record("app01", 100, PROGRESS_COMPLETED);
    struct progress_record other = record("app02", 10, PROGRESS_RUNNING);
    struct progress_record next = record("app03", 20, PROGRESS_RUNNING);
    struct screen screen = { 0 };
    struct terminal terminal;
    struct bar *bar;

    (void)state;
    terminal_open(&terminal, 80, 24);
    bar = bar_open(terminal.out, BAR_AUTO);
    bar_show(bar, 0, &ended, NULL);
    bar_show(bar, 1, &other, NULL);
    bar_show(bar, 0, &next, NULL); /* it has ended */
    screen_read(&terminal, &screen);
    assert_int_equal(strncmp(screen.line[0], "app01 ", 6), 0);
    bar_clear(bar, 0);
    screen_read(&terminal, &screen);
    assert_int_equal(screen.row, 1);
    assert_int_equal(strncmp(screen.line[0], "app02 ", 6), 0);
    bar_show(bar, 0, &next, NULL);
    screen_read(&terminal, &screen);
    assert_int_equal(screen.row, 2);
    assert_int_equal(strncmp(screen.line[0], "app03 ", 6), 0);
    assert_int_equal(strncmp(screen.line[1], "app02 ", 6), 0);
    bar_clear(bar, 1);
    bar_clear(bar, 0);
    bar_clear(bar, BAR_ROWS_MAX);
    bar_clear(NULL, 0);
    screen_read(&terminal, &screen);
    assert_int_equal(screen.row, 0);
    bar_close(bar);
    terminal_close(&terminal);
}

/* Everything that `style` prints for a row that runs, and one that ends twice. */
static char *printed(enum bar_style style)
{
    struct progress_record r = record("disk-2000", 10, PROGRESS_RUNNING);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct bar *bar = bar_open(out, style);

    bar_message(bar, "hello");
    for (int i = 0; i < 1000; i++)
        bar_show(bar, 0, &r, "copying");
    r = record("disk-2000", 100, PROGRESS_COMPLETED);
    bar_show(bar, 0, &r, NULL);
    bar_show(bar, 0, &r, NULL);
    bar_close(bar);
    fclose(out);
    return text;
}

static void test_lines(void **state)
{
    CLEANUP_FREE char *text = printed(BAR_AUTO);

    (void)state;
    assert_string_equal(text, "hello\ndisk-2000: 100.0%  4.00 GiB of 4.00 GiB  123 MiB/s  done\n");
}

static void test_json(void **state)
{
    CLEANUP_FREE char *text = printed(BAR_JSON);
    int lines = 0;
    char *save;

    (void)state;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct json_object *object = json_tokener_parse(line);

        assert_non_null(object);
        json_object_put(object);
        lines++;
    }
    assert_int_equal(lines, 2);
}

static void test_quiet(void **state)
{
    CLEANUP_FREE char *text = printed(BAR_QUIET);

    (void)state;
    assert_string_equal(text, "");
    bar_show(NULL, 0, NULL, NULL);
    bar_message(NULL, "x");
    bar_close(NULL);
}

static void test_human(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {
        { 0, "0 B" },
        { 1023, "1023 B" },
        { 1024, "1.00 KiB" },
        { 10235, "10.0 KiB" },
        { 1048064, "1.00 MiB" },
        { 1047961, "1023 KiB" },
        { 64 << 20, "64.0 MiB" },
        { 931 * GIB, "931 GiB" },
        { UINT64_MAX, "16.0 EiB" },
    };
    static const struct {
        int64_t seconds;
        const char *text;
    } times[] = {
        { -1, "?" },         { 0, "0:00" },
        { 7, "0:07" },       { 3599, "59:59" },
        { 3600, "1:00:00" }, { 86399, "23:59:59" },
        { 100000, "1d 3h" }, { INT64_MAX, "106751991167300d 15h" },
    };
    char buf[HUMAN_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        assert_string_equal(human_bytes(buf, sizes[i].bytes), sizes[i].text);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        assert_string_equal(human_seconds(buf, times[i].seconds), times[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal),  cmocka_unit_test(test_widths),
        cmocka_unit_test(test_log_lines), cmocka_unit_test(test_never_began),
        cmocka_unit_test(test_many_rows), cmocka_unit_test(test_rows_again),
        cmocka_unit_test(test_lines),     cmocka_unit_test(test_json),
        cmocka_unit_test(test_quiet),     cmocka_unit_test(test_human),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
