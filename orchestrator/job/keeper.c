/* A source's session during a copy; see keeper.h. */
#include "job/keeper.h"

#include <time.h>

#include "log/log.h"

#define KEEP_MS  15000
#define HURRY_MS 3000
#define TICK_MS  500

/* What fails here is no reason to stop: reads tell. */
static void keep(struct keeper *keeper)
{
    struct source *source = keeper->sync->from.source;
    CLEANUP_ERROR struct error *ignored = NULL;
    CLEANUP_ERROR struct error *gone = NULL;

    if (source->kind->keep(source, &ignored) == 0 && sync_check_moment(keeper->sync, &gone) < 0 &&
        gone->errnum == ESTALE)
        keeper->gone(keeper->opaque, &gone);
}

/* False: it is to stop. */
static bool wait_a_tick(struct keeper *keeper)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    LOCK_SCOPE(&keeper->lock);
    if (!keeper->stop)
        pthread_cond_clockwait(&keeper->wake, &keeper->lock, CLOCK_MONOTONIC, &until);
    return !keeper->stop;
}

static void *run(void *opaque)
{
    struct keeper *keeper = opaque;
    LOG_JOB(keeper->sync->job.id, keeper->sync->vm->name);
    int64_t last_ns = progress_now_ns();

    while (wait_a_tick(keeper)) {
        int64_t interval_ms = atomic_load(&keeper->hurry) ? HURRY_MS : KEEP_MS;

        if (progress_now_ns() - last_ns < interval_ms * 1000000)
            continue;
        keep(keeper);
        last_ns = progress_now_ns();
    }
    return NULL;
}

void keeper_start(struct keeper *keeper)
{
    pthread_mutex_init(&keeper->lock, NULL);
    pthread_cond_init(&keeper->wake, NULL);
    /* Without a thread the login lasts as long as it lasts. */
    keeper->started = sync_is_live(keeper->sync) && keeper->sync->from.source->kind->keep &&
                      pthread_create(&keeper->thread, NULL, run, keeper) == 0;
}

void keeper_stop(struct keeper *keeper)
{
    if (!keeper->started)
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->stop = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->lock);
    pthread_join(keeper->thread, NULL);
    keeper->started = false;
}
