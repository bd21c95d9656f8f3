/* libnbd, loaded when the first qcow2 disk is opened. It brings libxml2 and ICU along: linked
 * in, they would be more than half of what it takes to start the nbdkit of a connection,
 * and raw disks have no use for them.
 *
 *     if (libnbd_load(err) < 0) return -1;
 *     libnbd.pread(handle, …)              as nbd_pread(handle, …) */
#ifndef EXPORTMAP_LIBNBD_LAZY_H
#define EXPORTMAP_LIBNBD_LAZY_H

#include <libnbd.h>

#include "error.h"

#define LIBNBD_FUNCTIONS(X)                                                                        \
    X(add_meta_context)                                                                            \
    X(aio_is_closed)                                                                               \
    X(aio_is_dead)                                                                                 \
    X(block_status)                                                                                \
    X(cache)                                                                                       \
    X(can_fast_zero)                                                                               \
    X(can_meta_context)                                                                            \
    X(can_multi_conn)                                                                              \
    X(close)                                                                                       \
    X(connect_socket)                                                                              \
    X(create)                                                                                      \
    X(flush)                                                                                       \
    X(get_errno)                                                                                   \
    X(get_error)                                                                                   \
    X(get_export_description)                                                                      \
    X(get_size)                                                                                    \
    X(pread)                                                                                       \
    X(pwrite)                                                                                      \
    X(set_full_info)                                                                               \
    X(set_pread_initialize)                                                                        \
    X(shutdown)                                                                                    \
    X(trim)                                                                                        \
    X(zero)

#define LIBNBD_MEMBER(name) __typeof__(nbd_##name) *name;
struct libnbd {
    LIBNBD_FUNCTIONS(LIBNBD_MEMBER)
};
#undef LIBNBD_MEMBER

extern struct libnbd libnbd; /* of use after libnbd_load, and never changed again */

/* Thread-safe; again is cheap. It stays loaded. */
int libnbd_load(struct error **err);

#endif
