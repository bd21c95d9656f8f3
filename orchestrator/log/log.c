/* The log of this process; see log.h. */
#include "log/log.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "escape.h"
#include "log/levels.h"

/* A process has one stderr, and so one log: the one thing here that is nobody's to hand over. */
static struct {
    pthread_mutex_t lock; /* over all below, and the writing of a line */
    bool format_set;
    enum log_format format;
    struct log_levels levels;
    enum log_setter setter;
    bool levels_set;
    char levels_text[LOG_LEVELS_TEXT]; /* that the setter gave */
    bool name_vms;
    log_screen *screen;
    void *screen_opaque;
    log_keeper *keeper;
    void *keeper_opaque;
} state = { .lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local const struct log_scope *innermost;

static void enter(struct log_scope *scope)
{
    scope->outer = innermost;
    innermost = scope;
}

void log_enter_job(struct log_scope *scope, int64_t job, const char *vm)
{
    *scope = (struct log_scope){ .job = job, .vm = vm };
    enter(scope);
}

void log_enter_disk(struct log_scope *scope, int key, int64_t disk_id)
{
    *scope = (struct log_scope){ .disk_id = disk_id };
    snprintf(scope->disk, sizeof scope->disk, "disk-%d", key);
    enter(scope);
}

void log_leave(struct log_scope *scope)
{
    innermost = scope->outer;
}

/* From the scopes, inner ones first. */
static void find_about(struct log_line *line)
{
    line->disk = "";
    for (const struct log_scope *scope = innermost; scope; scope = scope->outer) {
        if (!line->job)
            line->job = scope->job;
        if (!line->vm)
            line->vm = scope->vm;
        if (!line->disk_id)
            line->disk_id = scope->disk_id;
        if (!line->disk[0])
            line->disk = scope->disk;
    }
}

void log_set_format(enum log_format format)
{
    LOCK_SCOPE(&state.lock);
    state.format = format;
    state.format_set = true;
}

int log_set_levels(const char *text, enum log_setter setter, struct error **err)
{
    struct log_levels levels;

    if (log_levels_parse(text, &levels, err) < 0)
        return -1;
    LOCK_SCOPE(&state.lock);
    if (state.levels_set && setter < state.setter)
        return 0;
    state.levels = levels;
    state.setter = setter;
    state.levels_set = true;
    snprintf(state.levels_text, sizeof state.levels_text, "%s", text);
    return 0;
}

bool log_levels_by_option(char text[LOG_LEVELS_TEXT])
{
    LOCK_SCOPE(&state.lock);
    memcpy(text, state.levels_text, LOG_LEVELS_TEXT);
    return state.levels_set && state.setter == LOG_BY_OPTION;
}

void log_name_vms(bool yes)
{
    LOCK_SCOPE(&state.lock);
    state.name_vms = yes;
}

void log_set_screen(log_screen *screen, void *opaque)
{
    LOCK_SCOPE(&state.lock);
    state.screen = screen;
    state.screen_opaque = opaque;
}

void log_set_keeper(log_keeper *keeper, void *opaque)
{
    LOCK_SCOPE(&state.lock);
    state.keeper = keeper;
    state.keeper_opaque = opaque;
}

/* systemd tells device and inode of the stream that it reads; stderr may be another one. */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static enum log_format format(void)
{
    if (!state.format_set) {
        state.format = is_journal() ? LOG_JOURNAL : LOG_PLAIN;
        state.format_set = true;
    }
    return state.format;
}

enum log_format log_get_format(void)
{
    LOCK_SCOPE(&state.lock);
    return format();
}

/* People have bars and results to look at; programs and the journal get what happens, too. */
static enum log_level level_of(const char *part)
{
    if (state.levels_set)
        return log_levels_of(&state.levels, part);
    return format() == LOG_PLAIN ? LEVEL_NOTICE : LEVEL_INFO;
}

/* With the lock held. */
static void show(const struct log_line *line)
{
    CLEANUP_FREE char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return;
    if (format() == LOG_JSON)
        log_print_json(out, line);
    else if (format() == LOG_JOURNAL)
        log_print_journal(out, line);
    else
        log_print_plain(out, line, state.name_vms);
    if (fclose(out) != 0)
        return;
    if (state.screen)
        state.screen(state.screen_opaque, text, format() == LOG_JSON);
    else
        fwrite(text, 1, size, stderr);
}

enum { TO_SCREEN = 1, TO_KEEPER = 2 };

static void take(struct log_line *line, char *text, int where)
{
    struct timespec now;
    bool wanted;

    if (!text) /* there was no memory for it */
        return;
    mask_secrets(text);
    line->text = text;
    clock_gettime(CLOCK_REALTIME, &now);
    line->time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    LOCK_SCOPE(&state.lock);
    wanted = line->command || line->level <= level_of(line->part);
    if (wanted && where & TO_SCREEN)
        show(line);
    if (line->job && where & TO_KEEPER && state.keeper && (wanted || line->level <= LEVEL_INFO))
        state.keeper(state.keeper_opaque, line);
}

void log_write(enum log_level level, const char *part, const char *fmt, ...)
{
    struct log_line line = { .level = level, .part = part };
    CLEANUP_FREE char *text = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    find_about(&line);
    take(&line, text, TO_SCREEN | TO_KEEPER);
}

void log_problem(enum log_level level, const char *part, const struct error *err, const char *fmt,
                 ...)
{
    struct log_line line = { .level = level, .part = part, .error = err };
    CLEANUP_FREE char *text = NULL;
    CLEANUP_FREE char *whole = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    if (text && asprintf(&whole, "%s: %s", text, error_message(err)) < 0)
        whole = NULL;
    find_about(&line);
    take(&line, whole, TO_SCREEN | TO_KEEPER);
}

void log_failure(const char *part, struct error *err)
{
    struct log_line line = { .level = LEVEL_ERROR, .part = part, .error = err };
    CLEANUP_FREE char *text = strdup(error_message(err));

    find_about(&line);
    error_set_job(err, line.job);
    take(&line, text, TO_KEEPER);
}

void log_end(const char *command, const struct error *err)
{
    struct log_line line = {
        .level = LEVEL_ERROR, .part = "cli", .error = err, .command = command, .disk = ""
    };
    CLEANUP_FREE char *text = strdup(error_message(err));

    line.job = err ? err->job : 0;
    take(&line, text, TO_SCREEN);
}

void log_relay(const struct log_line *from)
{
    CLEANUP_FREE char *text = strdup(from->text);
    struct log_line line = *from;

    take(&line, text, TO_SCREEN);
}
