/* The reporter; see report.h. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>

#include "report.h"

#include <string.h>
#include <time.h>

#include "cleanup.h"

#define NS_PER_SECOND 1000000000LL

struct report {
    struct report_options options;
    struct progress_meter meter; /* the thread's own, as all below but the flags */
    enum progress_state said;
    uint64_t said_done;

    pthread_mutex_t lock; /* for the flags */
    pthread_cond_t changed;
    pthread_t thread;
    bool poked, quit;
};

/* As long as clients are there more may come to move: a writer may go on past what was
 * expected, and nothing at all may be the beginning. */
static bool is_complete(const struct situation *now, bool end)
{
    const struct figures *figures = &now->figures;

    if (!now->seen || !figures->known)
        return false;
    if (now->settled && (end || now->connections == 0))
        return true;
    if (figures->done < figures->total)
        return false;
    if (end)
        return true;
    if (figures->total == 0)
        return now->readonly && now->connections == 0;
    return !figures->grown || now->connections == 0;
}

static enum progress_state judge(const struct situation *now, bool end)
{
    if (is_complete(now, end))
        return PROGRESS_COMPLETED;
    if (end)
        return PROGRESS_FAILED;
    return now->seen && now->connections == 0 ? PROGRESS_PAUSED : PROGRESS_RUNNING;
}

/* The next record into the meter; false when it would say nothing new. */
static bool update(struct report *report, bool end)
{
    struct situation now = { .figures.known = true };
    struct progress_meter *meter = &report->meter;
    struct progress_record *record = &meter->record;
    int64_t time = progress_now_ns();
    bool news;

    report->options.look(&now);
    record->state = judge(&now, end);
    if (now.seen)
        progress_meter_update(meter, now.figures.done, now.figures.known ? now.figures.total : 0,
                              time);
    if (record->state != PROGRESS_RUNNING)
        progress_meter_finish(meter, record->state, time);
    news = record->state != report->said || record->bytes_done != report->said_done;
    report->said = record->state;
    report->said_done = record->bytes_done;
    return news || (record->state == PROGRESS_RUNNING && now.connections > 0);
}

static void say(struct report *report, bool end)
{
    char json[PROGRESS_JSON_MAX];
    size_t length = progress_record_to_json(&report->meter.record, json, sizeof json);

    nbdkit_debug("progress: %s", json);
    for (struct sink *sink = report->options.sinks; sink; sink = sink->next)
        sink->put(sink, json, length, end);
}

/* Sleep until the interval is over or something has happened; false at the end. */
static bool wait_for_work(struct report *report)
{
    struct timespec until;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += report->options.interval_ns / NS_PER_SECOND;
    until.tv_nsec += report->options.interval_ns % NS_PER_SECOND;
    if (until.tv_nsec >= NS_PER_SECOND) {
        until.tv_sec++;
        until.tv_nsec -= NS_PER_SECOND;
    }
    LOCK_SCOPE(&report->lock);
    while (!report->poked && !report->quit && r == 0)
        r = pthread_cond_timedwait(&report->changed, &report->lock, &until);
    report->poked = false;
    return !report->quit;
}

static void *report_thread(void *opaque)
{
    struct report *report = opaque;
    bool more;

    do {
        more = wait_for_work(report);
        if (update(report, !more))
            say(report, !more);
    } while (more);
    return NULL;
}

int report_check(const struct report_options *options)
{
    struct progress_meter meter;
    char json[PROGRESS_JSON_MAX];
    size_t length;

    progress_meter_init(&meter, options->label, options->sync_type);
    length = progress_record_to_json(&meter.record, json, sizeof json);
    for (struct sink *sink = options->sinks; sink; sink = sink->next) {
        if (sink->check && sink->check(sink, json, length) < 0)
            return -1;
    }
    return 0;
}

static int start_sinks(struct report *report)
{
    char json[PROGRESS_JSON_MAX];
    size_t length = progress_record_to_json(&report->meter.record, json, sizeof json);

    for (struct sink *sink = report->options.sinks; sink; sink = sink->next) {
        if (sink->start(sink, json, length) < 0)
            return -1;
    }
    return 0;
}

static void report_free(struct report *report)
{
    for (struct sink *sink = report->options.sinks, *next; sink; sink = next) {
        next = sink->next;
        sink->close(sink);
    }
    pthread_cond_destroy(&report->changed);
    pthread_mutex_destroy(&report->lock);
    free(report);
}

struct report *report_start(const struct report_options *options)
{
    struct report *report = calloc(1, sizeof *report);
    pthread_condattr_t monotonic;
    int r;

    if (report == NULL) {
        nbdkit_error("calloc: %m");
        return NULL;
    }
    report->options = *options;
    progress_meter_init(&report->meter, options->label, options->sync_type);
    report->said = PROGRESS_RUNNING;
    pthread_mutex_init(&report->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&report->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);

    if (start_sinks(report) < 0) {
        report_free(report);
        return NULL;
    }
    r = pthread_create(&report->thread, NULL, report_thread, report);
    if (r != 0) {
        nbdkit_error("progress: pthread_create: %s", strerror(r));
        report_free(report);
        return NULL;
    }
    return report;
}

void report_poke(struct report *report)
{
    LOCK_SCOPE(&report->lock);
    report->poked = true;
    pthread_cond_signal(&report->changed);
}

void report_stop(struct report *report)
{
    if (report == NULL)
        return;
    pthread_mutex_lock(&report->lock);
    report->quit = true;
    pthread_cond_signal(&report->changed);
    pthread_mutex_unlock(&report->lock);
    pthread_join(report->thread, NULL);
    report_free(report);
}
