/* Keeps a live source alive while its disks are being read: what comes in is a sync whose disks
 * are served; what goes out: the login is made again when it ran out, and the caller hears when
 * the snapshot has gone. It has a thread of its own, as a source may take long to answer; until
 * it is stopped nobody else may call the source. */
#ifndef VMFERRY_KEEPER_H
#define VMFERRY_KEEPER_H

#include <pthread.h>
#include <stdatomic.h>

#include "job/sync.h"

struct keeper {
    struct sync *sync;
    /* The snapshot is gone: reading on is in vain. Takes *err. */
    void (*gone)(void *opaque, struct error **err);
    void *opaque;
    atomic_int hurry; /* so many disks can't be read: look sooner whether it is the login */

    pthread_t thread;
    bool started;
    bool stop; /* protected by the lock, as is nothing else */
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

/* Nothing to do for a source that is not live. */
void keeper_start(struct keeper *keeper);
void keeper_stop(struct keeper *keeper);

#endif
