/* The power of a source's VM; see live-source.h. */
#include "job/live-source.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "job/connect.h"
#include "say.h"

#define POLL_MS    500
#define PATIENCE_S 60 /* with a source that does not answer while it is waited for */

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
    const struct timespec pause = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&pause, NULL);
}

static bool is_cancelled(const struct live_source *from)
{
    return from->cancel && atomic_load(from->cancel);
}

static int open_source(const struct live_source *from, struct connection *connection,
                       struct error **err)
{
    if (connection_open(from->store, from->vm->source_id, from->state_dir, connection, err) < 0)
        return -1;
    if (connection->source->kind->power)
        return 0;
    error_set(err,
              "source '%s' (%s) can't tell or change the power of its VMs: shut '%s' down there, "
              "and say --source-is-off",
              connection->row.name, connection->row.kind, from->vm->name);
    (*err)->errnum = ENOTSUP;
    return -1;
}

static int ask(const struct live_source *from, struct connection *connection, enum power *power,
               struct error **err)
{
    return connection->source->kind->power(connection->source, from->vm->uuid, power, err);
}

int live_source_power(const struct live_source *from, enum power *power, struct error **err)
{
    CLEANUP(connection_close) struct connection connection = { .settings.cancel = from->cancel };

    return open_source(from, &connection, err) < 0 ? -1 : ask(from, &connection, power, err);
}

/* A time limit for what would wait for a dead source: its own way to give up soon. */
struct alarm {
    atomic_int cancel;
    atomic_int over;
    unsigned seconds;
    pthread_t thread;
};

static void *ring(void *opaque)
{
    struct alarm *alarm = opaque;

    for (int64_t until = now_ms() + alarm->seconds * 1000; now_ms() < until;) {
        if (atomic_load(&alarm->over))
            return NULL;
        pause_ms(50);
    }
    atomic_store(&alarm->cancel, 1);
    return NULL;
}

bool live_source_answers(const struct live_source *from, unsigned seconds, enum power *power)
{
    struct alarm alarm = { .seconds = seconds };
    struct live_source asked = *from;
    CLEANUP_ERROR struct error *ignored = NULL;
    int r;

    asked.cancel = &alarm.cancel;
    if (pthread_create(&alarm.thread, NULL, ring, &alarm) != 0)
        return false;
    r = live_source_power(&asked, power, &ignored);
    atomic_store(&alarm.over, 1);
    pthread_join(alarm.thread, NULL);
    return r == 0;
}

/* Until it has this power. False: not by then. An error is that nobody could be asked for long. */
static int wait_for(const struct live_source *from, enum power wanted, unsigned seconds,
                    bool *reached, struct error **err)
{
    CLEANUP(connection_close) struct connection connection = { .settings.cancel = from->cancel };
    int64_t until = now_ms() + (int64_t)seconds * 1000, heard = now_ms();

    for (*reached = false; !*reached;) {
        CLEANUP_ERROR struct error *problem = NULL;
        enum power power = POWER_SUSPENDED;
        bool open = connection.source != NULL;

        if ((!open && open_source(from, &connection, &problem) < 0) ||
            ask(from, &connection, &power, &problem) < 0) {
            connection_close(&connection);
            if (is_cancelled(from) || problem->errnum == ENOTSUP ||
                now_ms() - heard > PATIENCE_S * 1000)
                return error_move(err, &problem);
        } else {
            heard = now_ms();
            *reached = power == wanted;
        }
        if (is_cancelled(from))
            return error_set(err, "it was interrupted");
        if (!*reached && now_ms() >= until)
            return 0;
        if (!*reached)
            pause_ms(POLL_MS);
    }
    return 0;
}

static int ask_guest(const struct live_source *from, bool *asked, struct error **err)
{
    CLEANUP(connection_close) struct connection connection = { .settings.cancel = from->cancel };

    *asked = false;
    if (open_source(from, &connection, err) < 0)
        return -1;
    *asked = connection.source->kind->shut_down(connection.source, from->vm->uuid, err) == 0;
    return *asked || (*err)->errnum == ENOTSUP ? 0 : -1;
}

static int pull_plug(const struct live_source *from, struct error **err)
{
    CLEANUP(connection_close) struct connection connection = { .settings.cancel = from->cancel };
    bool off;

    say_line(from->say, "powering the source off");
    if (open_source(from, &connection, err) < 0 ||
        connection.source->kind->power_off(connection.source, from->vm->uuid, err) < 0)
        return -1;
    connection_close(&connection);
    if (wait_for(from, POWER_OFF, PATIENCE_S, &off, err) < 0)
        return -1;
    return off ? 0 : error_set(err, "'%s' is said to be powered off, and is not", from->vm->name);
}

int live_source_shut_down(const struct live_source *from, unsigned timeout_s, bool may_power_off,
                          struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;
    bool asked, off = false;

    if (ask_guest(from, &asked, &why) < 0)
        return error_move(err, &why);
    if (asked && wait_for(from, POWER_OFF, timeout_s, &off, err) < 0)
        return -1;
    if (off)
        return 0;
    if (may_power_off) {
        say_line(from->say, "the guest %s",
                 asked ? "has not shut down in time" : "can't be asked to shut down");
        return pull_plug(from, err);
    }
    if (!asked) {
        error_append(&why, " (--allow-power-off)");
        return error_move(err, &why);
    }
    return error_set(err,
                     "'%s' has not shut down within %u s: give it more time "
                     "(--shutdown-timeout), or let it be powered off (--allow-power-off)",
                     from->vm->name, timeout_s);
}

int live_source_power_on(const struct live_source *from, unsigned settle_s, struct error **err)
{
    CLEANUP(connection_close) struct connection connection = { .settings.cancel = NULL };
    struct live_source patient = *from;
    bool reached;

    patient.cancel = NULL; /* who interrupts a failover wants the source back, above all */
    if (settle_s && wait_for(&patient, POWER_OFF, settle_s, &reached, err) < 0)
        return -1;
    if (open_source(&patient, &connection, err) < 0 ||
        connection.source->kind->power_on(connection.source, from->vm->uuid, err) < 0)
        return -1;
    connection_close(&connection);
    if (wait_for(&patient, POWER_ON, PATIENCE_S, &reached, err) < 0)
        return -1;
    return reached ? 0
                   : error_set(err, "'%s' is said to be powered on, and is not", from->vm->name);
}

int live_source_retire(const struct live_source *from, const char *name, const char *note,
                       struct error **err)
{
    CLEANUP(connection_close) struct connection connection = { .settings.cancel = NULL };

    return open_source(from, &connection, err) < 0
               ? -1
               : connection.source->kind->retire(connection.source, from->vm->uuid, name, note,
                                                 err);
}
