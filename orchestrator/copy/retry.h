/* When to try again, and when not to. Delays double from 100 ms to 8 s, so that
 * the default number of tries lasts about a minute. */
#ifndef VMFERRY_COPY_RETRY_H
#define VMFERRY_COPY_RETRY_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#define RETRIES_DEFAULT 12
#define RETRY_LAST_S    8

/* attempt: 1 for the first failure. */
static inline int64_t retry_delay_ns(unsigned attempt)
{
    unsigned doublings = attempt > 7 ? 7 : attempt ? attempt - 1 : 0;
    int64_t delay_ns = INT64_C(100000000) << doublings;

    return delay_ns < INT64_C(8000000000) ? delay_ns : INT64_C(8000000000);
}

/* The same request may succeed soon. What is left out will not go away by asking. */
static inline bool retry_is_worthwhile(int errnum)
{
    switch (errnum) {
    case EINVAL:
    case ENOTSUP:
    case EOVERFLOW:
    case EPERM:
    case EACCES:
    case EROFS:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENODATA:
    case EBADF:
    case EPROTO:
        return false;
    default:
        return true;
    }
}

/* It may succeed when somebody has done something about it. */
static inline bool retry_later_helps(int errnum)
{
    return errnum == ENOSPC || errnum == EDQUOT || errnum == EPERM || errnum == EROFS;
}

#endif
