/* The one log of a process. What comes in: a level, the part that speaks, a text; the job,
 * VM and disk that it is about come from the scope that the thread is in. What goes out: a
 * line on stderr, and for a line about a job one in the store (keep.h). A log line never
 * fails and never blocks on the store.
 *
 *     LOG_JOB(job.id, vm->name);              until the end of this block
 *     LOG_DISK(disk->stored.key, disk->stored.id);
 *     log_notice("job", "resync, comparing every block: %s", reason);
 *     log_problem(LEVEL_WARNING, "vsphere", err, "snapshot %s can't be removed", name);
 *
 * A text has no newline at its end, names neither job nor disk of its scope, and never a
 * secret (a password inside of a URI is masked all the same).
 *
 * Threads: any thread may log. One mutex, in log.c, guards the settings, the two sinks below
 * and the writing of a line; under it only the sinks' own locks are taken (the bar's, the
 * keeper's queue), and neither may log. A scope belongs to its thread: a new thread starts
 * with none and opens its own. */
#ifndef VMFERRY_LOG_H
#define VMFERRY_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "error.h"

/* As syslog's, so that "<3>" is an error. */
enum log_level {
    LEVEL_ERROR = 3,   /* something was not done */
    LEVEL_WARNING = 4, /* done, but somebody should look */
    LEVEL_NOTICE = 5,  /* what the operator wants to know of every run */
    LEVEL_INFO = 6,    /* what happens, step by step */
    LEVEL_DEBUG = 7,
};
const char *log_level_name(enum log_level level); /* error, warning, notice, info, debug */
int log_level_find(const char *name, enum log_level *level);

/* The parts: cli, job, copy, source, vsphere, export, replica, store, failover, guest, api.
 * A new one goes into the table in levels.c, too. */
void log_write(enum log_level level, const char *part, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define log_error(part, ...)   log_write(LEVEL_ERROR, part, __VA_ARGS__)
#define log_warning(part, ...) log_write(LEVEL_WARNING, part, __VA_ARGS__)
#define log_notice(part, ...)  log_write(LEVEL_NOTICE, part, __VA_ARGS__)
#define log_info(part, ...)    log_write(LEVEL_INFO, part, __VA_ARGS__)
#define log_debug(part, ...)   log_write(LEVEL_DEBUG, part, __VA_ARGS__)

/* "TEXT: what err says", with the error's kind and errno as fields of their own. */
void log_problem(enum log_level level, const char *part, const struct error *err, const char *fmt,
                 ...) __attribute__((format(printf, 4, 5)));

/* The error that ends a job: kept with the job, not shown, as the command that the error is
 * returned to shows it at its end, with this job's number. */
void log_failure(const char *part, struct error *err);

/* The last words of a command ("": of vmferry) that failed: on stderr only, at any level. */
void log_end(const char *command, const struct error *err);

/* What the lines of this thread are about; scopes nest, and an inner one adds to its outer. */
struct log_scope {
    const struct log_scope *outer;
    int64_t job;     /* 0: as outside */
    const char *vm;  /* name, the caller's; NULL: as outside */
    int64_t disk_id; /* its row; 0: as outside */
    char disk[24];   /* "disk-2000"; "": as outside */
};
void log_enter_job(struct log_scope *scope, int64_t job, const char *vm);
void log_enter_disk(struct log_scope *scope, int key, int64_t disk_id);
void log_leave(struct log_scope *scope);
#define LOG_SCOPE_NAME_(line) log_scope_##line
#define LOG_SCOPE_NAME(line)  LOG_SCOPE_NAME_(line)
#define LOG_JOB(job, vm)                                                                           \
    CLEANUP(log_leave) struct log_scope LOG_SCOPE_NAME(__LINE__);                                  \
    log_enter_job(&LOG_SCOPE_NAME(__LINE__), job, vm)
#define LOG_DISK(key, disk_id)                                                                     \
    CLEANUP(log_leave) struct log_scope LOG_SCOPE_NAME(__LINE__);                                  \
    log_enter_disk(&LOG_SCOPE_NAME(__LINE__), key, disk_id)

/* Settings */

enum log_format { LOG_PLAIN, LOG_JOURNAL, LOG_JSON };
/* When nobody calls it: LOG_JOURNAL when stderr is the journal's stream, else LOG_PLAIN. */
void log_set_format(enum log_format format);
enum log_format log_get_format(void);

/* "info,vsphere=debug": for all parts, and for one. Of several settings the strongest counts;
 * without one it is notice for LOG_PLAIN and info for the others. ERROR_USAGE when it can't be
 * understood. */
enum log_setter { LOG_BY_CONFIG, LOG_BY_ENVIRONMENT, LOG_BY_OPTION };
int log_set_levels(const char *text, enum log_setter setter, struct error **err);
/* What LOG_BY_OPTION said; false: nothing. */
#define LOG_LEVELS_TEXT 512
bool log_levels_by_option(char text[LOG_LEVELS_TEXT]);

/* Plain lines start with the VM's name: several are worked on at once. */
void log_name_vms(bool yes);

/* Sinks */

/* Who draws on stderr writes our lines: `line` ends with a newline. NULL: nobody does. */
typedef void log_screen(void *opaque, const char *line, bool json);
void log_set_screen(log_screen *screen, void *opaque);

struct log_line {
    int64_t time_ms; /* since 1970 UTC */
    enum log_level level;
    const char *part;
    int64_t job;      /* 0: none */
    const char *vm;   /* NULL: none */
    int64_t disk_id;  /* 0: none */
    const char *disk; /* "" none */
    const char *text;
    const struct error *error; /* NULL: none */
    const char *command;       /* of log_end(); NULL: none */
};
/* Gets each line about a job that stderr gets, and in any case those of LEVEL_INFO and above.
 * Must return at once. */
typedef void log_keeper(void *opaque, const struct log_line *line);
void log_set_keeper(log_keeper *keeper, void *opaque);

/* A line that another process said and kept: on stderr only, as of now. Its text, part, VM and
 * disk are the caller's. */
void log_relay(const struct log_line *line);

/* Only log.c and what prints stored lines need these. */
void log_print_json(FILE *out, const struct log_line *line);
void log_print_plain(FILE *out, const struct log_line *line, bool with_vm);
void log_print_journal(FILE *out, const struct log_line *line);

#endif
