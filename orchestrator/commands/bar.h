/* The progress of a command, as people and programs want to see it:
 *
 *   on a terminal     one bar a row, drawn in place, 10 times a second at most
 *   without one       a line a row every 5 seconds, and one at its end; JSON lines when the
 *                     log is JSON
 *   BAR_JSON          the record as a JSON line every second, and at its end
 *   BAR_QUIET         nothing
 *
 * Write it to stderr: stdout is for the result. What goes in is the record of a
 * progress_meter, one row for each disk; the bar keeps no figures of its own.
 *
 *     CLEANUP_BAR struct bar *bar = bar_open(stderr, quiet ? BAR_QUIET : BAR_AUTO);
 *     progress_meter_update(&meter, done, total, progress_now_ns());
 *     bar_show(bar, 0, &meter.record, "copying");      as often as you like
 *     progress_meter_finish(&meter, PROGRESS_COMPLETED, progress_now_ns());
 *     bar_show(bar, 0, &meter.record, NULL);           drawn at once
 *
 * The lines of the log (log/log.h) go above the bars of a bar on stderr, of which there is
 * one at a time.
 *
 * Close it before an error message is printed. Thread-safe, as the disks of one
 * VM are copied in threads of their own. It never fails: without memory it is quiet. */
#ifndef VMFERRY_BAR_H
#define VMFERRY_BAR_H

#include <stdio.h>

#include "cleanup.h"
#include "progress.h"

#define BAR_ROWS_MAX 64 /* rows beyond are not shown */

enum bar_style { BAR_AUTO, BAR_JSON, BAR_QUIET };

struct bar;

/* `out` is the caller's and stays open. NULL without memory, which all functions take. */
struct bar *bar_open(FILE *out, enum bar_style style);

/* The newest record of a row (0, 1, …; rows appear in that order). `operation`
 * is a word or two for people, "copying", or NULL. A record whose state is not
 * PROGRESS_RUNNING ends its row. Both are copied. */
void bar_show(struct bar *bar, unsigned row, const struct progress_record *record,
              const char *operation);

/* Forget a row, so that it can be another one's. */
void bar_clear(struct bar *bar, unsigned row);

/* A line of text above the bars; nothing under BAR_QUIET and BAR_JSON. */
void bar_message(struct bar *bar, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Draw what is newest and leave the cursor on a line of its own. Rows that nobody
 * has ended are shown as failed. */
void bar_close(struct bar *bar);

static inline void cleanup_bar(struct bar **bar)
{
    bar_close(*bar);
}
#define CLEANUP_BAR CLEANUP(cleanup_bar)

#endif
