/* Limits of jobs, counted in the database, and what all workers share; over both databases. */
#include "store/limits.h"
#include "store/tests/databases.h"

#define NOW 1000000

/* Four VMs: 1 and 2 of source a on host esx1, 3 of a on esx2, 4 of b; jobs of the same ids. */
static void fill(struct database *database)
{
    database_sql(database, "INSERT INTO sources (id, name, kind, location, created_at) VALUES "
                           "(1, 'a', 'nbd', '/a', 0), (2, 'b', 'nbd', '/b', 0)");
    database_sql(database, "INSERT INTO vms (id, uuid, source_id, name, spec, source_host, "
                           "created_at, updated_at) VALUES "
                           "(1, 'u1', 1, 'vm1', '{}', 'esx1', 0, 0), "
                           "(2, 'u2', 1, 'vm2', '{}', 'esx1', 0, 0), "
                           "(3, 'u3', 1, 'vm3', '{}', 'esx2', 0, 0), "
                           "(4, 'u4', 2, 'vm4', '{}', NULL, 0, 0)");
    for (int id = 1; id <= 4; id++) {
        char sql[300];

        snprintf(sql, sizeof sql,
                 "INSERT INTO replication_jobs (id, vm_id, replication_type, sync_type, status, "
                 "created_at, updated_at) VALUES (%d, %d, 'manual', 'initial', 'queued', %d, 0)",
                 id, id, id);
        database_sql(database, sql);
    }
}

static void set(struct database *database, const char *what, int job)
{
    char sql[300];

    snprintf(sql, sizeof sql, "UPDATE replication_jobs SET %s WHERE id = %d", what, job);
    database_sql(database, sql);
}

static void start(struct database *database, int job)
{
    set(database, "status = 'running', lease_expires_at = 1000001", job);
}

struct question {
    int64_t job;
    struct store_limits limits;
    char why[STORE_NAME];
};

static int ask(struct store *store, void *opaque, struct error **err)
{
    struct question *question = opaque;

    return store_limits_room(store, question->job, &question->limits, NOW, question->why, err);
}

static void expect(struct store *store, int job, struct store_limits limits, const char *why)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct question question = { .job = job, .limits = limits };

    if (store_transaction(store, ask, &question, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_string_equal(question.why, why);
}

static void test_room(void **state)
{
    const struct store_limits none = { 0 }, two = { .total = 2 }, source = { .per_source = 1 },
                              host = { .per_host = 1 }, target = { .per_target = 2 };
    struct database *database = *state;
    CLEANUP_STORE struct store *store = database_open(database);

    fill(database);
    for (int job = 1; job <= 4; job++) {
        expect(store, job, two, "");
        expect(store, job, source, "");
    }
    start(database, 1);
    expect(store, 2, none, "");
    expect(store, 2, two, "");
    expect(store, 2, source, "waits: source 'a' has its 1 job");
    expect(store, 4, source, "");
    expect(store, 2, host, "waits: host esx1 has its 1 job");
    expect(store, 3, host, "");
    expect(store, 4, host, "");
    expect(store, 1, source, ""); /* it does not count itself */
    start(database, 4);
    expect(store, 2, two, "waits: 2 jobs run, which is the limit");
    expect(store, 2, target, "waits: the state directory has its 2 jobs");
    database_sql(database, "INSERT INTO pools (id, name, kind, location, created_at) VALUES "
                           "(1, 'fast', 'dir', '/f', 0)");
    database_sql(database, "UPDATE vms SET pool_id = 1 WHERE id IN (2, 4)");
    expect(store, 2, target, "");
    expect(store, 2, (struct store_limits){ .per_target = 1 }, "waits: pool fast has its 1 job");
    /* whose lease has run out has no room any more */
    set(database, "lease_expires_at = 1000000", 1);
    expect(store, 2, source, "");
    set(database, "status = 'paused'", 4);
    expect(store, 2, (struct store_limits){ .total = 1 }, "");
    start(database, 3);
    set(database, "replication_type = 'merge'", 3);
    expect(store, 2, (struct store_limits){ .total = 1 }, "");
}

/* The oldest that waits is the next. */
static void test_order(void **state)
{
    const struct store_limits one = { .per_source = 1 };
    struct database *database = *state;
    CLEANUP_STORE struct store *store = database_open(database);
    CLEANUP_ERROR struct error *err = NULL;

    fill(database);
    set(database, "status = 'paused', paused_by = 'window', fence = 7", 2);
    assert_int_equal(
        store_job_waits(store, &(struct store_job){ .id = 2, .fence = 6 }, "waits: no", &err), 0);
    expect(store, 3, one, ""); /* it has changed since: nothing was done */
    assert_int_equal(store_job_waits(store, &(struct store_job){ .id = 2, .fence = 7 },
                                     "waits: source 'a' has its 1 job", &err),
                     0);
    expect(store, 3, one, "waits: others of source 'a' were first");
    expect(store, 1, one, "");
    expect(store, 2, one, "");
    expect(store, 4, one, "");
    expect(store, 3, (struct store_limits){ .per_source = 2 }, "");
    set(database, "updated_at = 1", 2); /* its worker does not live */
    expect(store, 3, one, "");
    start(database, 3);
    assert_int_equal(store_job_waits(store, &(struct store_job){ .id = 3 }, "waits: not", &err),
                     0); /* it runs */
    assert_int_equal(store_job_waits_no_more(store, 3, "stopped", &err), 0);
    set(database, "status = 'queued'", 3);
    expect(store, 4, one, "");
}

static void test_settings(void **state)
{
    struct database *database = *state;
    CLEANUP_STORE struct store *store = database_open(database);
    CLEANUP_ERROR struct error *err = NULL;
    char value[STORE_NAME];
    unsigned count;

    assert_int_equal(store_setting_get(store, SETTING_RATE, value, &err), 0);
    assert_string_equal(value, "");
    assert_int_equal(store_setting_put(store, SETTING_RATE, "5", &err), 0);
    assert_int_equal(store_setting_put(store, SETTING_RATE, "7", &err), 0);
    assert_int_equal(store_setting_get(store, SETTING_RATE, value, &err), 0);
    assert_string_equal(value, "7");
    fill(database);
    assert_int_equal(store_vm_set_host(store, 4, "esx9", &err), 0);
    for (int job = 1; job <= 3; job++)
        start(database, job);
    set(database, "current_operation = 'copying'", 1);
    set(database, "current_operation = 'verifying'", 2);
    set(database, "current_operation = 'preflight'", 3);
    assert_int_equal(store_jobs_moving(store, NOW, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(store_jobs_moving(store, NOW + 1, &count, &err), 0);
    assert_int_equal(count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_room),
        BOTH(test_order),
        BOTH(test_settings),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    database_server_stop();
    return failed;
}
