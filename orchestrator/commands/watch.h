/* What a command that copies shows and hears while the engine works: a row of the
 * progress bar, and the signals that ask it to stop. */
#ifndef VMFERRY_WATCH_H
#define VMFERRY_WATCH_H

#include <stdatomic.h>

#include "bar.h"
#include "copy/copy.h"

/* One disk's row. */
struct watch {
    struct bar *bar; /* the caller's */
    unsigned row;
    struct progress_meter meter;
    char trouble[400]; /* that was shown last */
};

void watch_init(struct watch *watch, struct bar *bar, unsigned row, const char *label,
                const char *sync_type);
/* For copy_options.progress; `opaque` is the struct watch. */
void watch_progress(void *opaque, const struct copy_progress *now);
/* The row's last record. */
void watch_finish(struct watch *watch, enum progress_state state);

/* From now on the first SIGINT, SIGTERM or SIGHUP sets the value behind the pointer,
 * for copy_options.cancel, and a second one, a quarter of a second later or more, ends the program
 * at once. */
atomic_int *cancel_on_signals(void);

/* auto, json or none, of an option --progress. */
int parse_bar_style(const char *text, enum bar_style *style, struct error **err);

#endif
