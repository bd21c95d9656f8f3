/* The heartbeat; see beat.h. */
#include "job/beat.h"

#include <inttypes.h>
#include <time.h>

#define LOOK_MS 100
#define READ_MS 700 /* how often the row is read */
#define TRY_MS  1000

struct claim_beat {
    struct claim *claim;
    struct store *store; /* the beating thread's */
    int64_t lease_ms;
    uint64_t default_rate;
    const struct admission *admission;
    atomic_int *cancel;
    pthread_t beating, looking;
    unsigned started;   /* threads */
    atomic_bool hushed; /* we end the job ourselves */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool ending;            /* protected by the lock, as is all below */
    int64_t valid_until_ms; /* the lease, by beat_clock_ms() */
    enum claim_wish wish;
    atomic_int *also; /* set with the claim's stop; NULL: none */
    char lost[512];
    bool by_signal; /* a pause was not asked for by `vmferry job pause` */
    bool silent;    /* it was lost as the database did not answer: nobody else need have it */
};

int64_t beat_clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The lock is held. Losing it outweighs all else, a cancel a pause. */
static void wish(struct claim_beat *beat, enum claim_wish what)
{
    if (what > beat->wish)
        beat->wish = what;
    if (beat->wish == CLAIM_GO_ON)
        return;
    atomic_store(&beat->claim->stop, 1);
    if (beat->also)
        atomic_store(beat->also, 1);
}

void beat_stop_also(struct claim_beat *beat, atomic_int *flag)
{
    LOCK_SCOPE(&beat->lock);
    beat->also = flag;
    if (flag && beat->wish != CLAIM_GO_ON)
        atomic_store(flag, 1);
}

static void say_lost(struct claim_beat *beat, const struct store_job *job)
{
    int64_t id = beat->claim->job.id;
    char owner[OWNER_TEXT];

    LOCK_SCOPE(&beat->lock);
    if (beat->wish == CLAIM_LOST)
        return;
    beat->silent = !job;
    if (!job)
        snprintf(beat->lost, sizeof beat->lost,
                 "job %" PRId64 " is paused: the database did not answer, and without its lease "
                 "(%" PRId64 " s) a worker may not go on; when it answers again, `vmferry job "
                 "resume %" PRId64 "` does",
                 id, beat->lease_ms / 1000, id);
    else if (job->fence != beat->claim->job.fence)
        snprintf(beat->lost, sizeof beat->lost, "this worker lost job %" PRId64 " to %s", id,
                 owner_text(job, owner));
    else
        snprintf(beat->lost, sizeof beat->lost,
                 "this worker lost job %" PRId64 ": somebody ended it (%s)", id, job->status);
    wish(beat, CLAIM_LOST);
}

void beat_hush(struct claim_beat *beat)
{
    atomic_store(&beat->hushed, true);
}

void beat_lost(struct claim *claim, const struct store_job *job)
{
    say_lost(claim->beat, job);
}

/* The row as it is. An error is no reason to stop: the clock tells. */
static void read_row(struct claim_beat *beat)
{
    struct claim *claim = beat->claim;
    CLEANUP_ERROR struct error *ignored = NULL;
    struct store_job job;
    bool closed;

    if (store_job_get(beat->store, claim->job.id, &job, &ignored) < 0)
        return;
    if (job.fence != claim->job.fence || strcmp(job.status, "running") != 0) {
        if (job.fence != claim->job.fence || !atomic_load(&beat->hushed))
            say_lost(beat, &job);
        return;
    }
    atomic_store(&claim->rate,
                 admission_rate(beat->store, beat->admission, &job,
                                job.rate >= 0 ? (uint64_t)job.rate : beat->default_rate, &closed));
    LOCK_SCOPE(&beat->lock);
    if (closed)
        wish(beat, CLAIM_WINDOW);
    if (strcmp(job.wanted, "pause") == 0)
        wish(beat, CLAIM_PAUSE);
    else if (strcmp(job.wanted, "cancel") == 0)
        wish(beat, CLAIM_CANCEL);
}

/* While nobody else has taken the job, it is ours, even when the lease had run out. */
static bool renew(struct claim_beat *beat)
{
    const struct store_job *job = &beat->claim->job;
    CLEANUP_ERROR struct error *problem = NULL;
    int64_t asked_ms = beat_clock_ms(), now;

    if (beat_wish(beat) == CLAIM_LOST)
        return false;
    if (store_clock_ms(beat->store, &now, &problem) < 0 ||
        store_claim_renew(beat->store, job->id, job->fence, now + beat->lease_ms, &problem) < 0)
        return false;
    LOCK_SCOPE(&beat->lock);
    beat->valid_until_ms = asked_ms + beat->lease_ms;
    return true;
}

/* The lock is held; false when the end has come. */
static bool wait_ms(struct claim_beat *beat, int64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (ms % 1000) * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (!beat->ending)
        pthread_cond_clockwait(&beat->wake, &beat->lock, CLOCK_MONOTONIC, &until);
    return !beat->ending;
}

static bool pause_ms(struct claim_beat *beat, int64_t ms)
{
    LOCK_SCOPE(&beat->lock);
    return wait_ms(beat, ms);
}

static void *beat_thread(void *opaque)
{
    struct claim_beat *beat = opaque;
    int64_t renewed_ms = beat_clock_ms();

    while (pause_ms(beat, READ_MS)) {
        if (beat_clock_ms() - renewed_ms >= beat->lease_ms / 3 - READ_MS && renew(beat))
            renewed_ms = beat_clock_ms();
        read_row(beat);
    }
    return NULL;
}

/* A process that was stopped wakes up with its lease run out: the beat is given the time to
 * renew it before it is given up. Meanwhile nothing can be written that is not ours. */
static void *look_thread(void *opaque)
{
    struct claim_beat *beat = opaque;
    int64_t out_since_ms = 0, now;
    bool out;

    do {
        if (beat->cancel && atomic_load(beat->cancel)) {
            LOCK_SCOPE(&beat->lock);
            beat->by_signal |= beat->wish < CLAIM_PAUSE;
            wish(beat, CLAIM_PAUSE);
        }
        now = beat_clock_ms();
        pthread_mutex_lock(&beat->lock);
        out = now > beat->valid_until_ms;
        pthread_mutex_unlock(&beat->lock);
        if (!out)
            out_since_ms = 0;
        else if (!out_since_ms)
            out_since_ms = now;
        else if (now - out_since_ms > 2 * READ_MS)
            say_lost(beat, NULL);
    } while (pause_ms(beat, LOOK_MS));
    return NULL;
}

static void beat_free(struct claim_beat *beat)
{
    store_close(beat->store);
    pthread_mutex_destroy(&beat->lock);
    pthread_cond_destroy(&beat->wake);
    free(beat);
}

int beat_start(struct claim *claim, struct store *store, const struct claim_wants *wants,
               int64_t lease_ms, int64_t valid_until_ms, struct error **err)
{
    struct claim_beat *beat = calloc(1, sizeof *beat);

    if (!beat)
        return error_set_errno(err, ENOMEM, "starting the heartbeat");
    *beat = (struct claim_beat){ .claim = claim,
                                 .lease_ms = lease_ms,
                                 .default_rate = wants->rate,
                                 .admission = wants->admission,
                                 .cancel = wants->cancel,
                                 .valid_until_ms = valid_until_ms };
    pthread_mutex_init(&beat->lock, NULL);
    pthread_cond_init(&beat->wake, NULL);
    if (store_again(store, &beat->store, err) < 0) {
        beat_free(beat);
        return -1;
    }
    store_set_patience(beat->store, TRY_MS); /* it tries again by itself, and ends when told to */
    claim->beat = beat;
    if (pthread_create(&beat->looking, NULL, look_thread, beat) == 0) {
        beat->started = 1;
        if (pthread_create(&beat->beating, NULL, beat_thread, beat) == 0)
            beat->started = 2;
    }
    if (beat->started == 2)
        return 0;
    beat_stop(claim);
    return error_set_errno(err, EAGAIN, "starting the heartbeat");
}

void beat_stop(struct claim *claim)
{
    struct claim_beat *beat = claim->beat;

    if (!beat)
        return;
    pthread_mutex_lock(&beat->lock);
    beat->ending = true;
    pthread_cond_broadcast(&beat->wake);
    pthread_mutex_unlock(&beat->lock);
    if (beat->started > 0)
        pthread_join(beat->looking, NULL);
    if (beat->started > 1)
        pthread_join(beat->beating, NULL);
    beat_free(beat);
    claim->beat = NULL;
}

enum claim_wish beat_wish(struct claim_beat *beat)
{
    LOCK_SCOPE(&beat->lock);
    return beat->wish;
}

bool beat_was_signalled(struct claim_beat *beat)
{
    LOCK_SCOPE(&beat->lock);
    return beat->by_signal;
}

int beat_error(struct claim_beat *beat, struct error **err)
{
    LOCK_SCOPE(&beat->lock);
    error_set_kind(err, beat->silent ? ERROR_PAUSED : ERROR_FAILED, "%s", beat->lost);
    (*err)->errnum = ESTALE;
    return -1;
}
