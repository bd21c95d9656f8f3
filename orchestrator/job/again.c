/* The database was away; see again.h. */
#include "job/again.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "job/claim.h"
#include "job/owner.h"
#include "log/log.h"

#define PATIENCE_S 90
#define TRY_MS     1000
#define LOOK_MS    500

enum answer { ANSWER_NONE, ANSWER_OURS, ANSWER_HELD, ANSWER_GONE };

/* ANSWER_HELD: a heartbeat that was under way when we stopped may have renewed the lease. */
static enum answer look(struct store *store, const struct again *again, struct store_job *job)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    int64_t now;

    if (store_job_get(store, again->job_id, job, &ignored) < 0)
        return store_last_failure(store) == STORE_LOST || store_last_failure(store) == STORE_BUSY
                   ? ANSWER_NONE
                   : ANSWER_GONE;
    if (store_clock_ms(store, &now, &ignored) < 0)
        return ANSWER_NONE;
    if (job->fence != again->fence || strcmp(job->status, "running") != 0)
        return ANSWER_GONE;
    return claim_is_alive(job, now) ? ANSWER_HELD : ANSWER_OURS;
}

/* Somebody did something with the job meanwhile. */
static int tell(const struct again *again, const struct store_job *job, struct error **err)
{
    char owner[OWNER_TEXT];

    if (!job->id)
        return -1;
    error_clear(err);
    if (strcmp(job->status, "paused") == 0)
        return error_set_kind(err, ERROR_PAUSED, "job %" PRId64 " is paused: %s", job->id,
                              job->error);
    if (job->fence == again->fence || !store_job_is_open(job))
        error_set(err, "this worker lost job %" PRId64 ": somebody ended it (%s)", job->id,
                  job->status);
    else
        error_set(err, "this worker lost job %" PRId64 " to %s", job->id, owner_text(job, owner));
    (*err)->errnum = ESTALE;
    return -1;
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int wait_for_it(struct store *store, const struct again *again, struct error **err)
{
    unsigned patience_s = again->patience_s ? again->patience_s : PATIENCE_S;
    int64_t until = now_ms() + (int64_t)patience_s * 1000;
    bool answered = false;

    for (;;) {
        struct store_job job = { 0 };

        switch (look(store, again, &job)) {
        case ANSWER_OURS:
            log_notice("job", "the database answers again: going on with job %" PRId64,
                       again->job_id);
            error_clear(err);
            return 0;
        case ANSWER_GONE:
            return tell(again, &job, err);
        case ANSWER_HELD:
            answered = true; /* it ends by itself, within one lease */
            break;
        case ANSWER_NONE:
            break;
        }
        if ((again->cancel && atomic_load(again->cancel)) || (!answered && now_ms() > until))
            return -1;
        nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * 1000000L }, NULL);
    }
}

int again_wait(struct store *store, const struct again *again, struct error **err)
{
    int r;

    if ((*err)->errnum != ESTALE || (*err)->kind != ERROR_PAUSED)
        return -1;
    log_warning("job", "the database does not answer: job %" PRId64 " waits for it, %u s at most",
                again->job_id, again->patience_s ? again->patience_s : PATIENCE_S);
    store_set_patience(store, TRY_MS);
    r = wait_for_it(store, again, err);
    store_set_patience(store, 0);
    return r;
}
