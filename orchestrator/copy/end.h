/* One end of a copy: an NBD server, a local file or block device, or "null:".
 * What comes in: a name and requests (offset, length, buffer, all bytes). What
 * goes out: the facts of the disk behind it and each request's completion.
 * An end never retries, never reorders what it is given and never decides what
 * to copy; it reports exactly what the server or the kernel said. */
#ifndef VMFERRY_COPY_END_H
#define VMFERRY_COPY_END_H

#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum end_role { END_SOURCE, END_DESTINATION };

/* What block status can tell; the second is the `changes` context of the source. */
enum extents_kind { EXTENTS_ALLOCATION, EXTENTS_CHANGES };
#define EXTENTS_KINDS 2

enum op { OP_READ, OP_WRITE, OP_ZERO, OP_FLUSH, OP_STATUS, OP_COPY };

struct conn;

/* Belongs to the caller, who leaves it alone from conn_start() until it turns up
 * on the connection's list of completed requests. */
struct request {
    enum op op;
    uint64_t offset;
    uint64_t length;
    struct end *from; /* OP_COPY: the end whose same range is written here; see end_can_copy() */
    void *buf;        /* OP_READ, OP_WRITE. After a failed read its content is undefined */
    /* OP_STATUS: called, before completion, once for each kind that the end
     * knows, with `entries` pairs of length and flags as NBD defines them for the
     * metadata context. `pairs` counts pairs. */
    void (*extents)(struct request *req, enum extents_kind kind, uint64_t offset,
                    const uint32_t *entries, size_t pairs);
    bool slow_zero; /* OP_ZERO: take as long as it takes; else ENOTSUP when it is not fast */
    int errnum;     /* the result: 0, or an errno; ENOTCONN when the connection is gone */

    /* The caller's. */
    void *owner;
    unsigned attempts;
    int64_t not_before_ns;

    /* The end's. */
    struct conn *conn;
    uint64_t received;    /* OP_READ: bytes of the answer so far */
    struct request *next; /* in a request_list */
};

struct request_list {
    struct request *head;
    struct request **tail;
};

static inline void request_list_init(struct request_list *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static inline void request_list_add(struct request_list *list, struct request *req)
{
    req->next = NULL;
    *list->tail = req;
    list->tail = &req->next;
}

static inline struct request *request_list_take(struct request_list *list)
{
    struct request *req = list->head;

    if (req) {
        list->head = req->next;
        if (!list->head)
            list->tail = &list->head;
    }
    return req;
}

struct end_ops;

/* The facts are fixed by end_open(); a connection made later must agree with them. */
struct end {
    const struct end_ops *ops;
    enum end_role role;
    char *name;         /* as the user wrote it, for messages: without a lease */
    uint64_t size;      /* bytes */
    uint64_t block_min; /* requests start and end at multiples of it (or at the disk's end) */
    uint64_t block_max; /* longest read or write */
    bool read_only;
    bool can_flush;
    bool can_zero;      /* zeroes can be written without sending them */
    bool can_fast_zero; /* and quickly, or refused */
    bool can_multi;     /* several connections see one another's writes after a flush */
    bool has_extents[EXTENTS_KINDS];
    bool is_local; /* requests complete before conn_start() returns; connections never drop */
    bool is_tls;
    bool reads_zero; /* just created by us: all zeroes */
    bool is_null;
    uint64_t grown;           /* bytes just added at its end, by us: zeroes */
    bool must_fit;            /* a regular file: a disk of another size is not its copy */
    uint64_t identity[2];     /* local: of the file or device; 0, 0: nothing to compare */
    uint64_t birth_ns;        /* regular file: another one under the same name has another; or 0 */
    const atomic_bool *stop;  /* waiting for a connection ends early when it is set… */
    const atomic_int *cancel; /* …or this one; NULL: nobody does */
};

/* One connection, used by one thread. Zero-initialised, then `end` and `completed` set. */
struct conn {
    struct end *end;
    struct request_list *completed;
    void *handle;            /* the end's; NULL: not connected */
    unsigned in_flight;      /* requests started and not completed */
    unsigned slow_in_flight; /* those of them that may take long: OP_ZERO, OP_FLUSH */
    int64_t heard_ns;        /* when it last completed something, or had nothing to do */
    bool leaving;            /* the server said that it is shutting down */
    char why[200];           /* it was lost, in words; "" when nobody knows */
};

struct end_ops {
    int (*connect)(struct conn *conn, struct error **err);
    void (*start)(struct conn *conn, struct request *req);
    void (*disconnect)(struct conn *conn, bool drained);
    /* For ends that are not local. */
    bool (*is_alive)(struct conn *conn);
    void (*prepare_poll)(struct conn *conn, struct pollfd *pollfd);
    void (*dispatch)(struct conn *conn, const struct pollfd *pollfd);
    /* See end_discard(); may be NULL. */
    void (*discard)(struct end *end);
    void (*close)(struct end *end);
};

/* What end_open() is asked for. */
struct end_wants {
    enum end_role role;
    const char *changes; /* source: a metadata context that must be there; or NULL */
    bool create;         /* destination: a regular file may be created or made longer… */
    uint64_t size;       /* …to this; a "null:" source has this size */
    bool direct;         /* bypass the page cache where the file system can */
    int timeout_s;       /* to connect */
    const atomic_bool *stop;
    const atomic_int *cancel;
};

/* Open NAME, connect once, learn the facts. Errors: ERROR_USAGE for a name that is
 * wrong or a disk that cannot serve, ERROR_FAILED otherwise. */
struct end *end_open(const char *name, const struct end_wants *wants, struct error **err);
/* It is an NBD URI. */
bool end_is_remote(const char *name);
/* Every connection must be disconnected. Nothing to do on NULL. */
void end_close(struct end *end);
/* Nothing will be written after all: the file that was made or lengthened for it is as it
 * was. To be closed all the same. */
void end_discard(struct end *end);

/* Both are the same local file or device. */
static inline bool end_is_same(const struct end *a, const struct end *b)
{
    return a->identity[1] && a->identity[0] == b->identity[0] && a->identity[1] == b->identity[1];
}

/* Whether OP_COPY works from one to the other: two regular files that the kernel can
 * copy between, without the data passing through our memory. */
bool end_can_copy(const struct end *from, const struct end *to);

/* Called by end_open(); `shown`: the name for messages. */
struct end *end_nbd_open(const char *uri, const char *shown, const struct end_wants *wants,
                         struct error **err);
struct end *end_command_open(const char *command, const struct end_wants *wants,
                             struct error **err);
struct end *end_file_open(const char *path, const struct end_wants *wants, struct error **err);
struct end *end_null_open(const struct end_wants *wants, struct error **err);

static inline int conn_connect(struct conn *conn, struct error **err)
{
    return conn->end->ops->connect(conn, err);
}

static inline void conn_start(struct conn *conn, struct request *req)
{
    req->conn = conn;
    req->errnum = 0;
    conn->end->ops->start(conn, req);
}

static inline bool conn_is_alive(struct conn *conn)
{
    return conn->handle && (conn->end->is_local || conn->end->ops->is_alive(conn));
}

/* Say goodbye and close. When requests are still in flight they complete with
 * ENOTCONN; `drained` promises that there are none. */
static inline void conn_disconnect(struct conn *conn, bool drained)
{
    if (conn->handle)
        conn->end->ops->disconnect(conn, drained);
    conn->handle = NULL;
}

int64_t monotonic_ns(void);

#endif
