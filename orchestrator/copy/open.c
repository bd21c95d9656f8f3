/* The ends of a copy, opened. What comes in: names. What goes out: both ends, the source's facts
 * learnt, or the reason why not. A server that does not answer is waited for, when the caller
 * can go on later anyway; it decides nothing else. */
#include <string.h>
#include <time.h>

#include "copy/retry.h"
#include "copy/run.h"
#include "copy/trouble.h"

#define TICK_MS 100

unsigned run_timeout_s(const struct copy_options *options)
{
    return options->timeout_s > 0 ? (unsigned)options->timeout_s : 60;
}

unsigned run_patience_s(const struct copy_options *options)
{
    unsigned timeout_s = run_timeout_s(options);

    if (options->patience_s || options->retries)
        return options->patience_s;
    return timeout_s + timeout_s / 2 > PATIENCE_S ? timeout_s + timeout_s / 2 : PATIENCE_S;
}

/* As many as the patience lasts for. */
unsigned run_retries(const struct copy_options *options)
{
    if (options->retries)
        return options->retries;
    return options->patience_s > PATIENCE_S
               ? RETRIES_DEFAULT + (options->patience_s - PATIENCE_S) / RETRY_LAST_S
               : RETRIES_DEFAULT;
}

static struct end *open_end(struct run *run, enum end_role role, uint64_t size, struct error **err)
{
    bool is_source = role == END_SOURCE;
    struct end_wants wants = {
        .role = role,
        .changes = is_source && run->changes_context ? run->options->changes : NULL,
        .create = !is_source && !run_is_delta(run) && !run->options->compare,
        .size = size,
        .timeout_s = (int)run_timeout_s(run->options),
        .stop = &run->stop,
        .cancel = run->options->cancel,
    };

    return end_open(is_source ? run->src_name : run->dst_name, &wants, err);
}

static bool is_cancelled(const struct run *run)
{
    return run->options->cancel && atomic_load(run->options->cancel);
}

/* Says so all the time, as others do; until the next try is due, or somebody stops us. */
static void wait_and_tell(const struct run *run, struct trouble *trouble, int64_t until_ns)
{
    const struct timespec tick = { .tv_nsec = TICK_MS * 1000000 };
    char text[TROUBLE_TEXT];

    while (monotonic_ns() < until_ns && !is_cancelled(run)) {
        struct copy_progress now = { .operation = "opening" };

        if (trouble_text(trouble, monotonic_ns(), false, text))
            now.trouble = text;
        if (run->options->progress && now.trouble)
            run->options->progress(run->options->opaque, &now);
        nanosleep(&tick, NULL);
    }
}

/* A destination that was refused stays refused; but its server may just be starting again. */
static bool may_pass(enum end_role role, const struct error *why)
{
    return why->kind == ERROR_FAILED && (role == END_SOURCE || why->errnum == ECONNREFUSED ||
                                         why->errnum == ECONNRESET || why->errnum == EPIPE);
}

/* False: there is no use in trying again. */
static bool is_worth_trying(const struct run *run, unsigned tries, int64_t began_ns)
{
    unsigned patience_s = run_patience_s(run->options);

    return !is_cancelled(run) && tries <= run_retries(run->options) &&
           (!patience_s || monotonic_ns() - began_ns < patience_s * INT64_C(1000000000));
}

/* One that was there a moment ago, as its session may end just then. */
static struct end *open_patiently(struct run *run, enum end_role role, uint64_t size,
                                  struct error **err)
{
    enum trouble_part part = role == END_SOURCE ? TROUBLE_SOURCE : TROUBLE_DESTINATION;
    struct trouble trouble;
    int64_t began_ns = monotonic_ns();
    struct end *end;

    trouble_init(&trouble, run_retries(run->options), "source");
    for (unsigned tries = 1;; tries++) {
        CLEANUP_ERROR struct error *why = NULL;

        end = open_end(run, role, size, &why);
        if (end)
            break;
        if (!may_pass(role, why) || !is_worth_trying(run, tries, began_ns)) {
            if (may_pass(role, why))
                why->kind = ERROR_PAUSED;
            error_move(err, &why);
            break;
        }
        trouble_failed(&trouble, part, tries, error_message(why), began_ns);
        wait_and_tell(run, &trouble, monotonic_ns() + retry_delay_ns(tries));
    }
    trouble_destroy(&trouble);
    return end;
}

int copy_reach(const char *dst, const struct copy_options *options, struct error **err)
{
    struct run run = { .dst_name = dst, .options = options };
    struct end *end = open_patiently(&run, END_DESTINATION, 0, err);

    end_close(end);
    return end ? 0 : -1;
}

static struct end *open_source(struct run *run, struct error **err)
{
    if (run->options->resumable && end_is_remote(run->src_name))
        return open_patiently(run, END_SOURCE, 0, err);
    return open_end(run, END_SOURCE, run->dst ? run->dst->size : 0, err);
}

static struct end *open_destination(struct run *run, struct error **err)
{
    if (run->options->resumable && end_is_remote(run->dst_name))
        return open_patiently(run, END_DESTINATION, run->src->size, err);
    return open_end(run, END_DESTINATION, run->src->size, err);
}

int run_open_ends(struct run *run, struct error **err)
{
    /* A source of zeroes is as long as the destination. */
    if (strcmp(run->src_name, "null:") == 0) {
        run->dst = open_end(run, END_DESTINATION, 0, err);
        if (!run->dst)
            return error_prefix(err, "destination");
    }
    run->src = open_source(run, err);
    if (!run->src)
        return error_prefix(err, "source");
    if (!run->dst)
        run->dst = open_destination(run, err);
    if (!run->dst)
        return error_prefix(err, "destination");
    return 0;
}
