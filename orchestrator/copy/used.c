/* How much there is to copy; see used.h. */
#include "copy/used.h"

#include "copy/end.h"
#include "digest.h"

#define QUESTION_MAX (UINT64_C(1) << 31)
#define LIMIT_NS     (INT64_C(5) * 1000000000)
#define TIMEOUT_S    30
#define POLL_MS      100
#define IS_CHANGED   1 /* of a dirty bitmap */
#define IS_ZERO      2 /* of base:allocation */

struct survey {
    enum extents_kind kind;
    uint64_t answered; /* up to this offset */
    uint64_t counted;  /* blocks before this one are */
    uint64_t bytes;
};

static void count(struct survey *survey, uint64_t offset, uint64_t length)
{
    uint64_t first = offset / DIGEST_BLOCK;
    uint64_t end = (offset + length + DIGEST_BLOCK - 1) / DIGEST_BLOCK;

    if (first < survey->counted)
        first = survey->counted;
    if (end <= first)
        return;
    survey->bytes += (end - first) * DIGEST_BLOCK;
    survey->counted = end;
}

static void on_extents(struct request *req, enum extents_kind kind, uint64_t offset,
                       const uint32_t *entries, size_t pairs)
{
    struct survey *survey = req->owner;

    if (kind != survey->kind)
        return;
    for (size_t i = 0; i < pairs; i++) {
        uint32_t length = entries[2 * i], flags = entries[2 * i + 1];

        if (kind == EXTENTS_CHANGES ? flags & IS_CHANGED : !(flags & IS_ZERO))
            count(survey, offset, length);
        offset += length;
    }
    if (offset > survey->answered)
        survey->answered = offset;
}

/* One question, until it is answered or the time is over. */
static int ask(struct conn *conn, struct request *req, int64_t deadline_ns)
{
    conn_start(conn, req);
    while (!request_list_take(conn->completed)) {
        struct pollfd pollfd = { .fd = -1 };

        if (monotonic_ns() > deadline_ns || !conn_is_alive(conn))
            return -1;
        conn->end->ops->prepare_poll(conn, &pollfd);
        if (poll(&pollfd, 1, POLL_MS) < 0 && errno != EINTR)
            return -1;
        conn->end->ops->dispatch(conn, &pollfd);
    }
    return req->errnum ? -1 : 0;
}

static void walk(struct end *end, struct conn *conn, struct survey *survey)
{
    int64_t deadline_ns = monotonic_ns() + LIMIT_NS;
    bool open = true; /* nothing is in flight */

    while (open && survey->answered < end->size) {
        uint64_t from = survey->answered, length = end->size - from;
        struct request req = { .op = OP_STATUS,
                               .offset = from,
                               .length = length < QUESTION_MAX ? length : QUESTION_MAX,
                               .extents = on_extents,
                               .owner = survey };

        open = ask(conn, &req, deadline_ns) == 0 && survey->answered > from;
        if (!open) /* the answer must not come when `req` is gone */
            conn_disconnect(conn, false);
    }
    conn_disconnect(conn, true);
}

int copy_used(const char *src, const char *changes, uint64_t *bytes, struct error **err)
{
    struct end_wants wants = { .role = END_SOURCE, .changes = changes, .timeout_s = TIMEOUT_S };
    struct survey survey = { .kind = changes ? EXTENTS_CHANGES : EXTENTS_ALLOCATION };
    struct request_list completed;
    struct end *end = end_open(src, &wants, err);
    struct conn conn = { .end = end, .completed = &completed };

    *bytes = 0;
    if (!end)
        return -1;
    request_list_init(&completed);
    if (end->has_extents[survey.kind]) {
        if (conn_connect(&conn, err) < 0) {
            end_close(end);
            return -1;
        }
        walk(end, &conn, &survey);
    }
    /* All of it is what a server says that does not know. */
    *bytes = survey.bytes < end->size ? survey.bytes : 0;
    end_close(end);
    return 0;
}
