/* The error type; see error.h. */
#include "error.h"

#include <stdarg.h>
#include <string.h>

/* Out of memory while reporting an error must not hide that there was one. */
static struct error out_of_memory = { ERROR_FAILED, ENOMEM, 0, "out of memory" };

/* Not strerror(): other threads report errors, too. */
static const char *describe(int errnum)
{
    const char *text = strerrordesc_np(errnum);

    return text ? text : "unknown error";
}

static int set(struct error **err, enum error_kind kind, int errnum, const char *fmt, va_list args)
{
    CLEANUP_FREE char *text = NULL;
    struct error *e = malloc(sizeof *e);

    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    if (e && text) {
        *e = (struct error){ .kind = kind, .errnum = errnum };
        if (errnum == 0)
            e->message = steal_ptr(text);
        else if (asprintf(&e->message, "%s: %s", text, describe(errnum)) < 0)
            e->message = NULL;
    }
    if (!e || !e->message) {
        free(e);
        e = &out_of_memory;
    }
    *err = e;
    return -1;
}

int error_set(struct error **err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    set(err, ERROR_FAILED, 0, fmt, args);
    va_end(args);
    return -1;
}

int error_set_kind(struct error **err, enum error_kind kind, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    set(err, kind, 0, fmt, args);
    va_end(args);
    return -1;
}

int error_set_errno(struct error **err, int errnum, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    set(err, ERROR_FAILED, errnum, fmt, args);
    va_end(args);
    return -1;
}

/* Without memory the message stays as it is. */
static void join(struct error *err, const char *first, const char *between, const char *last)
{
    char *message;

    if (asprintf(&message, "%s%s%s", first, between, last) < 0)
        return;
    free(err->message);
    err->message = message;
}

int error_prefix(struct error **err, const char *fmt, ...)
{
    CLEANUP_FREE char *context = NULL;
    va_list args;

    if (*err == NULL || *err == &out_of_memory)
        return -1;
    va_start(args, fmt);
    if (vasprintf(&context, fmt, args) < 0)
        context = NULL;
    va_end(args);
    if (context)
        join(*err, context, ": ", (*err)->message);
    return -1;
}

int error_append(struct error **err, const char *fmt, ...)
{
    CLEANUP_FREE char *more = NULL;
    va_list args;

    if (*err == NULL || *err == &out_of_memory)
        return -1;
    va_start(args, fmt);
    if (vasprintf(&more, fmt, args) < 0)
        more = NULL;
    va_end(args);
    if (more)
        join(*err, (*err)->message, "; ", more);
    return -1;
}

int error_move(struct error **err, struct error **from)
{
    *err = steal_ptr(*from);
    return -1;
}

void error_set_job(struct error *err, int64_t job)
{
    if (err && err != &out_of_memory)
        err->job = job;
}

const char *error_message(const struct error *err)
{
    return err ? err->message : "unknown error";
}

void error_free(struct error *err)
{
    if (err == NULL || err == &out_of_memory)
        return;
    free(err->message);
    free(err);
}

void error_clear(struct error **err)
{
    error_free(*err);
    *err = NULL;
}
