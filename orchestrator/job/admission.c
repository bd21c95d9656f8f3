/* Limits, windows and rates; see admission.h. */
#include "job/admission.h"
#include "log/log.h"

#include <json.h>
#include <string.h>

#define WAIT_US 500000

/* "window" of the job's options. */
static void own_windows(const struct store_job *job, struct throttle *throttle)
{
    json_object *object = job->options[0] ? json_tokener_parse(job->options) : NULL, *window;
    CLEANUP_ERROR struct error *ignored = NULL;

    throttle->count = 0;
    if (object && json_object_object_get_ex(object, "window", &window))
        throttle_parse(json_object_get_string(window), throttle, &ignored);
    json_object_put(object);
}

/* When the first of both that is closed opens. */
static void say_until(const struct throttle *throttle, time_t now, char why[STORE_NAME])
{
    time_t until = throttle_until(throttle, now);
    char text[64] = "further notice";
    struct tm local;

    if (until && localtime_r(&until, &local))
        strftime(text, sizeof text, "%a %H:%M", &local);
    snprintf(why, STORE_NAME, "waits: its time window is closed until %s", text);
}

int admission_ask(struct store *store, const struct admission *admission,
                  const struct store_job *job, int64_t now_ms, char why[STORE_NAME],
                  struct error **err)
{
    struct throttle own;
    time_t now = time(NULL);

    why[0] = '\0';
    if (!admission)
        return 0;
    own_windows(job, &own);
    if (throttle_rate(&own, now) == 0)
        say_until(&own, now, why);
    else if (throttle_rate(&admission->windows, now) == 0)
        say_until(&admission->windows, now, why);
    return why[0] ? 0 : store_limits_room(store, job->id, &admission->limits, now_ms, why, err);
}

int admission_wait(struct store *store, const struct store_job *job, const char *why,
                   const atomic_int *cancel, char said[STORE_NAME], struct error **err)
{
    if (store_job_waits(store, job, why, err) < 0)
        return -1;
    if (strcmp(said, why) != 0) {
        CLEANUP_ERROR struct error *ignored = NULL;
        struct store_vm vm = { 0 };

        store_vm_get(store, job->vm_id, &vm, &ignored);
        LOG_JOB(job->id, vm.name);
        log_notice("job", "%s", why);
    }
    snprintf(said, STORE_NAME, "%s", why);
    for (int i = 0; i < 5; i++) {
        if (cancel && atomic_load(cancel)) {
            store_job_waits_no_more(store, job->id, "stopped while it waited", err);
            return *err ? -1
                        : error_set_kind(err, ERROR_PAUSED, "stopped while job %lld %s",
                                         (long long)job->id, why);
        }
        usleep(WAIT_US / 5);
    }
    return 0;
}

static uint64_t lower(uint64_t rate, uint64_t window)
{
    if (window == THROTTLE_UNLIMITED)
        return rate;
    return rate && rate < window ? rate : window;
}

static uint64_t rate_of_all(struct store *store)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    char value[STORE_NAME];

    return store_setting_get(store, SETTING_RATE, value, &ignored) < 0 ? 0
                                                                       : strtoull(value, NULL, 10);
}

uint64_t admission_rate(struct store *store, const struct admission *admission,
                        const struct store_job *job, uint64_t own_rate, bool *closed)
{
    uint64_t window_all = THROTTLE_UNLIMITED, window_own, all;
    CLEANUP_ERROR struct error *ignored = NULL;
    time_t now = time(NULL);
    struct throttle own;
    unsigned jobs = 1;
    int64_t now_ms;

    own_windows(job, &own);
    window_own = throttle_rate(&own, now);
    if (admission)
        window_all = throttle_rate(&admission->windows, now);
    *closed = window_own == 0 || window_all == 0;
    all = lower(rate_of_all(store), window_all);
    if (all && (store_clock_ms(store, &now_ms, &ignored) < 0 ||
                store_jobs_moving(store, now_ms, &jobs, &ignored) < 0))
        jobs = 1;
    return throttle_share(all, jobs, lower(own_rate, window_own));
}
