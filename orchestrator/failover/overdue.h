/* A word about something that takes longer than it should: what comes in is a time and a line,
 * before a call that may block. What goes out: the line, once, when the call has not come back by
 * then. It never ends anything. */
#ifndef VMFERRY_OVERDUE_H
#define VMFERRY_OVERDUE_H

#include <pthread.h>
#include <stdbool.h>

struct overdue {
    unsigned seconds;
    void (*say)(const char *line); /* from another thread; NULL: nobody listens */
    const char *line;

    pthread_t thread;
    bool started;
    bool over; /* protected by the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

void overdue_start(struct overdue *overdue, unsigned seconds, void (*say)(const char *line),
                   const char *line);
void overdue_stop(struct overdue *overdue);

#endif
