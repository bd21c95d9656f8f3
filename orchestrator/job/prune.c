/* Retention at work; see prune.h. */
#include "job/prune.h"

#include <string.h>

#include "job/retire-steps.h"
#include "job/retire.h"
#include "log/log.h"

void prune_result_free(struct prune_result *result)
{
    free(result->points);
}

static int load_rules(struct store *store, const struct store_vm *vm,
                      const struct prune_options *options, struct prune_result *result,
                      struct retention *retention, struct error **err)
{
    if (store_vm_keep(store, vm->id, result->keep, err) < 0)
        return -1;
    result->own = result->keep[0] != '\0';
    if (!result->own)
        snprintf(result->keep, sizeof result->keep, "%s",
                 options->keep && options->keep[0] ? options->keep : "all");
    return retention_parse(result->keep, retention, err);
}

static int choose(struct store *store, const struct store_vm *vm,
                  const struct prune_options *options, struct prune_result *result,
                  struct error **err)
{
    CLEANUP_FREE struct retention_point *choices = NULL;
    CLEANUP_FREE struct store_point *points = NULL;
    struct retention retention;
    size_t count;

    *result = (struct prune_result){ 0 };
    if (load_rules(store, vm, options, result, &retention, err) < 0 ||
        store_points(store, vm->id, &points, &count, err) < 0)
        return -1;
    choices = calloc(count + 1, sizeof *choices);
    result->points = calloc(count + 1, sizeof *result->points);
    if (!choices || !result->points)
        return error_set_errno(err, ENOMEM, "choosing restore points");
    for (size_t i = 0; i < count; i++)
        choices[i] =
            (struct retention_point){ .ms = points[i].created_ms, .pinned = points[i].pinned };
    retention_choose(&retention, choices, count);
    for (size_t i = 0; i < count; i++)
        result->points[i] =
            (struct prune_point){ .point = points[i],
                                  .choice = choices[i],
                                  .outcome = choices[i].stays ? PRUNE_STAYS : PRUNE_GOES };
    result->count = count;
    return 0;
}

static bool any_goes(const struct prune_result *result)
{
    for (size_t i = 0; i < result->count; i++) {
        if (result->points[i].outcome == PRUNE_GOES)
            return true;
    }
    return false;
}

static int delete_one(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                      struct prune_result *result, struct prune_point *point, struct error **err)
{
    static const struct retire_options options = { .newest = false };

    if (retire_point(merging, state_dir, vm, point->point.number, &options, err) == 0) {
        point->outcome = PRUNE_DELETED;
        result->deleted++;
        return 0;
    }
    if ((*err)->errnum != EBUSY && (*err)->errnum != EAGAIN)
        return -1;
    point->outcome = PRUNE_WAITS;
    result->waiting++;
    snprintf(point->reason, sizeof point->reason, "%.500s", error_message(*err));
    error_clear(err);
    return 0;
}

/* The oldest first: each overlay is then copied once, however many points go. */
static int prune(struct merging *merging, const char *state_dir, const struct store_vm *vm,
                 const struct prune_options *options, struct prune_result *result,
                 struct error **err)
{
    struct store *store = merging->store;
    size_t finished;

    *result = (struct prune_result){ 0 };
    if (retire_finish(merging, state_dir, vm, &finished, err) < 0 ||
        choose(store, vm, options, result, err) < 0)
        return -1;
    for (size_t i = 0; i < result->count; i++) {
        if (result->points[i].outcome == PRUNE_GOES)
            retire_expect(merging, state_dir, &result->points[i].point);
    }
    for (size_t i = 0; i < result->count; i++) {
        struct prune_point *point = &result->points[i];

        if (point->outcome == PRUNE_GOES &&
            delete_one(merging, state_dir, vm, result, point, err) < 0)
            return error_prefix(err, "deleting restore point %u of '%s'", point->point.number,
                                vm->name);
    }
    return 0;
}

int job_prune(struct store *store, const char *state_dir, const struct store_vm *vm,
              const struct prune_options *options, struct prune_result *result, struct error **err)
{
    CLEANUP_CLAIM struct claim *claim = NULL;
    CLEANUP_MERGING struct merging merging = { 0 };
    bool needed;
    int r;

    if (choose(store, vm, options, result, err) < 0 ||
        retire_is_needed(store, state_dir, vm, &needed, err) < 0)
        return -1;
    if (options->dry_run || (!any_goes(result) && !needed))
        return 0;
    if (claim_hold(store, vm, JOB_MERGE, options->cancel, &claim, err) < 0)
        return -1;
    prune_result_free(result);
    merging_start(&merging, claim, store, state_dir);
    r = prune(&merging, state_dir, vm, options, result, err);
    if (r == 0)
        merging_finish(&merging);
    else
        merging_explain_space(&merging, err);
    return claim_let_go(claim, store, r, err);
}

/* "2 points deleted: 3 4; 1 waits: …" */
static void summarize(const struct prune_result *result, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s: %zu deleted", result->keep, result->deleted);
    const char *before = ":";

    for (size_t i = 0; i < result->count && used < size; i++) {
        if (result->points[i].outcome != PRUNE_DELETED)
            continue;
        used += (size_t)snprintf(text + used, size - used, "%s %u", before,
                                 result->points[i].point.number);
        before = "";
    }
    for (size_t i = 0; i < result->count && used < size; i++) {
        if (result->points[i].outcome == PRUNE_WAITS) {
            snprintf(text + used, size - used, "; %zu wait: %s", result->waiting,
                     result->points[i].reason);
            return;
        }
    }
}

void prune_after_sync(struct claim *claim, struct store *store, const char *state_dir,
                      const struct store_vm *vm, const char *keep)
{
    const struct prune_options options = { .keep = keep };
    CLEANUP_MERGING struct merging merging = { 0 };
    CLEANUP_PRUNE struct prune_result result = { 0 };
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_ERROR struct error *ignored = NULL;
    char text[STORE_TEXT] = "";
    bool failed;

    claim_step(claim, store, 0, "prune", "running", NULL, &ignored);
    merging_start(&merging, claim, store, state_dir);
    failed = prune(&merging, state_dir, vm, &options, &result, &err) < 0;
    if (failed)
        merging_explain_space(&merging, &err);
    if (failed)
        snprintf(text, sizeof text, "old restore points could not be deleted: %s",
                 error_message(err));
    else
        summarize(&result, text, sizeof text);
    if (failed || result.deleted || result.waiting)
        log_write(failed ? LEVEL_WARNING : LEVEL_NOTICE, "job", "%s", text);
    error_clear(&ignored);
    claim_step(claim, store, 0, "prune", failed ? "failed" : "done", text, &ignored);
}

const char *prune_why(const struct prune_result *result, size_t i, char why[PRUNE_WHY])
{
    const struct retention_point *choice = &result->points[i].choice;
    size_t used = 0;

    why[0] = '\0';
    if (!choice->stays)
        return why;
    if (choice->pinned)
        return strcpy(why, "pinned");
    for (int rule = 0; rule < KEEP_RULES; rule++) {
        if (choice->rules & 1U << rule)
            used += (size_t)snprintf(why + used, PRUNE_WHY - used, "%s%s", used ? ", " : "",
                                     retention_rule_name((enum retention_rule)rule));
    }
    if (!used)
        strcpy(why, i + 1 == result->count ? "the newest" : "all");
    return why;
}
