/* Transactions, and trying again; see store.h and driver.h.
 *
 * A connection that is lost in a COMMIT leaves open whether it happened. So every
 * transaction writes a random token into table `transactions`, and the question is
 * settled over a new connection by writing the same token there: a duplicate says that
 * the COMMIT happened, and a token that could be written that it never will, because the
 * other one then can't be any more (the database waits for one that is still open). */
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "store/statement.h"

#define FIRST_PAUSE_MS 4
#define LAST_PAUSE_MS  1000
#define OLD_TOKEN_MS   (7 * 86400000LL) /* nobody has been waiting for an answer that long */

int64_t store_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t monotonic_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

enum store_failure store_last_failure(const struct store *store)
{
    return store->failure;
}

void store_set_patience(struct store *store, int64_t ms)
{
    store->patience_ms = ms;
}

static void sleep_ms(int64_t ms)
{
    struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    nanosleep(&ts, NULL);
}

/* Between half of it and all of it: those that collided do not meet again. */
static int64_t jitter(int64_t ms)
{
    unsigned random = 0;

    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = 0;
    return ms / 2 + (int64_t)random % (ms / 2 + 1);
}

int store_retry(struct store *store, store_work work, void *opaque, struct error **err)
{
    int64_t give_up =
        monotonic_ms() + (store->patience_ms ? store->patience_ms : STORE_PATIENCE_MS);
    int64_t pause = FIRST_PAUSE_MS;

    for (;;) {
        store->failure = STORE_FINE;
        if (work(store, opaque, err) == 0)
            return 0;
        if (store->failure != STORE_BUSY && store->failure != STORE_LOST)
            return -1;
        if (store->failure == STORE_LOST)
            store->driver->disconnect(store);
        if (monotonic_ms() + pause > give_up)
            return -1;
        error_clear(err);
        sleep_ms(jitter(pause));
        pause = pause * 2 < LAST_PAUSE_MS ? pause * 2 : LAST_PAUSE_MS;
    }
}

static int begin_once(struct store *store, void *sql, struct error **err)
{
    if (store->driver->connect(store, err) < 0 || store->driver->execute(store, sql, err) < 0)
        return -1;
    store->in_transaction = true;
    store->doomed = store->wrote = false;
    return 0;
}

static int cannot_nest(struct store *store, struct error **err)
{
    return error_set(err, "%s: a transaction is open already", store->path);
}

int store_begin(struct store *store, struct error **err)
{
    if (store->in_transaction)
        return cannot_nest(store, err);
    return store_retry(store, begin_once, (void *)store->driver->begin, err);
}

void store_rollback(struct store *store)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    enum store_failure failure = store->failure;

    if (!store->in_transaction)
        return;
    store->in_transaction = store->doomed = false;
    /* A connection that can't even say so is of no use any more. */
    if (failure == STORE_LOST || store->driver->execute(store, "ROLLBACK", &ignored) < 0)
        store->driver->disconnect(store);
    store->failure = failure;
}

static int new_token(char token[static TOKEN_SIZE], struct error **err)
{
    unsigned char random[16];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return error_set_errno(err, errno, "random numbers");
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(token + 2 * i, 3, "%02x", random[i]);
    return 0;
}

/* A token that only settles what became of a transaction has no time. */
static int insert_token(struct store *store, char *token, int64_t time, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "INSERT INTO transactions (token, created_at) VALUES (?, ?)");

    bind_text(&s, token);
    bind_int(&s, time);
    return run(&s, err);
}

/* In place of the token of this handle's last transaction: it has one row at most. */
static int write_token(struct store *store, char *token, int64_t time, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE transactions SET token = ?, created_at = ? WHERE token = ?");
    int64_t count = 0;

    if (store->token[0]) {
        bind_text(&s, token);
        bind_int(&s, time);
        bind_text(&s, store->token);
        if (run_count(&s, &count, err) < 0)
            return -1;
    }
    return count ? 0 : insert_token(store, token, time, err);
}

struct settling {
    char *token;
    bool happened;
};

static void read_happened(struct statement *s, void *happened)
{
    *(bool *)happened = take_int(s) != 0;
}

static int read_token(struct store *store, struct settling *settling, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT created_at FROM transactions WHERE token = ?");
    bool found;

    bind_text(&s, settling->token);
    if (read_first(&s, read_happened, &settling->happened, &found, err) < 0)
        return -1;
    if (found)
        return 0;
    store->failure = STORE_BUSY; /* it went while this looked */
    return error_set(err, "%s: a token is not there", store->path);
}

static int write_settlement(struct store *store, struct settling *settling, struct error **err)
{
    if (write_token(store, settling->token, 0, err) == 0)
        return 0;
    if (store->failure != STORE_UNIQUE)
        return -1;
    error_clear(err);
    return read_token(store, settling, err);
}

static int settle_once(struct store *store, void *settling, struct error **err)
{
    if (begin_once(store, (void *)store->driver->begin, err) < 0)
        return -1;
    if (write_settlement(store, settling, err) < 0 ||
        store->driver->execute(store, "COMMIT", err) < 0) {
        store_rollback(store);
        return -1;
    }
    store->in_transaction = false;
    return 0;
}

/* The answer to a COMMIT was lost: 0 when it happened. */
static int settle(struct store *store, char *token, struct error **err)
{
    CLEANUP_ERROR struct error *reason = NULL;
    struct settling settling = { .token = token };

    store->driver->disconnect(store);
    if (store_retry(store, settle_once, &settling, &reason) < 0) {
        store->failure = STORE_OTHER;
        return error_set(err,
                         "%s: the connection was lost in a transaction, and whether that was "
                         "written can't be found out: %s",
                         store->path, error_message(reason));
    }
    strcpy(store->token, token);
    if (settling.happened)
        return 0;
    store->failure = STORE_BUSY;
    return error_set(err, "%s: the connection was lost in a transaction; nothing of it was written",
                     store->path);
}

/* *err is set. */
static int undone(struct store *store)
{
    store_rollback(store);
    return -1;
}

int store_commit(struct store *store, struct error **err)
{
    char token[TOKEN_SIZE] = "";
    bool counted = store->driver->needs_token && store->wrote;

    if (store->doomed) {
        error_set(err, "%s: the database has undone this transaction; run the command again",
                  store->path);
        return undone(store);
    }
    if (counted &&
        (new_token(token, err) < 0 || write_token(store, token, store_now_ms(), err) < 0))
        return undone(store);
    if (store->driver->execute(store, "COMMIT", err) == 0) {
        store->in_transaction = false;
        if (counted)
            strcpy(store->token, token);
        return 0;
    }
    if (store->failure != STORE_LOST || !counted)
        return undone(store);
    store->in_transaction = false;
    error_clear(err);
    return settle(store, token, err);
}

static void read_old_token(struct statement *s, void *token)
{
    take_text(s, token, TOKEN_SIZE);
}

void store_forget_old_tokens(struct store *store)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT token FROM transactions WHERE created_at < ? LIMIT 100");
    CLEANUP_FREE char(*tokens)[TOKEN_SIZE] = NULL;
    CLEANUP_ERROR struct error *ignored = NULL;
    size_t count = 0;

    bind_int(&s, store_now_ms() - OLD_TOKEN_MS);
    read_all(&s, read_old_token, sizeof *tokens, &tokens, &count, &ignored);
    for (size_t i = 0; i < count && !ignored; i++) {
        CLEANUP_STATEMENT struct statement delete =
            statement(store, "DELETE FROM transactions WHERE token = ?");

        bind_text(&delete, tokens[i]);
        run(&delete, &ignored);
    }
}

struct attempt {
    store_work work;
    void *opaque;
    const char *begin;
};

static int attempt(struct store *store, void *opaque, struct error **err)
{
    struct attempt *a = opaque;

    if (begin_once(store, (void *)a->begin, err) < 0)
        return -1;
    if (a->work(store, a->opaque, err) < 0)
        return undone(store);
    return store_commit(store, err);
}

int store_transaction(struct store *store, store_work work, void *opaque, struct error **err)
{
    struct attempt a = { work, opaque, store->driver->begin };

    /* A part of the larger one, which is done again as a whole. */
    if (store->in_transaction)
        return work(store, opaque, err);
    return store_retry(store, attempt, &a, err);
}

int store_reading(struct store *store, store_work work, void *opaque, struct error **err)
{
    struct attempt a = { work, opaque, store->driver->begin_reading };

    if (store->in_transaction)
        return cannot_nest(store, err);
    return store_retry(store, attempt, &a, err);
}
