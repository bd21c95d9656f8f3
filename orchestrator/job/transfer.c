/* The bytes of a sync; see sync.h. What comes in: images and leaves that are ready to
 * be written. What goes out: every disk copied through its export under this job's
 * lease, flushed, verified, with its digest. Disks are copied side by side, a thread
 * each; this thread owns the server, the rate and the job's row. It never decides
 * what to copy, and never calls a point complete. */
#include <string.h>
#include <time.h>

#include "job/keeper.h"
#include "job/sync.h"
#include "log/log.h"
#include "replica/view.h"

#define TICK_MS         200
#define ROW_INTERVAL_MS 600
#define SPACE_MS        1000

/* What a disk's copy does, in its order; each is a step of the job. */
enum phase { PHASE_NONE, PHASE_COPY, PHASE_FLUSH, PHASE_VERIFY };
static const char *const phase_steps[] = { "", "copy", "flush", "verify" };

/* One disk's figures; the lock of struct transfer protects them. */
struct figures {
    struct progress_record record;
    char operation[32];
    enum phase phase;
};

struct transfer {
    struct sync *sync;
    struct export_server *server;
    atomic_int cancel; /* the operator's wish, or another disk failed */
    pthread_mutex_t lock;
    size_t next;     /* disk to be copied; protected by the lock, as is all below */
    size_t active;   /* disks being copied */
    unsigned ending; /* workers that have ended */
    pthread_cond_t ended;
    struct error *error;
    struct figures *figures;
    struct progress_meter meter; /* of the whole job; the main thread's */
    struct keeper keeper;
};

/* One disk in one thread. */
struct watcher {
    struct transfer *transfer;
    size_t index;
    bool reading;                    /* the replica, before the copy */
    struct progress_meter meter;     /* of what has to move */
    struct progress_meter verifying; /* of what is read again */
    char trouble[400];               /* that was said last */
};

static void show(struct watcher *watcher, const char *operation)
{
    const struct replicate_options *options = watcher->transfer->sync->options;

    if (options->progress)
        options->progress(options->opaque, (unsigned)watcher->index, &watcher->meter.record,
                          operation);
}

/* Each try is said. Those who serve a live source's disks know better what is wrong. */
static void say_trouble(struct watcher *watcher, const char *trouble)
{
    const struct sync *sync = watcher->transfer->sync;
    const struct source_kind *kind = sync->from.source->kind;
    const struct store_disk *disk = &sync->disks[watcher->index].stored;
    CLEANUP_ERROR struct error *text = NULL;
    LOG_JOB(sync->job.id, sync->vm->name);
    LOG_DISK(disk->key, disk->id);

    if (strcmp(watcher->trouble, trouble ? trouble : "") == 0)
        return;
    atomic_fetch_add(&watcher->transfer->keeper.hurry, !!trouble - !!watcher->trouble[0]);
    snprintf(watcher->trouble, sizeof watcher->trouble, "%s", trouble ? trouble : "");
    error_set(&text, "%s", trouble ? trouble : "it is answered again");
    if (trouble && strstr(trouble, "source") && sync_is_live(sync) && kind->explain)
        kind->explain(sync->from.source, sync->disks[watcher->index].offered->place, &text);
    log_write(trouble ? LEVEL_WARNING : LEVEL_NOTICE, "copy", "%s", error_message(text));
}

/* The steps up to `phase` are done. The lock is held. */
static int enter_phase(struct transfer *transfer, size_t index, enum phase phase,
                       struct error **err)
{
    struct figures *figures = &transfer->figures[index];
    struct disk_sync *disk = &transfer->sync->disks[index];

    while (figures->phase < phase) {
        if (figures->phase != PHASE_NONE &&
            sync_step(transfer->sync, disk, phase_steps[figures->phase], "done", NULL, err) < 0)
            return -1;
        figures->phase++;
        if (sync_step(transfer->sync, disk, phase_steps[figures->phase], "running", NULL, err) < 0)
            return -1;
    }
    return 0;
}

/* The first disk that fails stops the others; theirs is then not the reason. */
static void note_error(struct transfer *transfer, struct error **err)
{
    if (!transfer->error)
        error_move(&transfer->error, err);
    atomic_store(&transfer->cancel, 1);
}

static enum phase phase_of(const struct copy_progress *now)
{
    if (now->operation && strcmp(now->operation, "verifying") == 0)
        return PHASE_VERIFY;
    return now->total_known && now->bytes_done == now->bytes_total ? PHASE_FLUSH : PHASE_COPY;
}

/* What is read again moves no more: it has a rate and an end of its own. */
static void meter(struct watcher *watcher, const struct copy_progress *now, bool verifying)
{
    struct progress_record *record = &watcher->meter.record;
    int64_t now_ns = progress_now_ns();

    if (!verifying) {
        progress_meter_update(&watcher->meter, now->bytes_done, now->bytes_total, now_ns);
        return;
    }
    if (watcher->verifying.start_ns == 0)
        progress_meter_update(&watcher->verifying, 0, 0, now_ns);
    progress_meter_update(&watcher->verifying, now->bytes_done, now->bytes_total, now_ns);
    record->throughput = watcher->verifying.record.throughput;
    record->eta_seconds = watcher->verifying.record.eta_seconds;
    record->time_ms = watcher->verifying.record.time_ms;
}

static void on_progress(void *opaque, const struct copy_progress *now)
{
    struct watcher *watcher = opaque;
    struct transfer *transfer = watcher->transfer;
    struct figures *figures = &transfer->figures[watcher->index];
    const char *operation = now->trouble ? "waiting" : now->operation;
    CLEANUP_ERROR struct error *problem = NULL;

    if (watcher->reading)
        operation = "reading the replica";
    meter(watcher, now, phase_of(now) == PHASE_VERIFY);
    say_trouble(watcher, now->trouble);
    show(watcher, operation);
    LOCK_SCOPE(&transfer->lock);
    figures->record = watcher->meter.record;
    snprintf(figures->operation, sizeof figures->operation, "%s", operation ? operation : "");
    if (!watcher->reading && enter_phase(transfer, watcher->index, phase_of(now), &problem) < 0)
        note_error(transfer, &problem);
}

static void watcher_init(struct watcher *watcher, struct transfer *transfer, size_t index)
{
    const struct disk_sync *disk = &transfer->sync->disks[index];
    char label[STORE_NAME + 32];

    *watcher = (struct watcher){ .transfer = transfer, .index = index };
    snprintf(label, sizeof label, "%s disk-%d", transfer->sync->vm->name, disk->stored.key);
    progress_meter_init(&watcher->meter, label, sync_type_name(disk->type));
    progress_meter_init(&watcher->verifying, "", "");
    progress_meter_update(&watcher->meter, 0, 0, progress_now_ns()); /* its clock starts */
}

static void watcher_end(struct watcher *watcher, const struct error *err)
{
    enum progress_state state = !err                        ? PROGRESS_COMPLETED
                                : err->kind == ERROR_PAUSED ? PROGRESS_PAUSED
                                                            : PROGRESS_FAILED;

    progress_meter_finish(&watcher->meter, state, progress_now_ns());
    show(watcher, NULL);
}

static int check_result(const struct disk_sync *disk, struct error **err)
{
    if (disk->result.size != disk->capacity)
        return error_set(err, "the source has %llu bytes now, not %llu",
                         (unsigned long long)disk->result.size, (unsigned long long)disk->capacity);
    if (!disk->result.has_digest)
        return error_set(err, "the copy made no digest");
    return 0;
}

/* An interrupted copy of the same moment is known by this, whatever the lease is. */
static void journal_key(const struct sync *sync, const struct disk_sync *disk, char *key,
                        size_t size)
{
    snprintf(key, size, "%s disk-%d %s %s", sync->vm->uuid, disk->stored.key, disk->row.sync_type,
             disk->offered->change_id);
}

static const char *changes_of(const struct disk_sync *disk)
{
    if (disk->type != SYNC_INCREMENTAL)
        return NULL;
    return disk->offered->changes_is_file ? disk->changes : disk->offered->changes;
}

static int copy(struct transfer *transfer, struct disk_sync *disk, struct watcher *watcher,
                struct error **err)
{
    const struct replicate_options *wishes = transfer->sync->options;
    char key[SPEC_TEXT + 128];
    struct copy_options options = {
        .changes = changes_of(disk),
        .target_zero = disk->type == SYNC_INITIAL && !disk->read_first &&
                       pool_reads_zero(&transfer->sync->pool),
        .connections = wishes->connections,
        .patience_s = wishes->patience_s,
        .rate = &disk->rate,
        .verify = !wishes->no_verify,
        .digest = true,
        .leaves = disk->leaves,
        .compare = (disk->type == SYNC_RESYNC && !disk->send_all) || disk->read_first,
        .journal = disk->read_first ? NULL : sync_journal(disk),
        .journal_key = key,
        .resumable = true,
        .cancel = &transfer->cancel,
        .progress = on_progress,
        .opaque = watcher,
    };

    journal_key(transfer->sync, disk, key, sizeof key);
    if (copy_disk(disk->offered->place, disk->uri, &options, &disk->result, err) < 0)
        return -1;
    return check_result(disk, err);
}

static void take_result(struct disk_sync *disk)
{
    digest_to_text(&disk->result.digest, disk->row.digest);
    /* What was only compared has not moved. */
    disk->row.bytes = (disk->type == SYNC_RESYNC && !disk->send_all) || disk->read_first
                          ? disk->result.bytes_written + disk->result.bytes_zeroed
                          : disk->result.bytes_total;
}

static int copy_one(struct transfer *transfer, size_t index, struct error **err)
{
    struct sync *sync = transfer->sync;
    struct disk_sync *disk = &sync->disks[index];
    struct watcher watcher;
    int r;

    watcher_init(&watcher, transfer, index);
    disk->began_ms = store_now_ms();
    r = copy(transfer, disk, &watcher, err);
    disk->ended_ms = store_now_ms();
    watcher_end(&watcher, r < 0 ? *err : NULL);
    if (r < 0)
        return error_prefix(err, "disk-%d", disk->stored.key);
    take_result(disk);
    return 0;
}

struct done_disk {
    const struct sync *sync;
    const struct disk_sync *disk;
    const char *step;
};

/* Both or neither: a disk that is complete is not looked at again, nor is its step. */
static int complete_disk(struct store *store, void *opaque, struct error **err)
{
    const struct done_disk *done = opaque;
    const struct store_point_disk *row = &done->disk->row;

    return store_point_disk_complete(store, row, err) < 0
               ? -1
               : store_step(store, done->sync->job.id, done->disk->stored.id, done->step, "done",
                            row->digest, err);
}

/* A disk that is durable is not copied again when another one fails. */
static int note_done(struct transfer *transfer, size_t index, struct error **err)
{
    struct sync *sync = transfer->sync;
    struct disk_sync *disk = &sync->disks[index];
    enum phase last = sync->options->no_verify ? PHASE_FLUSH : PHASE_VERIFY;
    struct done_disk done = { sync, disk, phase_steps[last] };

    if (enter_phase(transfer, index, last, err) < 0 ||
        claim_transaction(sync->claim, sync->store, complete_disk, &done, err) < 0)
        return -1;
    disk->row.complete = true;
    return sync_step(sync, disk, phase_steps[last], "done", disk->row.digest, err);
}

static bool take_disk(struct transfer *transfer, size_t *index)
{
    LOCK_SCOPE(&transfer->lock);
    while (transfer->next < transfer->sync->count &&
           !sync_needs_copy(&transfer->sync->disks[transfer->next]))
        transfer->next++;
    if (transfer->next == transfer->sync->count || transfer->error)
        return false;
    *index = transfer->next++;
    transfer->active++;
    return true;
}

static void *worker(void *opaque)
{
    struct transfer *transfer = opaque;
    LOG_JOB(transfer->sync->job.id, transfer->sync->vm->name);
    size_t index;

    while (take_disk(transfer, &index)) {
        CLEANUP_ERROR struct error *err = NULL;
        int r = copy_one(transfer, index, &err);

        LOCK_SCOPE(&transfer->lock);
        transfer->active--;
        if (r == 0)
            r = note_done(transfer, index, &err);
        if (r < 0)
            note_error(transfer, &err);
    }
    LOCK_SCOPE(&transfer->lock);
    transfer->ending++;
    pthread_cond_signal(&transfer->ended);
    return NULL;
}

/* The rate is for all disks together. */
static void share_rate(struct transfer *transfer)
{
    uint64_t rate = atomic_load(&transfer->sync->claim->rate);
    uint64_t share = transfer->active > 1 ? rate / transfer->active : rate;

    for (size_t i = 0; i < transfer->sync->count; i++)
        atomic_store(&transfer->sync->disks[i].rate, rate && !share ? 1 : share);
}

static void show_disk(struct sync *sync, struct disk_sync *disk, const struct figures *figures)
{
    const struct progress_record *record = &figures->record;
    struct store_job_disk *row = &disk->shown;

    *row = (struct store_job_disk){ .job_id = sync->job.id,
                                    .disk_id = disk->stored.id,
                                    .bytes_done = record->bytes_done,
                                    .bytes_total = record->bytes_total,
                                    .throughput = record->throughput,
                                    .eta_seconds = record->eta_seconds,
                                    .percent = record->percent };
    snprintf(row->sync_type, sizeof row->sync_type, "%s", sync_type_name(disk->type));
    snprintf(row->operation, sizeof row->operation, "%s", figures->operation);
    if (!sync_needs_copy(disk) || disk->row.complete) {
        if (record->bytes_total == 0) /* an earlier run copied it */
            row->bytes_done = row->bytes_total = disk->row.bytes;
        row->percent = 100;
        row->eta_seconds = 0;
        row->throughput = 0;
        strcpy(row->operation, "Completed");
    }
}

static int write_rows(struct store *store, void *opaque, struct error **err)
{
    struct sync *sync = opaque;

    for (size_t i = 0; i < sync->count; i++) {
        if (store_job_disk_put(store, &sync->disks[i].shown, err) < 0)
            return -1;
    }
    return store_job_update(store, &sync->job, err);
}

/* Its bytes are not among those of the job's meter any more. */
static void add_verifying(struct store_job *job, const struct store_job_disk *disk)
{
    if (strcmp(disk->operation, "verifying") != 0)
        return;
    job->throughput += disk->throughput;
    if (job->eta_seconds < disk->eta_seconds)
        job->eta_seconds = disk->eta_seconds;
}

static void update_row(struct transfer *transfer)
{
    struct sync *sync = transfer->sync;
    struct store_job *job = &sync->job;
    CLEANUP_ERROR struct error *busy = NULL;
    uint64_t done = 0, total = 0;

    job->bytes_done = job->bytes_total = 0;
    for (size_t i = 0; i < sync->count; i++) {
        done += transfer->figures[i].record.bytes_done;
        total += transfer->figures[i].record.bytes_total;
        if (transfer->figures[i].operation[0])
            strcpy(job->operation, transfer->figures[i].operation);
        show_disk(sync, &sync->disks[i], &transfer->figures[i]);
        job->bytes_done += sync->disks[i].shown.bytes_done;
        job->bytes_total += sync->disks[i].shown.bytes_total;
    }
    progress_meter_update(&transfer->meter, done, total, progress_now_ns());
    job->throughput = transfer->meter.record.throughput;
    job->eta_seconds = transfer->meter.record.eta_seconds;
    job->percent = transfer->meter.record.percent;
    for (size_t i = 0; i < sync->count; i++)
        add_verifying(job, &sync->disks[i].shown);
    /* The next time tries again; a job that is lost is noticed by its claim. */
    claim_transaction(sync->claim, sync->store, write_rows, sync, &busy);
}

/* A while, or until a worker ends. The lock is held. */
static void wait_a_tick(struct transfer *transfer)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_clockwait(&transfer->ended, &transfer->lock, CLOCK_MONOTONIC, &until);
}

static void on_gone(void *opaque, struct error **err)
{
    struct transfer *transfer = opaque;

    LOCK_SCOPE(&transfer->lock);
    note_error(transfer, err);
}

/* True when `interval_ms` have passed; then anew. */
static bool is_time(int64_t *last_ns, int64_t interval_ms)
{
    int64_t now = progress_now_ns();

    if (now - *last_ns <= interval_ms * 1000000)
        return false;
    *last_ns = now;
    return true;
}

/* Until all workers have ended. */
static void supervise(struct transfer *transfer, unsigned workers)
{
    int64_t row_ns = progress_now_ns(), space_ns = row_ns;

    LOCK_SCOPE(&transfer->lock);
    while (transfer->ending < workers) {
        CLEANUP_ERROR struct error *err = NULL;

        if (!atomic_load(&transfer->cancel) && export_server_keep(transfer->server, &err) < 0)
            note_error(transfer, &err);
        if (!atomic_load(&transfer->cancel) && is_time(&space_ns, SPACE_MS) &&
            sync_watch_space(transfer->sync, &err) < 0)
            note_error(transfer, &err);
        share_rate(transfer);
        if (is_time(&row_ns, ROW_INTERVAL_MS))
            update_row(transfer);
        if (transfer->ending < workers)
            wait_a_tick(transfer);
    }
    update_row(transfer);
}

static unsigned count_workers(const struct sync *sync)
{
    unsigned workers = 0;

    for (size_t i = 0; i < sync->count; i++)
        workers += sync_needs_copy(&sync->disks[i]);
    if (workers > sync->options->parallel)
        workers = sync->options->parallel ? sync->options->parallel : 1;
    return workers;
}

static int copy_all(struct transfer *transfer, struct error **err)
{
    unsigned workers = count_workers(transfer->sync), started = 0;
    CLEANUP_FREE pthread_t *threads = calloc(workers ? workers : 1, sizeof *threads);

    share_rate(transfer);
    for (; threads && started < workers; started++) {
        if (pthread_create(&threads[started], NULL, worker, transfer) != 0)
            break;
    }
    if (workers > 0 && started == 0)
        return error_set_errno(err, ENOMEM, "starting a thread");
    claim_stop_also(transfer->sync->claim, &transfer->cancel);
    keeper_start(&transfer->keeper);
    supervise(transfer, started);
    keeper_stop(&transfer->keeper);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    claim_stop_also(transfer->sync->claim, NULL);
    return transfer->error ? error_move(err, &transfer->error) : 0;
}

/* The leaves of what the image really holds, for a comparison to start from. */
static int read_image(struct transfer *transfer, size_t index, struct error **err)
{
    struct sync *sync = transfer->sync;
    struct disk_sync *disk = &sync->disks[index];
    CLEANUP_VIEW struct replica_view view = REPLICA_VIEW_INIT;
    struct copy_result result;
    struct watcher watcher;
    struct copy_options options = { .patience_s = sync->options->patience_s,
                                    .resumable = true,
                                    .cancel = &sync->claim->stop,
                                    .progress = on_progress,
                                    .opaque = &watcher };

    watcher_init(&watcher, transfer, index);
    watcher.reading = true;
    /* Once we are let in to write, no writer of an earlier lease is left. */
    if (copy_reach(disk->uri, &options, err) < 0 ||
        replica_view_open(sync->state_dir, disk->image, disk->row.format, disk->capacity, &view,
                          err) < 0)
        return -1;
    return copy_digest(view.place, disk->leaves, &options, &result, err);
}

/* The job's lease goes into every export that is written. */
static int open_exports(struct transfer *transfer, struct error **err)
{
    struct sync *sync = transfer->sync;

    for (size_t i = 0; i < sync->count; i++) {
        struct disk_sync *disk = &sync->disks[i];
        struct export_target target = sync_target(sync, disk);

        if (!sync_needs_copy(disk))
            continue;
        if (sync_grant(sync, &target, sync->claim->lease, err) < 0)
            return error_prefix(err, "disk-%d", disk->stored.key);
        disk->uri = export_uri(transfer->server, &target, sync->claim->lease);
        if (!disk->uri)
            return error_set_errno(err, ENOMEM, "disk-%d", disk->stored.key);
        if (disk->read_first && read_image(transfer, i, err) < 0)
            return error_prefix(err, "disk-%d: reading the replica", disk->stored.key);
    }
    return 0;
}

/* What was not copied now is known from before. */
static void fill_others(struct sync *sync)
{
    for (size_t i = 0; i < sync->count; i++) {
        struct disk_sync *disk = &sync->disks[i];

        if (disk->type == SYNC_UNCHANGED)
            memcpy(disk->row.digest, disk->parent.digest, sizeof disk->row.digest);
        if (disk->start == START_DONE) {
            disk->row.complete = true;
            disk->result.bytes_resumed = disk->row.bytes;
        }
    }
}

static int start_server(const struct sync *sync, struct export_server *server, struct error **err)
{
    const char *shared = sync->options->export_socket;

    return shared && *shared ? export_server_join(shared, server, err)
                             : export_server_start(sync->state_dir, sync->vm, server, err);
}

int sync_transfer(struct sync *sync, struct error **err)
{
    CLEANUP_EXPORT_SERVER struct export_server server = EXPORT_SERVER_INIT;
    CLEANUP_FREE struct figures *figures = calloc(sync->count, sizeof *figures);
    struct transfer transfer = {
        .sync = sync, .server = &server, .lock = PTHREAD_MUTEX_INITIALIZER, .figures = figures
    };

    if (!figures)
        return error_set_errno(err, ENOMEM, "copying");
    transfer.keeper = (struct keeper){ .sync = sync, .gone = on_gone, .opaque = &transfer };
    progress_meter_init(&transfer.meter, sync->vm->name, sync->job.sync_type);
    fill_others(sync);
    progress_meter_update(&transfer.meter, 0, 0, progress_now_ns());
    update_row(&transfer);
    if (count_workers(sync) == 0)
        return 0;
    if (start_server(sync, &server, err) < 0)
        return -1;
    if (open_exports(&transfer, err) == 0 && copy_all(&transfer, err) == 0)
        return 0;
    export_server_explain(&server, err);
    return -1;
}
