/* What takes too long is said; see overdue.h. */
#include "failover/overdue.h"

#include <time.h>

#include "cleanup.h"

static void *wait_for_it(void *opaque)
{
    struct overdue *overdue = opaque;
    struct timespec until;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += overdue->seconds;
    LOCK_SCOPE(&overdue->lock);
    while (!overdue->over && r == 0)
        r = pthread_cond_clockwait(&overdue->wake, &overdue->lock, CLOCK_MONOTONIC, &until);
    if (!overdue->over)
        overdue->say(overdue->line);
    return NULL;
}

void overdue_start(struct overdue *overdue, unsigned seconds, void (*say)(const char *line),
                   const char *line)
{
    *overdue = (struct overdue){ .seconds = seconds, .say = say, .line = line };
    pthread_mutex_init(&overdue->lock, NULL);
    pthread_cond_init(&overdue->wake, NULL);
    /* Without a thread nothing is said. */
    overdue->started = say && pthread_create(&overdue->thread, NULL, wait_for_it, overdue) == 0;
}

void overdue_stop(struct overdue *overdue)
{
    if (!overdue->started)
        return;
    pthread_mutex_lock(&overdue->lock);
    overdue->over = true;
    pthread_cond_signal(&overdue->wake);
    pthread_mutex_unlock(&overdue->lock);
    pthread_join(overdue->thread, NULL);
}
