/* Cleanup attributes: a resource is released when its variable leaves scope, so
 * that an early return needs no goto.
 *
 *     CLEANUP_FREE char *line = NULL;
 *     CLEANUP_CLOSE int fd = open (...);
 *
 * To hand a resource to the caller, use steal_ptr() or steal_fd(). */
#ifndef VMFERRY_CLEANUP_H
#define VMFERRY_CLEANUP_H

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

static inline void cleanup_free(void *ptr)
{
    free(*(void **)ptr);
}

/* Keeps errno, so that a failing function's reason survives its cleanup. */
static inline void cleanup_close(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}

static inline void cleanup_fclose(FILE **fp)
{
    if (*fp) {
        int saved = errno;
        fclose(*fp);
        errno = saved;
    }
}

static inline void cleanup_unlock(pthread_mutex_t **lock)
{
    if (*lock)
        pthread_mutex_unlock(*lock);
}

#define CLEANUP_FREE   CLEANUP(cleanup_free)
#define CLEANUP_CLOSE  CLEANUP(cleanup_close)
#define CLEANUP_FCLOSE CLEANUP(cleanup_fclose)

#define LOCK_CONCAT_(a, b) a##b
#define LOCK_CONCAT(a, b)  LOCK_CONCAT_(a, b)

/* Hold LOCK (a pthread_mutex_t *) until the end of the enclosing block. */
#define LOCK_SCOPE(lock)                                                                           \
    CLEANUP(cleanup_unlock) pthread_mutex_t *LOCK_CONCAT(held_, __LINE__) = (lock);                \
    pthread_mutex_lock(LOCK_CONCAT(held_, __LINE__))

/* Take the value out of a CLEANUP variable, which then releases nothing. */
#define steal_ptr(ptr)                                                                             \
    __extension__({                                                                                \
        __typeof__(ptr) stolen_ = (ptr);                                                           \
        (ptr) = NULL;                                                                              \
        stolen_;                                                                                   \
    })
#define steal_fd(fd)                                                                               \
    __extension__({                                                                                \
        int stolen_ = (fd);                                                                        \
        (fd) = -1;                                                                                 \
        stolen_;                                                                                   \
    })

#endif
