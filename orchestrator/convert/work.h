/* What the parts of a conversion's worker share. */
#ifndef VMFERRY_CONVERT_WORK_H
#define VMFERRY_CONVERT_WORK_H

#include "convert/convert.h"
#include "convert/look.h"

struct work {
    const struct convert_request *request;
    FILE *out;                /* messages to who asked */
    char directory[PATH_MAX]; /* the worker's own, removed with all in it at the end */
    const struct look *look;
};

/* For people, and for the log. */
void work_say(const struct work *work, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Append to the log alone. */
void work_log(const struct work *work, const char *text);
/* Run a program; all that it says goes to the log. */
int work_run(const struct work *work, const char *const argv[], int timeout_ms, struct error **err);

/* An error when this worker was told to end: before each long step. */
int work_go_on(struct error **err);

/* The engines. Each converts the disks of the request in place. */
int engine_v2v(const struct work *work, struct error **err);
int engine_native(const struct work *work, struct error **err);
int engine_native_linux(const struct work *work, struct error **err);
int engine_native_windows(const struct work *work, struct error **err);

/* What can be known to be missing before anything is written. */
int engine_v2v_check(const struct work *work, struct error **err);
int engine_native_check(const struct work *work, struct error **err);

#endif
