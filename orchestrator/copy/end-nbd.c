/* An NBD server as an end, by asynchronous libnbd, or a server that we start
 * ourselves for a command in brackets. What comes in: requests; what goes out:
 * their completions, in the order in which the server answers. A connection made
 * anew must find the disk that the first one found, else it is refused. It never
 * connects with TLS unverified, and never leaves without saying goodbye. */
#include "end.h"

#include <libnbd.h>
#include <string.h>

#include "copy/server.h"
#include "tls.h"

#define GOODBYE_NS     (INT64_C(2) * 1000000000)
#define BLOCK_MAX_SPEC (UINT64_C(32) << 20) /* the protocol's limit when a server names none */

struct end_nbd {
    struct end end;
    char *uri;
    char *changes;                    /* a metadata context, or NULL */
    struct nbd_handle *_Atomic spare; /* the first connection, until somebody asks for one */
    int timeout_s;
    struct server *server; /* ours, from a command in brackets; or NULL */
};

static struct end_nbd *nbd_of(struct conn *conn)
{
    return (struct end_nbd *)conn->end;
}

static void goodbye(struct nbd_handle *h, bool drained)
{
    int64_t deadline = monotonic_ns() + GOODBYE_NS;

    if (drained && nbd_aio_is_ready(h) == 1 && nbd_aio_disconnect(h, 0) == 0) {
        while (nbd_aio_is_closed(h) != 1 && nbd_aio_is_dead(h) != 1 && monotonic_ns() < deadline) {
            if (nbd_poll(h, 100) < 0)
                break;
        }
    }
    nbd_close(h);
}

/* libnbd names an export as it asked for it: with the lease, see end_open(). */
static void hide_lease(char *text)
{
    char *name = strstr(text, "export named '");
    char *end = name ? strrchr(name, '\'') : NULL;
    char *lease = end ? memrchr(name, '@', (size_t)(end - name)) : NULL;

    if (lease)
        memmove(lease, end, strlen(end) + 1);
}

static int libnbd_error(struct error **err, const char *doing)
{
    int errnum = nbd_get_errno();
    const char *said = nbd_get_error();
    CLEANUP_FREE char *text = said ? strdup(said) : NULL;

    if (text)
        hide_lease(text);
    error_set(err, "%s: %s", doing, text ? text : "unknown error");
    if (*err)
        (*err)->errnum = errnum;
    return -1;
}

/* libnbd has no errno for a server that closes the connection in mid-handshake, which one that
 * refuses does not: it says so. Where it was closed before libnbd had looked at it once, libnbd
 * takes what poll() says for a fault of its own. */
static int handshake_error(struct error **err)
{
    libnbd_error(err, "connecting");
    if (*err && (strstr(error_message(*err), "server disconnected unexpectedly") ||
                 strstr(error_message(*err), "is invalid in state CONNECT.START"))) {
        error_clear(err);
        error_set(err, "connecting: the server closed the connection in mid-handshake");
        (*err)->errnum = ECONNRESET;
    }
    return -1;
}

/* Wait until the handshake is over. */
static int wait_ready(struct end_nbd *nbd, struct nbd_handle *h, struct error **err)
{
    int64_t deadline = monotonic_ns() + (int64_t)nbd->timeout_s * 1000000000;

    while (nbd_aio_is_connecting(h) == 1 || nbd_aio_is_negotiating(h) == 1) {
        if (nbd->end.cancel && atomic_load(nbd->end.cancel))
            return error_set_kind(err, ERROR_PAUSED, "stopped on request while connecting");
        if (nbd->end.stop && atomic_load(nbd->end.stop))
            return error_set_errno(err, EINTR, "connecting");
        if (monotonic_ns() > deadline)
            return error_set_errno(err, ETIMEDOUT, "connecting (no answer in %d s)",
                                   nbd->timeout_s);
        if (nbd_poll(h, 100) < 0)
            return handshake_error(err);
    }
    if (nbd_aio_is_ready(h) != 1)
        return handshake_error(err);
    return 0;
}

static struct nbd_handle *dial(struct end_nbd *nbd, struct error **err)
{
    struct nbd_handle *h = nbd_create();

    if (!h) {
        libnbd_error(err, "connecting");
        return NULL;
    }
    nbd_set_uri_allow_local_file(h, true);
    /* Buffers are not cleared before a read, and not used after a failed one. */
    nbd_set_pread_initialize(h, false);
    nbd_set_strict_mode(h, nbd_get_strict_mode(h) & ~(uint32_t)LIBNBD_STRICT_ZERO_SIZE);
    if (nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
        (nbd->changes && nbd_add_meta_context(h, nbd->changes) < 0) ||
        nbd_aio_connect_uri(h, nbd->uri) < 0) {
        libnbd_error(err, "connecting");
        if (*err && (*err)->errnum == ENOENT) /* no such socket; later it is no such export */
            (*err)->errnum = ECONNREFUSED;
        nbd_close(h);
        return NULL;
    }
    if (wait_ready(nbd, h, err) < 0) {
        nbd_close(h);
        return NULL;
    }
    return h;
}

static uint64_t block_size(struct nbd_handle *h, int type, uint64_t otherwise)
{
    int64_t size = nbd_get_block_size(h, type);

    return size > 0 ? (uint64_t)size : otherwise;
}

/* What the server says about the disk, into the fields of `end` that it decides. */
static int read_facts(struct end_nbd *nbd, struct nbd_handle *h, struct end *end,
                      struct error **err)
{
    int64_t size = nbd_get_size(h);

    if (size < 0)
        return libnbd_error(err, "reading the disk's size");
    end->size = (uint64_t)size;
    end->block_min = block_size(h, LIBNBD_SIZE_MINIMUM, 1);
    end->block_max = block_size(h, LIBNBD_SIZE_MAXIMUM, BLOCK_MAX_SPEC);
    if (end->block_min & (end->block_min - 1) || end->block_max < end->block_min)
        return error_set(err, "the server's block sizes make no sense: minimum %llu, maximum %llu",
                         (unsigned long long)end->block_min, (unsigned long long)end->block_max);
    end->read_only = nbd_is_read_only(h) == 1;
    end->can_flush = nbd_can_flush(h) == 1;
    end->can_zero = nbd_can_zero(h) == 1;
    end->can_fast_zero = nbd_can_fast_zero(h) == 1;
    end->can_multi = nbd_can_multi_conn(h) == 1;
    end->is_tls = nbd_get_tls_negotiated(h) == 1;
    end->has_extents[EXTENTS_ALLOCATION] =
        nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    end->has_extents[EXTENTS_CHANGES] = nbd->changes && nbd_can_meta_context(h, nbd->changes) == 1;
    if (nbd->changes && !end->has_extents[EXTENTS_CHANGES])
        return error_set_kind(err, ERROR_USAGE, "the server does not offer the metadata context %s",
                              nbd->changes);
    return 0;
}

static bool same_flags(const struct end *a, const struct end *b)
{
    return a->read_only == b->read_only && a->can_flush == b->can_flush &&
           a->can_zero == b->can_zero && a->can_multi == b->can_multi && a->is_tls == b->is_tls &&
           a->block_min == b->block_min && a->block_max == b->block_max &&
           a->has_extents[EXTENTS_ALLOCATION] == b->has_extents[EXTENTS_ALLOCATION];
}

/* Another disk under the same name must not get half of this one's data. */
static int check_same_disk(struct end_nbd *nbd, struct nbd_handle *h, struct error **err)
{
    struct end now = { 0 };

    if (read_facts(nbd, h, &now, err) < 0)
        return -1;
    if (now.size != nbd->end.size)
        return error_set_kind(err, ERROR_USAGE,
                              "the server offers another disk than before: %llu bytes, not %llu",
                              (unsigned long long)now.size, (unsigned long long)nbd->end.size);
    if (!same_flags(&now, &nbd->end))
        return error_set_kind(err, ERROR_USAGE,
                              "the server offers the disk with other abilities than before");
    return 0;
}

static int nbd_end_connect(struct conn *conn, struct error **err)
{
    struct end_nbd *nbd = nbd_of(conn);

    conn->heard_ns = monotonic_ns();
    conn->why[0] = '\0';
    conn->leaving = false;
    conn->handle = atomic_exchange(&nbd->spare, NULL);
    if (conn->handle)
        return 0;
    conn->handle = dial(nbd, err);
    if (!conn->handle)
        return error_prefix(err, "%s", conn->end->name);
    if (check_same_disk(nbd, conn->handle, err) < 0) {
        conn_disconnect(conn, true);
        return error_prefix(err, "%s", conn->end->name);
    }
    conn->heard_ns = monotonic_ns();
    return 0;
}

static bool is_slow(enum op op)
{
    return op == OP_ZERO || op == OP_FLUSH;
}

/* libnbd does not check that an answer is complete; a buffer that was filled in
 * part holds some other block's bytes. Chunks have to come in order, as all servers
 * send them: so what is missing in one place can't be made up for by sending another
 * twice. */
static int on_chunk(void *opaque, const void *data, size_t count, uint64_t offset, unsigned status,
                    int *error)
{
    struct request *req = opaque;

    (void)data;
    (void)error;
    if (status != LIBNBD_READ_ERROR && offset == req->offset + req->received)
        req->received += count;
    return 0;
}

static int on_completion(void *opaque, int *error)
{
    struct request *req = opaque;

    req->errnum = *error;
    if (req->errnum == 0 && req->op == OP_READ && req->received != req->length)
        req->errnum = EPROTO;
    /* This connection will never do anything again, another one may. */
    req->conn->leaving |= req->errnum == ESHUTDOWN;
    req->conn->heard_ns = monotonic_ns();
    return 0; /* retire() forgets the command */
}

/* Not by the callback's returning 1: a command that is answered, or whose connection is lost,
 * while it is issued would be freed then, and libnbd 1.14 reads it once more. */
static void retire(struct nbd_handle *h)
{
    int64_t cookie;

    while ((cookie = nbd_aio_peek_command_completed(h)) > 0)
        nbd_aio_command_completed(h, (uint64_t)cookie);
}

/* Called once for every request that libnbd was given, also when it could not be
 * issued or its connection was closed before the answer. */
static void on_free(void *opaque)
{
    struct request *req = opaque;

    req->conn->in_flight--;
    req->conn->slow_in_flight -= is_slow(req->op);
    request_list_add(req->conn->completed, req);
}

static int on_extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
                      size_t count, int *error)
{
    struct request *req = opaque;
    struct end_nbd *nbd = nbd_of(req->conn);

    (void)error;
    if (nbd->changes && strcmp(context, nbd->changes) == 0)
        req->extents(req, EXTENTS_CHANGES, offset, entries, count / 2);
    else if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0)
        req->extents(req, EXTENTS_ALLOCATION, offset, entries, count / 2);
    return 0;
}

static int64_t issue(struct conn *conn, struct request *req, uint32_t flags)
{
    struct nbd_handle *h = conn->handle;
    nbd_completion_callback done = { .callback = on_completion, .user_data = req, .free = on_free };
    nbd_chunk_callback chunk = { .callback = on_chunk, .user_data = req };
    nbd_extent_callback extents = { .callback = on_extents, .user_data = req };

    switch (req->op) {
    case OP_READ:
        return nbd_aio_pread_structured(h, req->buf, req->length, req->offset, chunk, done, 0);
    case OP_WRITE:
        return nbd_aio_pwrite(h, req->buf, req->length, req->offset, done, 0);
    case OP_ZERO:
        return nbd_aio_zero(h, req->length, req->offset, done, flags);
    case OP_FLUSH:
        return nbd_aio_flush(h, done, 0);
    case OP_STATUS:
        return nbd_aio_block_status(h, req->length, req->offset, extents, done, 0);
    case OP_COPY:
        break; /* end_can_copy() said no */
    }
    return -1;
}

static void nbd_end_start(struct conn *conn, struct request *req)
{
    bool fast = req->op == OP_ZERO && conn->end->can_fast_zero && !req->slow_zero;

    if (conn->in_flight == 0)
        conn->heard_ns = monotonic_ns();
    conn->in_flight++;
    conn->slow_in_flight += is_slow(req->op);
    req->received = 0;
    req->errnum = ENOTCONN; /* until there is an answer */
    if (issue(conn, req, fast ? LIBNBD_CMD_FLAG_FAST_ZERO : 0) < 0 && nbd_get_errno())
        req->errnum = nbd_get_errno();
    retire(conn->handle);
}

static bool nbd_end_is_alive(struct conn *conn)
{
    struct nbd_handle *h = conn->handle;

    return !conn->leaving && nbd_aio_is_dead(h) != 1 && nbd_aio_is_closed(h) != 1;
}

static void nbd_end_prepare_poll(struct conn *conn, struct pollfd *pollfd)
{
    unsigned direction = nbd_aio_get_direction(conn->handle);

    pollfd->fd = nbd_aio_get_fd(conn->handle);
    pollfd->events = (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                             (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
}

static void nbd_end_dispatch(struct conn *conn, const struct pollfd *pollfd)
{
    struct nbd_handle *h = conn->handle;
    unsigned direction = nbd_aio_get_direction(h);

    int r = 0;

    /* A failure kills the handle and completes its requests; that is how it is seen. */
    if ((pollfd->revents & (POLLIN | POLLHUP | POLLERR)) && (direction & LIBNBD_AIO_DIRECTION_READ))
        r = nbd_aio_notify_read(h);
    else if ((pollfd->revents & (POLLOUT | POLLHUP | POLLERR)) &&
             (direction & LIBNBD_AIO_DIRECTION_WRITE))
        r = nbd_aio_notify_write(h);
    if (r < 0)
        snprintf(conn->why, sizeof conn->why, "%s", nbd_get_error());
    retire(h);
}

static void nbd_end_disconnect(struct conn *conn, bool drained)
{
    goodbye(conn->handle, drained && conn->in_flight == 0);
}

static void nbd_end_close(struct end *end)
{
    struct end_nbd *nbd = (struct end_nbd *)end;

    if (nbd->spare)
        goodbye(nbd->spare, true);
    server_stop(nbd->server);
    free(nbd->uri);
    free(nbd->changes);
    free(nbd);
}

static const struct end_ops nbd_ops = {
    .connect = nbd_end_connect,
    .start = nbd_end_start,
    .disconnect = nbd_end_disconnect,
    .is_alive = nbd_end_is_alive,
    .prepare_poll = nbd_end_prepare_poll,
    .dispatch = nbd_end_dispatch,
    .close = nbd_end_close,
};

static struct end_nbd *new_end(const char *uri, const struct end_wants *wants, struct error **err)
{
    struct end_nbd *nbd = calloc(1, sizeof *nbd);

    if (nbd) {
        nbd->end = (struct end){ .ops = &nbd_ops, .stop = wants->stop, .cancel = wants->cancel };
        nbd->uri = strdup(uri);
        nbd->changes = wants->changes ? strdup(wants->changes) : NULL;
        nbd->timeout_s = wants->timeout_s;
    }
    if (!nbd || !nbd->uri || (wants->changes && !nbd->changes)) {
        if (nbd)
            nbd_end_close(&nbd->end);
        error_set_errno(err, ENOMEM, "opening a disk");
        return NULL;
    }
    return nbd;
}

static struct end *open_first(struct end_nbd *nbd, const char *name, struct error **err)
{
    nbd->spare = dial(nbd, err);
    if (!nbd->spare || read_facts(nbd, nbd->spare, &nbd->end, err) < 0) {
        error_prefix(err, "%s", name);
        nbd_end_close(&nbd->end);
        return NULL;
    }
    return &nbd->end;
}

struct end *end_nbd_open(const char *uri, const char *shown, const struct end_wants *wants,
                         struct error **err)
{
    struct end_nbd *nbd;

    if (tls_check_uri(shown, err) < 0)
        return NULL;
    nbd = new_end(uri, wants, err);
    return nbd ? open_first(nbd, shown, err) : NULL;
}

struct end *end_command_open(const char *command, const struct end_wants *wants, struct error **err)
{
    struct server *server = server_start(command, err);
    struct end_nbd *nbd;

    if (!server)
        return NULL;
    nbd = new_end(server_uri(server), wants, err);
    if (!nbd) {
        server_stop(server);
        return NULL;
    }
    nbd->server = server;
    return open_first(nbd, command, err);
}
