/* The one error type outside nbdkit's own callbacks: a message that says what
 * failed, with the chain of what was being done in front of it:
 *
 *     replicating app01: disk-2000: reading map.txt: line 7: length is negative
 *
 * A function that can fail returns -1 (or NULL) and takes `struct error **err`
 * as its last parameter; *err must be NULL on entry and is set exactly when the
 * function fails. `err` itself may not be NULL. The caller owns *err; declare it
 * with CLEANUP_ERROR.
 *
 *     CLEANUP_ERROR struct error *err = NULL;
 *     if (changemap_load(path, &map, &err) < 0)
 *         return error_prefix(errp, ...)   or print error_message(err)
 *
 * Never put a password or a secret into a message. */
#ifndef VMFERRY_ERROR_H
#define VMFERRY_ERROR_H

#include <stdint.h>

#include "cleanup.h"

/* What became of the work; main() turns it into the exit status (design: 0 done,
 * 1 failed, 2 wrong use, 3 paused and resumable). */
enum error_kind { ERROR_FAILED = 1, ERROR_USAGE = 2, ERROR_PAUSED = 3 };

struct error {
    enum error_kind kind;
    int errnum;    /* the errno behind it, or 0 */
    int64_t job;   /* that it ended, and whose log has it already; 0: none */
    char *message; /* without a newline */
};

/* Each of these sets *err and returns -1, so that callers can write
 * `return error_set(err, ...)`. */
int error_set(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int error_set_kind(struct error **err, enum error_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* As error_set, then ": " and strerror(errnum); errnum is kept. */
int error_set_errno(struct error **err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Put "CONTEXT: " before the message of the error that *err holds. */
int error_prefix(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* It ended this job. */
void error_set_job(struct error *err, int64_t job);
/* Put "; MORE" behind it: what somebody else has to say about the same failure. */
int error_append(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Give *from to *err (the outer function's) and clear *from. */
int error_move(struct error **err, struct error **from);

/* Never NULL; "unknown error" when err is NULL. */
const char *error_message(const struct error *err);
void error_free(struct error *err);
/* Free and forget, to try again. */
void error_clear(struct error **err);

static inline void cleanup_error(struct error **err)
{
    error_free(*err);
}
#define CLEANUP_ERROR CLEANUP(cleanup_error)

#endif
