/* "null:": as a source, zeroes as long as the destination; as a destination, a
 * place where everything fits and nothing is kept. It never fails. */
#include "end.h"

#include <string.h>

static int null_connect(struct conn *conn, struct error **err)
{
    (void)err;
    conn->handle = conn->end;
    return 0;
}

static void null_start(struct conn *conn, struct request *req)
{
    if (req->op == OP_READ)
        memset(req->buf, 0, req->length);
    if (req->op == OP_STATUS) {
        uint32_t entry[2] = { (uint32_t)req->length, 3 /* hole, zero */ };

        req->extents(req, EXTENTS_ALLOCATION, req->offset, entry, 1);
    }
    request_list_add(conn->completed, req);
}

static void null_disconnect(struct conn *conn, bool drained)
{
    (void)conn;
    (void)drained;
}

static void null_close(struct end *end)
{
    free(end);
}

static const struct end_ops null_ops = {
    .connect = null_connect,
    .start = null_start,
    .disconnect = null_disconnect,
    .close = null_close,
};

struct end *end_null_open(const struct end_wants *wants, struct error **err)
{
    struct end *end;

    if (wants->changes) {
        error_set_kind(err, ERROR_USAGE, "null: has no metadata context %s", wants->changes);
        return NULL;
    }
    end = calloc(1, sizeof *end);
    if (!end) {
        error_set_errno(err, ENOMEM, "opening null:");
        return NULL;
    }
    *end = (struct end){ .ops = &null_ops,
                         .size = wants->size,
                         .block_min = 1,
                         .block_max = UINT32_MAX,
                         .can_flush = true,
                         .can_zero = true,
                         .can_multi = true,
                         .has_extents = { true, false },
                         .is_local = true,
                         .is_null = true };
    return end;
}
