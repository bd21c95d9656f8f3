/* Lines on their way to the store; see keep.h. `lock` guards all of `keep`; it is never held
 * while the store is written. */
#include "log/keep.h"

#include <string.h>
#include <time.h>

#include "log/log.h"
#include "store/store.h"

#define QUEUE_MAX   2048 /* lines */
#define BATCH_MAX   256  /* lines a transaction: others want to write, too */
#define LOST_MAX    16   /* jobs whose lost lines are counted apart */
#define RETRY_S     1
#define PATIENCE_MS 3000 /* of one try */

struct entry {
    struct log_line line; /* text and part are ours */
    char part[16];
};

/* Beside the log: as there is one of it in a process. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const struct store *like; /* the caller's; NULL: not started */
    pthread_t thread;
    bool running;
    bool stopping;
    struct {
        int64_t job;
        size_t lines;
    } lost[LOST_MAX]; /* since the last line that was queued; lines 0: a free place */
    size_t first, count;
    struct entry queue[QUEUE_MAX];
} keep = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void *write_queue(void *unused);

/* With the lock held. */
static struct entry *entry_at(size_t i)
{
    return &keep.queue[(keep.first + i) % QUEUE_MAX];
}

static void append(const struct log_line *line)
{
    struct entry *entry = entry_at(keep.count);
    char *text = strdup(line->text);

    if (!text)
        return;
    entry->line = *line;
    entry->line.text = text;
    snprintf(entry->part, sizeof entry->part, "%s", line->part);
    keep.count++;
}

static void lose(const struct log_line *line)
{
    size_t i = 0;

    while (i + 1 < LOST_MAX && keep.lost[i].lines && keep.lost[i].job != line->job)
        i++;
    keep.lost[i].job = line->job;
    keep.lost[i].lines++;
}

/* The last places of the queue are for this. */
static void append_losses(const struct log_line *next)
{
    for (size_t i = 0; i < LOST_MAX && keep.lost[i].lines; i++) {
        char text[64];
        struct log_line line = { .time_ms = next->time_ms,
                                 .level = LEVEL_WARNING,
                                 .part = "store",
                                 .job = keep.lost[i].job,
                                 .text = text };

        snprintf(text, sizeof text, "%zu line%s of the log missing here", keep.lost[i].lines,
                 keep.lost[i].lines == 1 ? "" : "s");
        append(&line);
        keep.lost[i].lines = 0;
    }
}

static void take(void *opaque, const struct log_line *line)
{
    (void)opaque;
    LOCK_SCOPE(&keep.lock);
    if (!keep.like)
        return;
    if (keep.count + LOST_MAX + 1 > QUEUE_MAX) {
        lose(line);
        return;
    }
    append_losses(line);
    append(line);
    if (!keep.running)
        keep.running = pthread_create(&keep.thread, NULL, write_queue, NULL) == 0;
    pthread_cond_broadcast(&keep.changed);
}

/* Those at the head of the queue; they stay in it, and in their places, until drop(). */
struct batch {
    struct entry *entries[BATCH_MAX];
    size_t count;
};

static void peek(struct batch *batch)
{
    batch->count = keep.count < BATCH_MAX ? keep.count : BATCH_MAX;
    for (size_t i = 0; i < batch->count; i++)
        batch->entries[i] = entry_at(i);
}

static void drop(size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((char *)entry_at(i)->line.text);
    keep.first = (keep.first + count) % QUEUE_MAX;
    keep.count -= count;
}

static int write_batch(struct store *store, void *opaque, struct error **err)
{
    const struct batch *batch = opaque;

    for (size_t i = 0; i < batch->count; i++) {
        struct log_line line = batch->entries[i]->line;

        line.part = batch->entries[i]->part;
        if (store_log_add(store, &line, err) < 0)
            return -1;
    }
    return 0;
}

/* The store's handle is made by the first call, and again after an error. */
static int try_write(struct store **store, const struct store *like, struct batch *batch)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (!*store && store_again(like, store, &err) < 0)
        return -1;
    store_set_patience(*store, PATIENCE_MS);
    if (store_transaction(*store, write_batch, batch, &err) == 0)
        return 0;
    store_close(*store);
    *store = NULL;
    return -1;
}

static void wait_a_while(void)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RETRY_S;
    pthread_cond_timedwait(&keep.changed, &keep.lock, &until);
}

static void *write_queue(void *unused)
{
    CLEANUP_STORE struct store *store = NULL;
    struct batch batch;

    LOCK_SCOPE(&keep.lock);
    while (!keep.stopping || keep.count > 0) {
        int r;

        if (keep.count == 0) {
            pthread_cond_wait(&keep.changed, &keep.lock);
            continue;
        }
        peek(&batch);
        pthread_mutex_unlock(&keep.lock);
        r = try_write(&store, keep.like, &batch);
        pthread_mutex_lock(&keep.lock);
        if (r == 0 || keep.stopping)
            drop(batch.count); /* who stops has no time for another try */
        else
            wait_a_while();
    }
    return unused;
}

void log_keep_start(const struct store *store)
{
    {
        LOCK_SCOPE(&keep.lock);
        keep.like = store;
        keep.stopping = false;
    }
    log_set_keeper(take, NULL);
}

bool log_keep_stop(void)
{
    struct timespec until;
    bool running;

    log_set_keeper(NULL, NULL);
    {
        LOCK_SCOPE(&keep.lock);
        running = keep.running;
        keep.stopping = true;
        pthread_cond_broadcast(&keep.changed);
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += KEEP_STOP_S;
    if (running && pthread_timedjoin_np(keep.thread, NULL, &until) != 0)
        return false;
    LOCK_SCOPE(&keep.lock);
    keep.running = false;
    keep.like = NULL;
    return true;
}
