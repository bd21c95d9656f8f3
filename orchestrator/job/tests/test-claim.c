/* Owning a job, over both databases: who may take it, who loses it, and that an owner that was
 * replaced writes nothing. */
#include <signal.h>
#include <sys/wait.h>

#include "job/claim.h"
#include "store/tests/databases.h"

#define SECOND_MS 1000

static const struct claim_wants wants = { .lease_seconds = 3 };

static struct store_vm new_vm(struct store *store)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store_source source = { .name = "lab", .kind = "nbd", .location = "/x" };
    struct store_vm vm = { .uuid = "6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f", .name = "app01" };

    assert_int_equal(store_source_add(store, &source, &err), 0);
    vm.source_id = source.id;
    assert_int_equal(store_vm_upsert(store, &vm, "{}", &err), 0);
    return vm;
}

static struct claim *take(struct store *store, const struct store_vm *vm)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct claim *claim = NULL;

    if (claim_vm(store, vm, JOB_REPLICATION, NULL, -1, &wants, &claim, &err) < 0)
        fail_msg("%s", error_message(err));
    return claim;
}

static struct store_job job_of(struct store *store, int64_t id)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store_job job;

    if (store_job_get(store, id, &job, &err) < 0)
        fail_msg("%s", error_message(err));
    return job;
}

/* As if the worker of every running job were elsewhere, with a lease that runs out then. */
static void elsewhere(const struct database *database, int64_t expires_ms)
{
    char sql[256];

    snprintf(sql, sizeof sql,
             "UPDATE replication_jobs SET owner_host = 'elsewhere', lease_expires_at = %lld "
             "WHERE status = 'running'",
             (long long)expires_ms);
    database_sql(database, sql);
}

static void test_one_owner(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_ERROR struct error *err = NULL;
    struct store_vm vm = new_vm(store);
    CLEANUP_CLAIM struct claim *first = take(store, &vm);
    CLEANUP_CLAIM struct claim *second = NULL;
    struct store_job job;

    assert_int_equal(claim_vm(store, &vm, JOB_REPLICATION, NULL, -1, &wants, &second, &err), -1);
    assert_int_equal(err->errnum, EBUSY);
    assert_non_null(strstr(error_message(err), "vmferry job watch"));
    error_clear(&err);
    assert_int_equal(claim_hold(store, &vm, "merge", NULL, &second, &err), -1);
    assert_int_equal(err->errnum, EBUSY);
    error_clear(&err);
    job = job_of(store, first->job.id);
    assert_string_equal(job.status, "running");
    assert_int_equal(job.fence, 1);
    assert_int_equal(job.owner_pid, getpid());
    assert_string_equal(job.lease, first->lease);
    assert_false(first->contested);
    assert_int_equal(claim_end(first, store, "completed", NULL, NULL, &err), 0);
    job = job_of(store, first->job.id);
    assert_string_equal(job.operation, "Completed");
    assert_string_equal(job.lease, "");
    assert_int_equal(claim_take(store, job.id, &wants, &second, &err), -1);
    assert_int_equal(err->errnum, EALREADY);
    error_clear(&err);
    second = take(store, &vm);
    assert_true(second->job.id != first->job.id);
    assert_int_equal(claim_end(second, store, "failed", NULL, "why", &err), 0);
    assert_string_equal(job_of(store, second->job.id).operation, "Failed: why");
}

/* The same job goes on, with the same options and those that are said now. */
static void test_paused(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_ERROR struct error *err = NULL;
    struct store_vm vm = new_vm(store);
    CLEANUP_CLAIM struct claim *first = NULL;
    CLEANUP_CLAIM struct claim *second = NULL;
    struct store_job job;

    assert_int_equal(claim_vm(store, &vm, JOB_REPLICATION, "{\"full\":true,\"parallel\":1}", 5000,
                              &wants, &first, &err),
                     0);
    assert_int_equal(claim_end(first, store, "paused", "operator", "so", &err), 0);
    job = job_of(store, first->job.id);
    assert_string_equal(job.paused_by, "operator");
    assert_int_equal(claim_hold(store, &vm, "merge", NULL, &second, &err), -1);
    assert_non_null(strstr(error_message(err), "vmferry job resume"));
    error_clear(&err);
    assert_int_equal(
        claim_vm(store, &vm, JOB_REPLICATION, "{\"parallel\":4}", -1, &wants, &second, &err), 0);
    job = job_of(store, first->job.id);
    assert_int_equal(second->job.id, first->job.id);
    assert_int_equal(job.fence, 2);
    assert_int_equal(job.rate, 5000);
    assert_non_null(strstr(job.options, "\"full\":true"));
    assert_non_null(strstr(job.options, "\"parallel\":4"));
    assert_string_equal(job.paused_by, "");
    assert_false(second->contested);
}

/* A process that has ended is replaced at once, although its lease lasts. */
static void test_dead_owner(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    struct store_vm vm = new_vm(store);
    CLEANUP_CLAIM struct claim *claim = NULL;
    pid_t worker = fork();
    int status;

    if (worker == 0) {
        struct store *own = database_open(*state);

        take(own, &vm);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitid(P_PID, (id_t)worker, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
    claim = take(store, &vm); /* a zombie is no worker either */
    assert_int_equal(claim->job.fence, 2);
    assert_false(claim->contested);
    waitpid(worker, &status, 0);
}

static int no_work(struct store *store, void *opaque, struct error **err)
{
    (void)store;
    (void)err;
    ++*(int *)opaque;
    return 0;
}

static void test_lease_runs_out(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_ERROR struct error *err = NULL;
    struct store_vm vm = new_vm(store);
    CLEANUP_CLAIM struct claim *stale = take(store, &vm);
    CLEANUP_CLAIM struct claim *claim = NULL;
    struct store_job job;
    int64_t now;
    int runs = 0;

    assert_int_equal(store_clock_ms(store, &now, &err), 0);
    elsewhere(*state, now + 60 * SECOND_MS);
    assert_int_equal(claim_take(store, stale->job.id, &wants, &claim, &err), -1);
    assert_non_null(strstr(error_message(err), "on host elsewhere"));
    error_clear(&err);
    elsewhere(*state, now - 1);
    claim = take(store, &vm);
    assert_int_equal(claim->job.fence, 2);
    assert_true(claim->contested); /* nobody knows whether it is dead */

    /* Whatever the old one writes is refused, and it is told who has the job. */
    assert_int_equal(claim_transaction(stale, store, no_work, &runs, &err), -1);
    assert_int_equal(runs, 0);
    assert_int_equal(err->errnum, ESTALE);
    assert_non_null(strstr(error_message(err), "this worker lost job"));
    error_clear(&err);
    assert_int_equal(claim_wish(stale), CLAIM_LOST);
    assert_int_equal(atomic_load(&stale->stop), 1);
    assert_int_equal(claim_step(stale, store, 0, "copy", "done", NULL, &err), -1);
    error_clear(&err);
    assert_int_equal(store_job_update(store, &stale->job, &err), -1);
    error_clear(&err);
    assert_int_equal(claim_end(stale, store, "completed", NULL, NULL, &err), -1);
    error_clear(&err);
    job = job_of(store, claim->job.id);
    assert_string_equal(job.status, "running");
    assert_int_equal(job.fence, 2);
    assert_int_equal(claim_transaction(claim, store, no_work, &runs, &err), 0);
    assert_int_equal(runs, 1);
}

static bool wished(struct claim *claim, enum claim_wish wish)
{
    for (int i = 0; i < 50 && claim_wish(claim) != wish; i++)
        usleep(100000);
    return claim_wish(claim) == wish;
}

/* What is said in the database reaches the worker, and the heartbeat keeps the lease. */
static void test_heartbeat(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_ERROR struct error *err = NULL;
    struct store_vm vm = new_vm(store);
    CLEANUP_CLAIM struct claim *claim = take(store, &vm);
    CLEANUP_CLAIM struct claim *other = NULL;
    int64_t expires = job_of(store, claim->job.id).expires_ms;
    bool asked;

    assert_int_equal(store_job_set_rate(store, claim->job.id, 12345, &err), 0);
    for (int i = 0; i < 50 && atomic_load(&claim->rate) != 12345; i++)
        usleep(100000);
    assert_int_equal(atomic_load(&claim->rate), 12345);
    sleep(3);
    assert_true(job_of(store, claim->job.id).expires_ms > expires);
    assert_int_equal(claim_wish(claim), CLAIM_GO_ON);
    assert_int_equal(store_job_ask(store, claim->job.id, "pause", &asked, &err), 0);
    assert_true(asked && wished(claim, CLAIM_PAUSE));
    assert_int_equal(store_job_ask(store, claim->job.id, "cancel", &asked, &err), 0);
    assert_true(wished(claim, CLAIM_CANCEL));
    /* Taken by somebody else: the heartbeat finds out by itself. */
    elsewhere(*state, 1);
    other = take(store, &vm);
    assert_true(wished(claim, CLAIM_LOST));
    assert_int_equal(claim_check(claim, &err), -1);
}

/* Many want the same job: one gets it. */
static void test_race(void **state)
{
    struct store *store = database_open(*state);
    struct store_vm vm = new_vm(store);
    int got = 0;

    store_close(store); /* not open in two processes */

    for (int i = 0; i < 6; i++) {
        if (fork() == 0) {
            struct error *err = NULL;
            struct claim *claim = NULL;
            struct store *own = database_open(*state);
            int r = claim_vm(own, &vm, JOB_REPLICATION, NULL, -1, &wants, &claim, &err);

            r = r == 0 ? 0 : err->errnum == EBUSY ? 1 : 2;
            sleep(2); /* the others meet a living worker */
            claim_free(claim);
            store_close(own);
            error_clear(&err);
            _exit(r);
        }
    }
    for (int i = 0; i < 6; i++) {
        int status;

        wait(&status);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        got += WEXITSTATUS(status) == 0;
    }
    assert_int_equal(got, 1);
    store = database_open(*state);
    assert_int_equal(job_of(store, 1).fence, 1);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_one_owner),      BOTH(test_paused),    BOTH(test_dead_owner),
        BOTH(test_lease_runs_out), BOTH(test_heartbeat), BOTH(test_race),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    database_server_stop();
    return failed;
}
