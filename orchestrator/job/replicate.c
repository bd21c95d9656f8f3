/* `vmferry replicate`, from the lock to the result; see sync.h for the way in between. */
#include "job/replicate.h"

#include <string.h>
#include <unistd.h>

#include "copy/end.h"
#include "copy/retry.h"
#include "job/again.h"
#include "job/discover.h"
#include "job/full.h"
#include "job/identity.h"
#include "job/options.h"
#include "job/prune.h"
#include "job/sync.h"
#include "job/takeover.h"
#include "log/log.h"

#define CONNECT_SECONDS 30
#define PATIENCE_S      90U
#define TICK_US         100000

static void sync_free(struct sync *sync)
{
    for (size_t i = 0; i < sync->count; i++)
        free(sync->disks[i].uri);
    free(sync->disks);
    free(sync->leftovers);
    spec_free(&sync->spec);
    ballast_drop(&sync->ballast);
    connection_close(&sync->from);
}

/* The description as it is now. */
static int ask_source(struct sync *sync, struct error **err)
{
    struct connection *from = &sync->from;

    from->settings.cancel = &sync->claim->stop;
    sync_listen(sync);
    from->settings.transport = sync->options->transport;
    if (connection_open(sync->store, sync->vm->source_id, sync->state_dir, from, err) < 0)
        return -1;
    if (from->source->kind->find(from->source, sync->vm->uuid, &sync->spec, err) < 0)
        return error_prefix(err, "source '%s'", from->row.name);
    return 0;
}

static int write_spec(struct store *store, void *opaque, struct error **err)
{
    const struct sync *sync = opaque;
    struct store_vm vm;

    return job_discover(store, sync->from.row.id, &sync->spec, &vm, err);
}

/* Write down what the description says; a VM without any point takes its disks from it. */
static int discover(struct sync *sync, struct error **err)
{
    return claim_transaction(sync->claim, sync->store, write_spec, sync, err);
}

static struct spec_disk *offered_disk(struct vm_spec *spec, int key)
{
    const struct spec_disk *disk = spec_disk_by_key(spec, key);

    return disk ? &spec->disks[disk - spec->disks] : NULL;
}

static int match_disks(struct sync *sync, struct error **err)
{
    const struct identity_leave leave = { .places_moved = sync->options->places_moved,
                                          .may_grow = sync_is_live(sync) };
    CLEANUP_FREE struct store_disk *stored = NULL;
    size_t count;

    if (!sync->newest.id && !sync->left.id && discover(sync, err) < 0)
        return -1;
    if (store_disks(sync->store, sync->vm->id, &stored, &count, err) < 0)
        return -1;
    sync->disks = calloc(count, sizeof *sync->disks);
    if (!sync->disks)
        return error_set_errno(err, ENOMEM, "%s", sync->vm->name);
    sync->count = count;
    for (size_t i = 0; i < count; i++)
        sync->disks[i].stored = stored[i];
    if (sync_load_rows(sync, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!stored[i].place[0]) /* before the first point an unfinished copy tells */
            strcpy(stored[i].place, sync->disks[i].left.place);
    }
    if (identity_check(sync->vm, stored, count, &sync->spec, &leave, err) < 0)
        return sync->newest.id ? -1
                               : error_append(err,
                                              "\nOr give up the first copy, which is not "
                                              "finished: `vmferry job cancel %lld --drop`",
                                              (long long)sync->job.id);
    for (size_t i = 0; i < count; i++)
        sync->disks[i].offered = offered_disk(&sync->spec, stored[i].key);
    for (size_t i = 0; i < count; i++)
        sync->disks[i].capacity = sync->disks[i].offered->capacity;
    return 0;
}

/* Every disk answers and has the size that the description says. */
static int check_size(const struct disk_sync *disk, bool *answered, struct error **err)
{
    struct end_wants wants = { .role = END_SOURCE, .timeout_s = CONNECT_SECONDS };
    struct end *end = end_open(disk->offered->place, &wants, err);
    uint64_t size;

    *answered = end != NULL;
    if (!end)
        return error_prefix(err, "disk-%d", disk->stored.key);
    size = end->size;
    end_close(end);
    if (size == disk->capacity)
        return 0;
    return error_set(err,
                     "disk-%d: %s has %llu bytes, but the disk's capacity is %llu; nothing was "
                     "written",
                     disk->stored.key, disk->offered->place, (unsigned long long)size,
                     (unsigned long long)disk->capacity);
}

static bool is_cancelled(const struct sync *sync)
{
    return atomic_load(&sync->claim->stop) != 0;
}

/* Somebody answered, and dropped the connection. */
static bool was_dropped(const struct error *err)
{
    return err->errnum == ECONNRESET || err->errnum == EPIPE || err->errnum == ETIMEDOUT;
}

/* A server that is not of our making. One that drops us is asked again for a while; one that is
 * not there at all is no source, unless an earlier run has read from it: that one goes on later. */
static int check_foreign_size(const struct sync *sync, const struct disk_sync *disk,
                              struct error **err)
{
    unsigned patience_s = sync->options->patience_s ? sync->options->patience_s : PATIENCE_S;
    int64_t until_ms = store_now_ms() + (int64_t)patience_s * 1000;
    bool answered;

    for (unsigned tries = 1; check_size(disk, &answered, err) < 0; tries++) {
        int64_t next_ms = store_now_ms() + retry_delay_ns(tries) / 1000000;

        if (answered || !end_is_remote(disk->offered->place) || (*err)->kind != ERROR_FAILED)
            return -1;
        if (!was_dropped(*err) || tries > RETRIES_DEFAULT || next_ms > until_ms ||
            is_cancelled(sync)) {
            if (was_dropped(*err) || sync->left.id)
                (*err)->kind = ERROR_PAUSED;
            return -1;
        }
        log_warning("job", "%s: trying again (%u of %d)", error_message(*err), tries,
                    RETRIES_DEFAULT);
        error_clear(err);
        while (store_now_ms() < next_ms && !is_cancelled(sync))
            usleep(TICK_US);
    }
    return 0;
}

/* A session that ended since the disk was served is made again, and those who serve it hear
 * of that after a while. */
static int check_size_patiently(const struct sync *sync, const struct disk_sync *disk,
                                struct error **err)
{
    const struct source_kind *kind = sync->from.source->kind;
    const atomic_int *cancel = sync->options->cancel;
    int64_t until_ms = store_now_ms() + CONNECT_SECONDS * 1000;

    bool answered;

    while (check_size(disk, &answered, err) < 0) {
        CLEANUP_ERROR struct error *ignored = NULL;

        if (answered || !kind->keep)
            return -1;
        if (store_now_ms() > until_ms || (cancel && atomic_load(cancel))) {
            (*err)->kind = ERROR_PAUSED;
            return -1;
        }
        log_warning("job", "%s: trying again", error_message(*err));
        error_clear(err);
        sleep(1);
        kind->keep(sync->from.source, &ignored);
    }
    return 0;
}

static int check_sizes(const struct sync *sync, struct error **err)
{
    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];

        /* Of a live source only those are served that are to be copied. */
        if ((!sync_is_live(sync) || sync_needs_copy(disk)) &&
            (sync_is_live(sync) ? check_size_patiently : check_foreign_size)(sync, disk, err) < 0)
            return -1;
    }
    return 0;
}

static int look(struct sync *sync, struct error **err)
{
    if (takeover_point(sync->store, sync->state_dir, sync->vm, sync->claim, err) < 0 ||
        sync_load_points(sync, err) < 0 || sync_choose_pool(sync, err) < 0 ||
        ask_source(sync, err) < 0 || match_disks(sync, err) < 0)
        return -1;
    if (sync_is_live(sync))
        return 0; /* what is to be done shows when it is frozen */
    return check_sizes(sync, err) < 0 ? -1 : sync_plan(sync, err);
}

/* What is not the ordinary way is said before it happens. */
static void announce(const struct sync *sync)
{
    static const char *const starts[] = {
        [START_FRESH] = NULL,
        [START_RESUME] = "going on where an earlier run stopped",
        [START_COMPARE] = "an earlier run left data: reading it, then sending what differs",
        [START_DONE] = "an earlier run finished this disk",
    };

    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *disk = &sync->disks[i];
        LOG_DISK(disk->stored.key, disk->stored.id);

        if (disk->reason[0])
            log_notice("job", "resync, %s: %s",
                       disk->send_all ? "sending everything anew" : "comparing every block",
                       disk->reason);
        if (starts[disk->start])
            log_notice("job", "%s", starts[disk->start]);
    }
}

static int transfer(struct sync *sync, struct error **err)
{
    if (sync_transfer(sync, err) == 0)
        return 0;
    if (sync_is_live(sync) && sync->from.source->kind->explain)
        sync->from.source->kind->explain(sync->from.source, NULL, err);
    return -1;
}

static int copy(struct sync *sync, struct error **err)
{
    announce(sync);
    if (sync_check_space(sync, err) < 0)
        return -1;
    if (sync_serve(sync, err) < 0 || (sync_is_live(sync) && check_sizes(sync, err) < 0))
        return -1;
    if (sync_clear(sync, err) < 0 || sync_write_down(sync, err) < 0)
        return -1;
    if (sync_make_files(sync, err) < 0 || sync_step(sync, NULL, "plan", "done", NULL, err) < 0 ||
        transfer(sync, err) < 0 || sync_check_moment(sync, err) < 0)
        return -1;
    return sync_publish(sync, err);
}

static int work(struct sync *sync, struct error **err)
{
    if (sync_start_job(sync, err) < 0 || sync_freeze(sync, err) < 0 ||
        sync_step(sync, NULL, "plan", "running", NULL, err) < 0)
        return -1;
    if (sync_is_live(sync) && (sync_ask_changes(sync, err) < 0 || sync_plan(sync, err) < 0))
        return -1;
    return sync_is_up_to_date(sync) ? sync_step(sync, NULL, "plan", "done", "up to date", err)
                                    : copy(sync, err);
}

static int prepare(struct sync *sync, struct error **err)
{
    sync_show(sync, "asking the source");
    if (sync_step(sync, NULL, "prepare", "running", NULL, err) < 0 || look(sync, err) < 0)
        return -1;
    sync_tidy(sync);
    if (sync_find_leftovers(sync, err) < 0 ||
        sync_step(sync, NULL, "prepare", "done", NULL, err) < 0)
        return -1;
    sync_show(sync, "preflight");
    if (sync_step(sync, NULL, "preflight", "running", NULL, err) < 0 ||
        sync_preflight(sync, err) < 0)
        return -1;
    return sync_step(sync, NULL, "preflight", "done", NULL, err);
}

/* A worker before us made the point, and died before it had cleaned up. */
static bool was_committed(const struct sync *sync)
{
    return sync->newest.id && sync->newest.job_id == sync->job.id;
}

static int clean_up(struct sync *sync, struct error **err)
{
    if (sync_step(sync, NULL, "cleanup", "running", NULL, err) < 0)
        return -1;
    if (sync_is_frozen(sync))
        sync_thaw(sync);
    else if (sync_forget_leftovers(sync, err) < 0)
        return -1;
    if (sync->committed || was_committed(sync))
        prune_after_sync(sync->claim, sync->store, sync->state_dir, sync->vm, sync->options->keep);
    if (sync_step(sync, NULL, "cleanup", "done", NULL, err) < 0)
        return -1;
    return sync_end(sync, err);
}

/* Who has to do something before it can go on. */
static const char *paused_by(const struct sync *sync, const struct error *reason)
{
    const pid_t part_of = sync->options->part_of;

    /* When that one has died, nobody wanted us to stop: recovery goes on with it. */
    if (claim_wish(sync->claim) == CLAIM_PAUSE)
        return part_of && getppid() != part_of ? "worker" : claim_paused_by(sync->claim);
    if (claim_wish(sync->claim) == CLAIM_WINDOW)
        return "window";
    if (reason->errnum == ENOSPC || reason->errnum == EROFS)
        return full_paused_by(reason);
    return strstr(error_message(reason), "destination") ? "target" : "source";
}

/* What fails is written down, too. A worker that lost its job touches nothing any more. */
static void give_up(struct sync *sync, struct error **err)
{
    bool cancelled = claim_wish(sync->claim) == CLAIM_CANCEL;
    bool paused;
    CLEANUP_ERROR struct error *lost = NULL;

    sync_explain_space(sync, err);
    if (store_last_failure(sync->store) == STORE_LOST)
        claim_lapse(sync->claim);
    paused = !cancelled && (*err)->kind == ERROR_PAUSED;
    if (claim_wish(sync->claim) == CLAIM_WINDOW) {
        error_clear(err);
        error_set_kind(err, ERROR_PAUSED, "its time window is over");
    }
    if (cancelled) {
        error_clear(err);
        error_set(err, "job %lld was cancelled; what was copied stays for the next run",
                  (long long)sync->job.id);
    }
    if (claim_check(sync->claim, &lost) == 0) {
        sync_withdraw(sync);
        /* Without it, nothing that was copied could be gone on with by its journal. */
        if (paused && sync->point.id && (*err)->errnum != ESTALE)
            sync_keep_frozen(sync);
        else
            sync_thaw(sync);
        sync_fail(sync,
                  cancelled ? "cancelled"
                  : paused  ? "paused"
                            : "failed",
                  paused ? paused_by(sync, *err) : NULL, *err);
        claim_check(sync->claim, &lost);
    }
    if (lost) {
        error_clear(err);
        error_move(err, &lost);
    }
}

static int run(struct sync *sync, struct error **err)
{
    if (prepare(sync, err) == 0 && (was_committed(sync) || work(sync, err) == 0) &&
        clean_up(sync, err) == 0)
        return 0;
    if (sync->committed) /* the point is there: what is missing is the next worker's */
        return -1;
    give_up(sync, err);
    return -1;
}

static int fill_result(const struct sync *sync, struct replicate_result *result, struct error **err)
{
    result->disks = calloc(sync->count, sizeof *result->disks);
    if (!result->disks)
        return error_set_errno(err, ENOMEM, "reporting the result");
    result->count = sync->count;
    for (size_t i = 0; i < sync->count; i++) {
        const struct disk_sync *from = &sync->disks[i];
        struct replicate_disk *to = &result->disks[i];

        to->key = from->stored.key;
        to->unit = from->stored.unit;
        to->capacity = from->capacity;
        snprintf(to->sync_type, sizeof to->sync_type, "%s", sync_type_name(from->type));
        memcpy(to->reason, from->reason, sizeof to->reason);
        to->sent_whole = from->send_all;
        snprintf(to->change_id, sizeof to->change_id, "%s", from->offered->change_id);
        memcpy(to->digest, sync->point.id ? from->row.digest : from->parent.digest,
               sizeof to->digest);
        to->bytes = from->row.bytes;
        to->bytes_written = from->result.bytes_written;
        to->bytes_zeroed = from->result.bytes_zeroed;
        to->bytes_resumed = from->result.bytes_resumed;
        to->bytes_verified = from->result.bytes_verified;
        to->reconnects = from->result.reconnects;
        to->seconds = (double)(from->ended_ms - from->began_ms) / 1000;
    }
    return 0;
}

static int run_claimed(struct store *store, const char *state_dir, struct claim *claim,
                       const struct replicate_options *options, struct replicate_result *result,
                       bool *late, struct error **err)
{
    struct store_vm vm;
    CLEANUP(sync_free)
    struct sync sync = { .store = store,
                         .state_dir = state_dir,
                         .vm = &vm,
                         .claim = claim,
                         .options = options,
                         .job = claim->job };
    int64_t began = store_now_ms();

    sync.job.snapshot[0] = '\0'; /* found out when the source is asked */
    if (store_vm_get(store, claim->job.vm_id, &vm, err) < 0)
        return -1;
    result->job_id = claim->job.id;
    {
        LOG_JOB(claim->job.id, vm.name);
        if (run(&sync, err) < 0) {
            log_failure("job", *err);
            return -1;
        }
        if (sync.point.id)
            log_info("job", "restore point %u is complete", sync.point.number);
        else
            log_info("job", "restore point %u is up to date", sync.newest.number);
    }
    *late = was_committed(&sync);
    result->up_to_date = !*late && sync_is_up_to_date(&sync);
    result->point = sync.point.id ? sync.point.number : sync.newest.number;
    result->seconds = (double)(store_now_ms() - began) / 1000;
    return fill_result(&sync, result, err);
}

static struct claim_wants wants_of(const struct replicate_options *options)
{
    return (struct claim_wants){ .lease_seconds = options->lease_seconds,
                                 .cancel = options->cancel,
                                 .rate = options->rate,
                                 .admission = options->admission,
                                 .failover_id = options->failover_id,
                                 .runs = true };
}

/* It goes on by itself when its time window opens: as a job that waits. */
static bool goes_on(struct claim *claim, struct error **err)
{
    if ((*err)->kind != ERROR_PAUSED || claim_wish(claim) != CLAIM_WINDOW)
        return false;
    error_clear(err);
    return true;
}

/* 1: the job is to be taken once more. The claim ends in here. */
static int run_once(struct store *store, const char *state_dir, struct claim *claim,
                    const struct replicate_options *options, struct replicate_result *result,
                    bool *late, struct error **err)
{
    CLEANUP(job_options_free) struct job_options own = { .options = *options };
    struct again again = { .job_id = claim->job.id, .fence = claim->job.fence };
    bool again_later;
    int r;

    /* What the database does not take within a lease is another worker's. */
    if (claim->lease_ms < STORE_PATIENCE_MS)
        store_set_patience(store, claim->lease_ms);
    r = job_options_apply(claim->job.options, &own, err) < 0
            ? -1
            : run_claimed(store, state_dir, claim, &own.options, result, late, err);
    again.patience_s = own.options.patience_s;
    again.cancel = own.options.cancel;
    again_later = r < 0 && goes_on(claim, err);
    store_set_patience(store, 0);
    claim_free(claim);
    if (r == 0)
        return 0;
    *late = true;
    return again_later || again_wait(store, &again, err) == 0 ? 1 : -1;
}

/* A job whose point was made already is only ended: what the source offers now is the next one's.
 */
int job_replicate(struct store *store, const char *state_dir, const struct store_vm *vm,
                  const struct replicate_options *options, struct replicate_result *result,
                  struct error **err)
{
    const struct claim_wants wants = wants_of(options);
    bool late = true;

    *result = (struct replicate_result){ 0 };
    if (replicate_check_pool(store, vm, options->given, err) < 0)
        return -1;
    while (late) {
        struct claim *claim = NULL;

        replicate_result_free(result);
        *result = (struct replicate_result){ 0 };
        if (claim_vm(store, vm, JOB_REPLICATION, options->given, options->given_rate, &wants,
                     &claim, err) < 0 ||
            run_once(store, state_dir, claim, options, result, &late, err) < 0)
            return -1;
    }
    return 0;
}

int job_resume(struct store *store, const char *state_dir, int64_t job_id,
               const struct replicate_options *options, struct replicate_result *result,
               struct error **err)
{
    const struct claim_wants wants = wants_of(options);

    for (;;) {
        struct claim *claim = NULL;
        bool late;
        int r;

        replicate_result_free(result);
        *result = (struct replicate_result){ 0 };
        if (claim_take(store, job_id, &wants, &claim, err) < 0)
            return -1;
        r = run_once(store, state_dir, claim, options, result, &late, err);
        if (r <= 0)
            return r;
    }
}

void replicate_result_free(struct replicate_result *result)
{
    free(result->disks);
}
