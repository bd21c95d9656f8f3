/* Estimates of live failovers; see live-estimate.h. */
#include "job/live-estimate.h"

#include <json.h>
#include <string.h>

#define SYNCS      20
#define SHUTDOWN_S 30 /* as long as nobody has measured it */
#define BOOT_S     60
#define SMALL_SYNC (1 << 20) /* bytes: below it a sync says nothing about throughput */

static double number_in(json_object *object, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(object, name, &value) && value ? json_object_get_double(value)
                                                                    : -1;
}

static void take_evidence(const char *text, struct live_estimate *estimate)
{
    json_object *json = json_tokener_parse(text), *booted, *downtime, *conversion;

    if (estimate->boot_guessed && json_object_object_get_ex(json, "booted", &booted) &&
        json_object_get_boolean(booted) && number_in(json, "seconds") >= 0) {
        estimate->boot_s = number_in(json, "seconds");
        estimate->boot_guessed = false;
        if (json_object_object_get_ex(json, "conversion", &conversion) &&
            number_in(conversion, "seconds") > 0)
            estimate->convert_s = number_in(conversion, "seconds");
    }
    if (estimate->shutdown_guessed && json_object_object_get_ex(json, "downtime", &downtime) &&
        number_in(downtime, "shutdown_seconds") >= 0) {
        estimate->shutdown_s = number_in(downtime, "shutdown_seconds");
        estimate->shutdown_guessed = false;
    }
    json_object_put(json);
}

/* The newest of each kind counts. */
static int from_failovers(struct store *store, int64_t vm_id, struct live_estimate *estimate,
                          struct error **err)
{
    CLEANUP_FREE struct store_failover *list = NULL;
    size_t count;

    if (store_failovers(store, vm_id, false, &list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        CLEANUP_FREE char *evidence = NULL;

        if (store_failover_get_evidence(store, list[i].id, &evidence, err) < 0)
            return -1;
        take_evidence(evidence, estimate);
    }
    return 0;
}

/* The oldest one's bytes are of a time that nobody knows the beginning of. */
static void from_churn(const struct store_churn *list, size_t count, struct live_estimate *estimate)
{
    uint64_t bytes = 0;
    int64_t span;

    estimate->syncs = (unsigned)count;
    for (size_t i = 0; i < count; i++) {
        double seconds = (double)list[i].duration_ms / 1000;

        if (estimate->overhead_s < 0 || seconds < estimate->overhead_s)
            estimate->overhead_s = seconds;
        if (list[i].bytes >= SMALL_SYNC && seconds > 0 &&
            (double)list[i].bytes / seconds > estimate->throughput)
            estimate->throughput = (double)list[i].bytes / seconds;
        if (i + 1 < count)
            bytes += list[i].bytes;
    }
    span = count > 1 ? list[0].ended_ms - list[count - 1].ended_ms : 0;
    if (span > 0)
        estimate->churn = (double)bytes * 1000 / (double)span;
}

static double sync_seconds(const struct live_estimate *estimate, double bytes)
{
    double moving = estimate->throughput > 0 ? bytes / estimate->throughput : 0;

    return estimate->overhead_s + moving;
}

int live_estimate(struct store *store, int64_t vm_id, struct live_estimate *estimate,
                  struct error **err)
{
    CLEANUP_FREE struct store_churn *list = NULL;
    size_t count;

    *estimate = (struct live_estimate){ .churn = -1,
                                        .throughput = -1,
                                        .overhead_s = -1,
                                        .first_sync_s = -1,
                                        .sync_s = -1,
                                        .shutdown_s = SHUTDOWN_S,
                                        .boot_s = BOOT_S,
                                        .shutdown_guessed = true,
                                        .boot_guessed = true };
    if (store_history_churn(store, vm_id, SYNCS, &list, &count, err) < 0 ||
        from_failovers(store, vm_id, estimate, err) < 0)
        return -1;
    from_churn(list, count, estimate);
    if (estimate->churn >= 0) {
        double since = (double)(store_now_ms() - list[0].ended_ms) / 1000;

        estimate->first_sync_s = sync_seconds(estimate, estimate->churn * (since > 0 ? since : 0));
        estimate->sync_s = sync_seconds(
            estimate, estimate->churn * (estimate->first_sync_s + estimate->shutdown_s));
    }
    return 0;
}

double live_estimate_downtime(const struct live_estimate *estimate, double sync_s)
{
    return estimate->shutdown_s + sync_s + estimate->convert_s + estimate->boot_s;
}
