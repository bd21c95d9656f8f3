/* Owning a job; see claim.h. */
#include "job/claim.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "job/beat.h"
#include "job/full.h"
#include "job/moved.h"
#include "job/options.h"

#define LEASE_SECONDS     30
#define LEASE_SECONDS_MIN 3
#define LEASE_SECONDS_MAX 86400
#define TAKE_TRIES        20

int claim_lease_of_environment(unsigned *seconds, struct error **err)
{
    const char *text = getenv("VMFERRY_LEASE_SECONDS");
    size_t digits = text ? strspn(text, "0123456789") : 0;
    long value = digits && digits < 9 && !text[digits] ? atol(text) : 0;

    *seconds = (unsigned)value;
    if (!text || !*text || (value >= LEASE_SECONDS_MIN && value <= LEASE_SECONDS_MAX))
        return 0;
    return error_set_kind(err, ERROR_USAGE,
                          "VMFERRY_LEASE_SECONDS: '%.40s' is no number from %d to %d", text,
                          LEASE_SECONDS_MIN, LEASE_SECONDS_MAX);
}

/* A wrong one was refused when the command began. */
static int64_t lease_ms(const struct claim_wants *wants)
{
    CLEANUP_ERROR struct error *refused = NULL;
    unsigned seconds;

    if (claim_lease_of_environment(&seconds, &refused) < 0 || !seconds)
        seconds = wants->lease_seconds;
    if (seconds < LEASE_SECONDS_MIN)
        seconds = LEASE_SECONDS;
    return (int64_t)seconds * 1000;
}

bool claim_is_dead(const struct store_job *job, int64_t now_ms)
{
    return strcmp(job->status, "running") == 0 &&
           (owner_look(job) == OWNER_GONE || job->expires_ms <= now_ms);
}

bool claim_is_alive(const struct store_job *job, int64_t now_ms)
{
    return strcmp(job->status, "running") == 0 && !claim_is_dead(job, now_ms);
}

int claim_refuse_busy(struct store *store, const struct store_job *job, struct error **err)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    char owner[OWNER_TEXT];
    struct store_vm vm;

    if (store_vm_get(store, job->vm_id, &vm, &ignored) < 0)
        strcpy(vm.name, "the VM");
    if (strcmp(job->type, JOB_REPLICATION) == 0)
        error_set(err,
                  "'%s' is being replicated by %s, as job %" PRId64 ": `vmferry job watch %" PRId64
                  "` shows it",
                  vm.name, owner_text(job, owner), job->id, job->id);
    else
        error_set(err, "'%s' is in use by job %" PRId64 " (%s), which %s runs: wait for it to end",
                  vm.name, job->id, job->type, owner_text(job, owner));
    (*err)->errnum = EBUSY;
    return -1;
}

static int refuse_over(const struct store_job *job, struct error **err)
{
    error_set(err, "job %" PRId64 " is at its end: it %s%s; `vmferry replicate` makes a new one",
              job->id, strcmp(job->status, "cancelled") == 0 ? "was " : "has ", job->status);
    (*err)->errnum = EALREADY;
    return -1;
}

/* The random part makes a lease that nobody can guess, the others one that can be told. */
static int make_lease(struct claim *claim, int64_t job_id, int64_t fence, struct error **err)
{
    char random[LEASE_TEXT];

    if (export_new_lease(random, err) < 0)
        return -1;
    snprintf(claim->lease, sizeof claim->lease, "%" PRId64 "-%" PRId64 "-%.16s", job_id, fence,
             random);
    return 0;
}

/* Whoever had it and is not known to have ended may still have files open. */
static bool may_still_write(const struct store_job *seen)
{
    return strcmp(seen->status, "running") == 0 && owner_look(seen) != OWNER_GONE &&
           seen->owner_pid;
}

/* Who began to run a replication, or went on with one, and what became of it. Jobs of other types
 * are part of something that has a row of its own. */
static int audit(struct store *store, const struct store_job *job, const char *what,
                 const char *before, const char *after, struct error **err)
{
    char subject[32];

    if (strcmp(job->type, JOB_REPLICATION) != 0)
        return 0;
    snprintf(subject, sizeof subject, "job %" PRId64, job->id);
    return store_audit_vm(store, job->vm_id, what, subject, before, after, err);
}

struct taking {
    const struct admission *admission;
    const struct claim_wants *wants;
    const struct store_job *seen;
    struct store_job *mine;
    int64_t now_ms;
    bool taken;
    char why[STORE_NAME]; /* "" when there is room */
};

static int audit_start(struct store *store, const struct taking *taking, struct error **err)
{
    const struct store_job *seen = taking->seen;
    char owner[OWNER_TEXT], after[OWNER_TEXT + 16];

    if (!taking->admission) /* taken to be ended, not to be run */
        return 0;
    snprintf(after, sizeof after, "running, by %s", owner_text(taking->mine, owner));
    return audit(store, taking->mine, seen->fence ? "job resume" : "replicate start", seen->status,
                 after, err);
}

static int admit_and_take(struct store *store, void *opaque, struct error **err)
{
    struct taking *taking = opaque;

    taking->taken = false;
    if (taking->wants->runs &&
        moved_refuse(store, taking->seen->vm_id, taking->wants->failover_id, err) < 0)
        return -1;
    if (admission_ask(store, taking->admission, taking->seen, taking->now_ms, taking->why, err) < 0)
        return -1;
    if (taking->why[0])
        return 0;
    if (store_claim_take(store, taking->seen, taking->mine, &taking->taken, err) < 0)
        return -1;
    return taking->taken ? audit_start(store, taking, err) : 0;
}

/* taking->why: it has to wait. */
static int take_once(struct store *store, const struct store_job *seen, int64_t lease,
                     struct claim *claim, struct taking *taking, struct error **err)
{
    struct store_job *mine = &claim->job;
    int64_t now;

    if (store_clock_ms(store, &now, err) < 0)
        return -1;
    if (!store_job_is_open(seen))
        return refuse_over(seen, err);
    if (claim_is_alive(seen, now))
        return claim_refuse_busy(store, seen, err);
    *mine = *seen;
    if (make_lease(claim, seen->id, seen->fence + 1, err) < 0)
        return -1;
    snprintf(mine->lease, sizeof mine->lease, "%s", claim->lease);
    strcpy(mine->status, "running");
    mine->expires_ms = now + lease;
    owner_fill(mine);
    claim->contested = may_still_write(seen);
    taking->seen = seen;
    taking->mine = mine;
    taking->now_ms = now;
    return store_transaction(store, admit_and_take, taking, err);
}

/* Nobody else could have taken it: what has changed, the operator did. */
static int still_waits(const struct store_job *job, struct error **err)
{
    if (strcmp(job->status, "paused") == 0)
        return error_set_kind(err, ERROR_PAUSED, "job %" PRId64 " was paused while it waited",
                              job->id);
    if (store_job_is_open(job))
        return 0;
    return error_set(err, "job %" PRId64 " was %s while it waited", job->id, job->status);
}

/* From the first byte on; later the heartbeat says. */
static void set_rate(struct store *store, struct claim *claim, const struct claim_wants *wants)
{
    const struct store_job *job = &claim->job;
    uint64_t own = job->rate >= 0 ? (uint64_t)job->rate : wants->rate;
    bool closed;

    atomic_store(&claim->rate, admission_rate(store, wants->admission, job, own, &closed));
}

int claim_take(struct store *store, int64_t job_id, const struct claim_wants *wants,
               struct claim **claim, struct error **err)
{
    CLEANUP_CLAIM struct claim *new = calloc(1, sizeof *new);
    struct taking taking = { .admission = wants->admission, .wants = wants };
    int64_t lease = lease_ms(wants), asked_ms = 0;
    char said[STORE_NAME] = "";

    if (!new)
        return error_set_errno(err, ENOMEM, "taking job %" PRId64, job_id);
    new->lease_ms = lease;
    for (int tries = 0; !taking.taken && tries < TAKE_TRIES;) {
        struct store_job seen;

        asked_ms = beat_clock_ms();
        if (store_job_get(store, job_id, &seen, err) < 0 ||
            (said[0] && still_waits(&seen, err) < 0) ||
            take_once(store, &seen, lease, new, &taking, err) < 0)
            return -1;
        if (!taking.why[0])
            tries++;
        else if (admission_wait(store, &seen, taking.why, wants->cancel, said, err) < 0)
            return -1;
    }
    if (!taking.taken)
        return error_set(err, "job %" PRId64 " changes all the time; try again", job_id);
    set_rate(store, new, wants);
    if (beat_start(new, store, wants, lease, asked_ms + lease, err) < 0)
        return -1;
    *claim = steal_ptr(new);
    return 0;
}

/* What was asked for when the job was made, and over that what is asked for now. */
static int write_wishes(struct store *store, struct store_job *job, const char *options,
                        int64_t rate, struct error **err)
{
    char merged[STORE_TEXT];

    if (job_options_merge(job->options, options, merged, sizeof merged, err) < 0)
        return -1;
    if (strcmp(merged, job->options) != 0) {
        memcpy(job->options, merged, sizeof merged);
        if (store_job_set_options(store, job->id, merged, err) < 0)
            return -1;
    }
    if (rate < 0 || rate == job->rate)
        return 0;
    job->rate = rate;
    return store_job_set_rate(store, job->id, rate, err);
}

/* Before the job is taken, too: its time window says when that may be, and whoever waits for
 * that may be killed meanwhile. */
static int write_early(struct store *store, struct store_job *job, const char *options,
                       int64_t rate, struct error **err)
{
    int64_t now;

    if (store_clock_ms(store, &now, err) < 0)
        return -1;
    return claim_is_alive(job, now) ? 0 : write_wishes(store, job, options, rate, err);
}

static int keep_wishes(struct store *store, struct claim *claim, const char *options, int64_t rate,
                       const struct claim_wants *wants, struct error **err)
{
    if (write_wishes(store, &claim->job, options, rate, err) < 0)
        return -1;
    set_rate(store, claim, wants);
    return 0;
}

static int create(struct store *store, const struct store_vm *vm, const char *type,
                  struct store_job *job, bool *created, struct error **err)
{
    *job = (struct store_job){ .vm_id = vm->id, .rate = -1 };
    snprintf(job->type, sizeof job->type, "%s", type);
    strcpy(job->sync_type, "incremental");
    *created = store_job_create(store, job, err) == 0;
    if (*created || (*err)->errnum != EEXIST)
        return *created ? 0 : -1;
    error_clear(err); /* somebody was faster */
    return 0;
}

/* Made by claim_hold(), whose process died before it took it: only a replication waits in the
 * queue for a worker. Should that process live, it finds the job at its end, and says so. */
static bool is_abandoned(const struct store_job *job)
{
    return strcmp(job->status, "queued") == 0 && strcmp(job->type, JOB_REPLICATION) != 0;
}

/* A merge that a signal or a full target stopped: the sync that comes now finishes it when it
 * prunes. */
static bool gives_way(const struct store_job *job)
{
    return strcmp(job->type, JOB_MERGE) == 0 && strcmp(job->status, "paused") == 0 &&
           strcmp(job->paused_by, "operator") != 0;
}

/* An open job of another type is in the way. */
static int clear_way(struct store *store, const struct store_vm *vm, const struct store_job *job,
                     struct error **err)
{
    const struct claim_wants wants = { 0 };
    CLEANUP_CLAIM struct claim *dead = NULL;

    bool replication = strcmp(job->type, JOB_REPLICATION) == 0, waits;
    int64_t now;

    if (store_clock_ms(store, &now, err) < 0)
        return -1;
    waits = strcmp(job->status, "running") != 0 && !is_abandoned(job) && !gives_way(job);
    if (waits || (replication && claim_is_dead(job, now))) {
        error_set(err,
                  "'%s' has an open job %" PRId64 " (%s, %s): `vmferry job resume %" PRId64
                  "` goes on with it, `vmferry job cancel %" PRId64 "` ends it",
                  vm->name, job->id, job->type,
                  strcmp(job->status, "running") == 0 ? "its worker has died" : job->status,
                  job->id, job->id);
        (*err)->errnum = EBUSY;
        return -1;
    }
    if (claim_take(store, job->id, &wants, &dead, err) < 0)
        return -1;
    return gives_way(job) ? claim_end(dead, store, "cancelled", NULL,
                                      "another job came; that or the next merge finishes it", err)
                          : claim_end(dead, store, "failed", NULL, "its worker died", err);
}

/* The VM's open job of this type, made when there is none. False when it has to be tried again. */
static int find_job(struct store *store, const struct store_vm *vm, const char *type,
                    struct store_job *job, bool *found, struct error **err)
{
    if (store_job_open(store, vm->id, found, job, err) < 0)
        return -1;
    if (!*found)
        return create(store, vm, type, job, found, err);
    *found = strcmp(job->type, type) == 0;
    return *found ? 0 : clear_way(store, vm, job, err);
}

int claim_vm(struct store *store, const struct store_vm *vm, const char *type, const char *options,
             int64_t rate, const struct claim_wants *wants, struct claim **claim,
             struct error **err)
{
    /* Before a job is made that could not be run; for good it is asked when the job is taken. */
    if (wants->runs && moved_refuse(store, vm->id, wants->failover_id, err) < 0)
        return -1;
    for (int tries = 0; tries < TAKE_TRIES; tries++) {
        struct store_job job;
        bool found;

        if (find_job(store, vm, type, &job, &found, err) < 0)
            return -1;
        if (!found)
            continue;
        if (write_early(store, &job, options, rate, err) < 0)
            return -1;
        if (claim_take(store, job.id, wants, claim, err) == 0)
            return keep_wishes(store, *claim, options, rate, wants, err);
        if ((*err)->errnum != EALREADY)
            return -1;
        error_clear(err); /* it ended in between */
    }
    return error_set(err, "'%s' is wanted by too many at once; try again", vm->name);
}

int claim_hold(struct store *store, const struct store_vm *vm, const char *type, atomic_int *cancel,
               struct claim **claim, struct error **err)
{
    const struct claim_wants wants = { .cancel = cancel };

    return claim_vm(store, vm, type, NULL, -1, &wants, claim, err);
}

int claim_let_go(struct claim *claim, struct store *store, int r, struct error **err)
{
    CLEANUP_ERROR struct error *unwritten = NULL;
    const char *status = r < 0 ? "failed" : "completed";
    enum claim_wish wish = claim_wish(claim);
    bool merge = strcmp(claim->job.type, JOB_MERGE) == 0;
    bool full = r < 0 && merge && (*err)->kind == ERROR_PAUSED && wish == CLAIM_GO_ON;
    bool paused = full || (r < 0 && merge && wish == CLAIM_PAUSE);
    const char *by = full ? full_paused_by(*err) : claim_paused_by(claim);

    if (r < 0 && wish == CLAIM_LOST) {
        error_clear(err);
        return claim_check(claim, err);
    }
    if (paused) {
        error_prefix(err, "job %" PRId64 " is paused, `vmferry job resume %" PRId64 "` goes on",
                     claim->job.id, claim->job.id);
        (*err)->kind = ERROR_PAUSED;
        status = "paused";
    } else if (r < 0 && (wish == CLAIM_CANCEL || wish == CLAIM_PAUSE)) {
        error_prefix(err, "job %" PRId64 " was cancelled", claim->job.id);
        status = "cancelled";
    }
    if (claim_end(claim, store, status, paused ? by : NULL, r < 0 ? error_message(*err) : NULL,
                  &unwritten) == 0)
        return r;
    return r < 0 ? -1 : error_move(err, &unwritten);
}

void claim_stop_also(struct claim *claim, atomic_int *flag)
{
    beat_stop_also(claim->beat, flag);
}

void claim_lapse(struct claim *claim)
{
    beat_lost(claim, NULL);
}

void claim_forget(struct claim *claim, struct store *store)
{
    CLEANUP_ERROR struct error *ignored = NULL;

    beat_hush(claim->beat);
    if (store_claim_forget(store, claim->job.id, claim->job.fence, &ignored) < 0) {
        error_clear(&ignored);
        claim_end(claim, store, "completed", NULL, NULL, &ignored);
    }
}

enum claim_wish claim_wish(struct claim *claim)
{
    return beat_wish(claim->beat);
}

const char *claim_paused_by(const struct claim *claim)
{
    return beat_was_signalled(claim->beat) ? "signal" : "operator";
}

int claim_check(struct claim *claim, struct error **err)
{
    return claim_wish(claim) == CLAIM_LOST ? beat_error(claim->beat, err) : 0;
}

const char *claim_ending(const char *status, const char *reason, char text[STORE_NAME])
{
    char word[16];

    snprintf(word, sizeof word, "%s", status);
    word[0] = (char)toupper((unsigned char)word[0]);
    snprintf(text, STORE_NAME, "%s%s%s", word, reason && *reason ? ": " : "", reason ? reason : "");
    return text;
}

struct body {
    struct claim *claim;
    int (*fn)(struct store *store, void *opaque, struct error **err);
    void *opaque;
    const char *status, *paused_by, *reason; /* of the end; status NULL: it goes on */
};

static int run_body(struct store *store, void *opaque, struct error **err)
{
    const struct body *body = opaque;
    const struct store_job *job = &body->claim->job;
    char operation[STORE_NAME];

    if (store_claim_check(store, job->id, job->fence, err) < 0 ||
        (body->fn && body->fn(store, body->opaque, err) < 0))
        return -1;
    if (!body->status)
        return 0;
    claim_ending(body->status, body->reason, operation);
    if (strcmp(body->status, "completed") != 0 &&
        store_steps_stop(store, job->id, body->reason, err) < 0)
        return -1;
    if (store_claim_end(store, job->id, job->fence, body->status, body->paused_by, operation,
                        body->reason, err) < 0)
        return -1;
    return audit(store, job, "replicate end", "running", operation, err);
}

/* The row tells to whom. */
static void find_out(struct claim *claim, struct store *store)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    struct store_job job;

    if (store_job_get(store, claim->job.id, &job, &ignored) == 0)
        beat_lost(claim, &job);
    else
        beat_lost(claim, NULL);
}

static int transact(struct store *store, struct body *body, struct error **err)
{
    struct claim *claim = body->claim;

    if (claim_check(claim, err) < 0)
        return -1;
    if (store_transaction(store, run_body, body, err) == 0)
        return 0;
    if ((*err)->errnum != ESTALE)
        return -1;
    error_clear(err);
    find_out(claim, store);
    return claim_check(claim, err);
}

int claim_transaction(struct claim *claim, struct store *store,
                      int (*fn)(struct store *store, void *opaque, struct error **err),
                      void *opaque, struct error **err)
{
    struct body body = { .claim = claim, .fn = fn, .opaque = opaque };

    return transact(store, &body, err);
}

struct step {
    int64_t job_id, disk_id;
    const char *step, *state, *detail;
};

static int write_step(struct store *store, void *opaque, struct error **err)
{
    const struct step *step = opaque;

    return store_step(store, step->job_id, step->disk_id, step->step, step->state, step->detail,
                      err);
}

int claim_step(struct claim *claim, struct store *store, int64_t disk_id, const char *step,
               const char *state, const char *detail, struct error **err)
{
    struct step row = { claim->job.id, disk_id, step, state, detail };

    return claim_transaction(claim, store, write_step, &row, err);
}

int claim_end_with(struct claim *claim, struct store *store, const char *status,
                   const char *paused_by, const char *reason,
                   int (*fn)(struct store *store, void *opaque, struct error **err), void *opaque,
                   struct error **err)
{
    struct body body = { claim, fn, opaque, status, paused_by, reason };

    beat_hush(claim->beat);
    return transact(store, &body, err);
}

int claim_end(struct claim *claim, struct store *store, const char *status, const char *paused_by,
              const char *reason, struct error **err)
{
    return claim_end_with(claim, store, status, paused_by, reason, NULL, NULL, err);
}

void claim_free(struct claim *claim)
{
    if (!claim)
        return;
    beat_stop(claim);
    free(claim);
}
