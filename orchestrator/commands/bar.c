/* Progress bars, lines and JSON lines; see bar.h.
 *
 * On a terminal every row ends with a newline and the next drawing moves the
 * cursor up again: whatever kills us, the shell's prompt finds a line of its own. */
#include "bar.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#include "human.h"
#include "log/log.h"

#define NS_PER_SECOND   1000000000LL
#define DRAW_INTERVAL   (NS_PER_SECOND / 10)
#define LINE_INTERVAL   (NS_PER_SECOND * 5)
#define JSON_INTERVAL   NS_PER_SECOND
#define LABEL_MAX       28 /* columns */
#define BAR_COLUMNS_MIN 6
#define BAR_COLUMNS_MAX 40
#define DEFAULT_COLUMNS 80
#define DEFAULT_LINES   24
#define FIGURES_MAX     160
#define TEXT_MAX        512

enum output { OUTPUT_NONE, OUTPUT_BARS, OUTPUT_LINES, OUTPUT_JSON };

struct row {
    struct progress_record record;
    char operation[24];
    int64_t said_ns; /* when a line was last printed */
    bool used;
    bool over; /* its last record has been shown */
};

struct bar {
    pthread_mutex_t lock;
    FILE *out;
    enum output output;
    bool utf8;
    int64_t drawn_ns;
    unsigned drawn; /* lines of the terminal that the bars take now */
    unsigned nr_rows;
    struct row rows[BAR_ROWS_MAX];
};

static bool is_terminal(FILE *out)
{
    const char *term = getenv("TERM");
    int fd = fileno(out);

    return fd >= 0 && isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

/* The locale of the user, whether or not the program has called setlocale. */
static bool locale_is_utf8(void)
{
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    bool utf8;

    if (locale == (locale_t)0)
        return false;
    utf8 = strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
    freelocale(locale);
    return utf8;
}

/* Labels come from other systems: no control character reaches the terminal, and
 * columns are counted a character each. Cuts at `columns`; returns those used. */
static int print_text(char *buf, size_t size, const char *text, int columns, bool utf8)
{
    size_t used = 0;
    int column = 0;

    for (const unsigned char *s = (const unsigned char *)text; *s && used + 1 < size; s++) {
        bool continues = utf8 && (*s & 0xc0) == 0x80;

        if (!continues && ++column > columns) {
            column = columns;
            break;
        }
        buf[used++] = (*s < 0x20 || *s == 0x7f || (*s >= 0x80 && !utf8)) ? '?' : (char)*s;
    }
    buf[used] = '\0';
    return column;
}

static const char *ending(const struct row *row)
{
    switch (row->record.state) {
    case PROGRESS_COMPLETED:
        return "done";
    case PROGRESS_RUNNING:
        return row->operation;
    default:
        return progress_state_name(row->record.state);
    }
}

/* "  45.2%  1.20 GiB of 3.40 GiB  123 MiB/s  ETA 1:23  copying", ASCII only. */
static void print_figures(char *buf, size_t size, const struct row *row)
{
    const struct progress_record *record = &row->record;
    char done[HUMAN_MAX], total[HUMAN_MAX], rate[HUMAN_MAX], eta[HUMAN_MAX + 8] = "";
    int tenths = (int)(record->percent * 10);

    if (record->state == PROGRESS_RUNNING)
        snprintf(eta, sizeof eta, "  ETA %s", human_seconds(total, record->eta_seconds));
    snprintf(buf, size, "%3d.%d%%  %s of %s  %s/s%s%s%.16s", tenths / 10, tenths % 10,
             human_bytes(done, record->bytes_done), human_bytes(total, record->bytes_total),
             human_bytes(rate, record->throughput), eta, *ending(row) ? "  " : "", ending(row));
}

/* The bar alone. In UTF-8 eighths of a column, else '#' and '-'. */
static void print_bar(char *buf, size_t size, double percent, int columns, bool utf8)
{
    static const char *const eighths[] = { " ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█" };
    int filled = (int)(percent / 100 * columns * 8);
    size_t used = 0;

    for (int column = 0; column < columns && used + 4 < size; column++) {
        int part = filled - column * 8;

        part = part < 0 ? 0 : part > 8 ? 8 : part;
        used += (size_t)snprintf(buf + used, size - used, "%s",
                                 utf8        ? eighths[part]
                                 : part == 8 ? "#"
                                             : "-");
    }
}

static void draw_row(struct bar *bar, const struct row *row, int columns)
{
    char label[sizeof row->record.label], figures[FIGURES_MAX], blocks[TEXT_MAX];
    int label_columns, bar_columns;

    print_figures(figures, sizeof figures, row);
    label_columns = print_text(label, sizeof label, row->record.label, LABEL_MAX, bar->utf8);
    /* label, space, bracket, bar, bracket, space, figures, and the last column free:
     * a terminal may wrap there */
    bar_columns = columns - 1 - label_columns - 4 - (int)strlen(figures);
    if (bar_columns > BAR_COLUMNS_MAX)
        bar_columns = BAR_COLUMNS_MAX;
    if (bar_columns >= BAR_COLUMNS_MIN) {
        print_bar(blocks, sizeof blocks, row->record.percent, bar_columns, bar->utf8);
        fprintf(bar->out, "\r%s%s[%s] %s\033[K\n", label, label_columns ? " " : "", blocks,
                figures);
        return;
    }
    /* Too narrow for a bar: as much of the text as fits. */
    snprintf(blocks, sizeof blocks, "%s%s%s", label, label_columns ? " " : "", figures);
    print_text(figures, sizeof figures, blocks, columns > 1 ? columns - 1 : 1, bar->utf8);
    fprintf(bar->out, "\r%s\033[K\n", figures);
}

static void erase(struct bar *bar)
{
    if (bar->drawn > 0)
        fprintf(bar->out, "\r\033[%uA\033[J", bar->drawn);
    bar->drawn = 0;
}

/* All rows, or as many as the screen has lines for, those that still run first. */
static void draw(struct bar *bar, bool last)
{
    struct winsize window = { 0 };
    unsigned room, running = 0, skip = 0;
    int columns;

    if (ioctl(fileno(bar->out), TIOCGWINSZ, &window) < 0 || window.ws_col == 0)
        window.ws_col = DEFAULT_COLUMNS;
    columns = window.ws_col;
    room = (window.ws_row ? window.ws_row : DEFAULT_LINES) - 1;
    for (unsigned i = 0; i < bar->nr_rows; i++)
        running += bar->rows[i].used && !bar->rows[i].over;
    if (!last && bar->nr_rows > room)
        skip = bar->nr_rows - room;

    /* Move up without erasing, so that nothing flickers. */
    if (bar->drawn > 0)
        fprintf(bar->out, "\r\033[%uA", bar->drawn);
    bar->drawn = 0;
    for (unsigned i = 0; i < bar->nr_rows && (last || bar->drawn < room); i++) {
        const struct row *row = &bar->rows[i];

        if (!row->used)
            continue;
        if (row->over && skip > 0 && running > 0) {
            skip--;
            continue;
        }
        draw_row(bar, row, columns);
        bar->drawn++;
    }
    fputs("\033[J", bar->out);
    fflush(bar->out);
}

static void show_bars(struct bar *bar, bool at_once, int64_t now)
{
    if (!at_once && now - bar->drawn_ns < DRAW_INTERVAL)
        return;
    bar->drawn_ns = now;
    draw(bar, false);
}

static void show_line(struct bar *bar, struct row *row, bool at_once, int64_t now)
{
    char label[sizeof row->record.label], figures[FIGURES_MAX];

    if (!at_once && now - row->said_ns < LINE_INTERVAL)
        return;
    row->said_ns = now;
    print_text(label, sizeof label, row->record.label, (int)sizeof label, bar->utf8);
    print_figures(figures, sizeof figures, row);
    fprintf(bar->out, "%s%s%s\n", label, *label ? ": " : "", figures + strspn(figures, " "));
    fflush(bar->out);
}

static void show_json(struct bar *bar, struct row *row, bool at_once, int64_t now)
{
    char json[PROGRESS_JSON_MAX];

    if (!at_once && now - row->said_ns < JSON_INTERVAL)
        return;
    row->said_ns = now;
    progress_record_to_json(&row->record, json, sizeof json);
    fprintf(bar->out, "%s\n", json);
    fflush(bar->out);
}

void bar_show(struct bar *bar, unsigned index, const struct progress_record *record,
              const char *operation)
{
    int64_t now = progress_now_ns();
    struct row *row;
    bool first, last;

    if (bar == NULL || index >= BAR_ROWS_MAX)
        return;
    LOCK_SCOPE(&bar->lock);
    row = &bar->rows[index];
    if (row->over)
        return;
    first = !row->used;
    last = record->state != PROGRESS_RUNNING;
    /* What ended before it began has only its message to say. */
    if (first && last && record->state != PROGRESS_COMPLETED && bar->output != OUTPUT_JSON)
        return;
    row->record = *record;
    snprintf(row->operation, sizeof row->operation, "%s", operation ? operation : "");
    row->used = true;
    row->over = last;
    if (index >= bar->nr_rows)
        bar->nr_rows = index + 1;
    /* A line is worth its place only when something has gone on for a while. */
    if (first && bar->output == OUTPUT_LINES)
        row->said_ns = now;

    switch (bar->output) {
    case OUTPUT_NONE:
        break;
    case OUTPUT_BARS:
        show_bars(bar, first || last, now);
        break;
    case OUTPUT_LINES:
        show_line(bar, row, last, now);
        break;
    case OUTPUT_JSON:
        show_json(bar, row, first || last, now);
        break;
    }
}

/* The log's lines go above the bars. Among JSON records only JSON is welcome. */
static void show_log_line(void *opaque, const char *line, bool json)
{
    struct bar *bar = opaque;

    if (bar->output == OUTPUT_JSON && !json)
        return;
    LOCK_SCOPE(&bar->lock);
    erase(bar);
    fputs(line, bar->out);
    if (bar->output == OUTPUT_BARS)
        draw(bar, false);
    fflush(bar->out);
}

struct bar *bar_open(FILE *out, enum bar_style style)
{
    struct bar *bar = calloc(1, sizeof *bar);

    if (bar == NULL)
        return NULL;
    pthread_mutex_init(&bar->lock, NULL);
    bar->out = out;
    bar->utf8 = locale_is_utf8();
    if (style == BAR_QUIET)
        bar->output = OUTPUT_NONE;
    else if (style == BAR_JSON)
        bar->output = OUTPUT_JSON;
    else if (is_terminal(out))
        bar->output = OUTPUT_BARS;
    else
        bar->output = log_get_format() == LOG_JSON ? OUTPUT_JSON : OUTPUT_LINES;
    if (out == stderr)
        log_set_screen(show_log_line, bar);
    return bar;
}

void bar_clear(struct bar *bar, unsigned index)
{
    if (bar == NULL || index >= BAR_ROWS_MAX)
        return;
    LOCK_SCOPE(&bar->lock);
    bar->rows[index] = (struct row){ 0 };
    while (bar->nr_rows > 0 && !bar->rows[bar->nr_rows - 1].used)
        bar->nr_rows--;
    if (bar->output == OUTPUT_BARS && bar->drawn > 0) {
        erase(bar);
        draw(bar, false);
    }
}

void bar_message(struct bar *bar, const char *fmt, ...)
{
    va_list args;

    if (bar == NULL || bar->output == OUTPUT_NONE || bar->output == OUTPUT_JSON)
        return;
    LOCK_SCOPE(&bar->lock);
    erase(bar);
    va_start(args, fmt);
    vfprintf(bar->out, fmt, args);
    va_end(args);
    fputc('\n', bar->out);
    if (bar->output == OUTPUT_BARS)
        draw(bar, false);
    fflush(bar->out);
}

void bar_close(struct bar *bar)
{
    if (bar == NULL)
        return;
    if (bar->out == stderr)
        log_set_screen(NULL, NULL);
    /* What nobody has ended was left on the way of an error. */
    for (unsigned i = 0; i < bar->nr_rows; i++) {
        struct progress_record record = bar->rows[i].record;

        record.state = PROGRESS_FAILED;
        record.eta_seconds = -1;
        if (bar->rows[i].used)
            bar_show(bar, i, &record, NULL);
    }
    if (bar->output == OUTPUT_BARS && bar->nr_rows > 0) {
        erase(bar);
        draw(bar, true);
    }
    pthread_mutex_destroy(&bar->lock);
    free(bar);
}
