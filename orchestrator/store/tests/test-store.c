/* The store's promises: migrations, constraints, transactions, ids that stay. */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/tests/databases.h"

static void test_private_and_reopened(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct database *database = *state;
    struct store *store = database_open(database);
    struct store_vm vm;
    struct stat st;

    add_vm(store, &vm);
    store_close(store);
    if (database == &sqlite_database) {
        assert_int_equal(stat(database->place, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    store = database_open(*state); /* migrations are applied once */
    assert_int_equal(store_vm_find(store, "app01", &vm, &err), 0);
    assert_int_equal(store_vm_find(store, "6D7B3C52-1F0A-4C0E-9D55-0C8F5A1D2E3F", &vm, &err), 0);
    assert_int_equal(store_vm_find(store, "APP01", &vm, &err), -1);
    assert_int_equal(err->errnum, ENOENT);
    store_close(store);
}

static void test_newer_schema_is_refused(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct database *database = *state;
    struct store *store = database_open(database);

    store_close(store);
    database_sql(database, database == &sqlite_database
                               ? "PRAGMA user_version = 99"
                               : "INSERT INTO schema_migrations (number, name, statements_done) "
                                 "VALUES (99, '0099-future', 0)");
    assert_int_equal(store_open(database->place, &store, &err), -1);
    assert_non_null(strstr(error_message(err), "newer vmferry"));
    assert_non_null(strstr(error_message(err), "99"));
    if (database == &mariadb_database)
        assert_non_null(strstr(error_message(err), "0099-future"));
}

static void test_not_a_database(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct database *database = *state;
    struct store *store;
    FILE *file = fopen(database->place, "w");

    for (int i = 0; i < 1000; i++)
        fputs("this is no database ", file);
    fclose(file);
    assert_int_equal(store_open(database->place, &store, &err), -1);
    assert_non_null(strstr(error_message(err), database->place));
}

/* Many processes open a new store at once: one migrates, all get it. */
static void test_migrating_together(void **state)
{
    struct database *database = *state;
    int failed = 0;

    for (int i = 0; i < 8; i++) {
        if (fork() == 0) {
            CLEANUP_ERROR struct error *err = NULL;
            struct store *store = NULL;
            int r = store_open(database->place, &store, &err);

            store_close(store);
            error_clear(&err);
            _exit(r < 0);
        }
    }
    for (int i = 0; i < 8; i++) {
        int status;

        wait(&status);
        failed += status != 0;
    }
    assert_int_equal(failed, 0);
}

static void test_upsert_keeps_ids(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE struct store_disk *disks = NULL;
    struct store *store = database_open(*state);
    struct store_vm vm, again;
    struct store_disk disk = add_vm(store, &vm);
    int64_t vm_id = vm.id, disk_id = disk.id;
    size_t count;

    assert_int_equal(
        store_disk_synced(store, disk.id, disk.capacity, "u/1", "base.raw", "/d", &err), 0);
    assert_int_equal(store_vm_set_state(store, vm.id, "ready_for_failover", &err), 0);
    strcpy(vm.name, "renamed");
    assert_int_equal(store_vm_upsert(store, &vm, "{}", &err), 0);
    disk.unit = 7;
    assert_int_equal(store_disk_upsert(store, &disk, &err), 0);
    assert_int_equal(vm.id, vm_id);
    assert_int_equal(disk.id, disk_id);
    assert_int_equal(store_vm_find(store, "renamed", &again, &err), 0);
    assert_string_equal(again.state, "ready_for_failover");
    assert_int_equal(store_disks(store, vm.id, &disks, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(disks[0].unit, 7);
    assert_string_equal(disks[0].change_id, "u/1");
    store_close(store);
}

static void test_one_running_job(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store *store = database_open(*state);
    struct store_vm vm;
    struct store_job job = { .type = "manual", .sync_type = "initial" }, second;

    add_vm(store, &vm);
    job.vm_id = vm.id;
    second = job;
    assert_int_equal(store_job_start(store, &job, &err), 0);
    assert_int_equal(store_job_start(store, &second, &err), -1);
    assert_non_null(strstr(error_message(err), "running"));
    error_clear(&err);
    assert_int_equal(store_job_end(store, job.id, "failed", "why", &err), 0);
    assert_int_equal(store_job_start(store, &second, &err), 0);
    store_close(store);
}

static void test_points_are_all_or_nothing(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store *store = database_open(*state);
    struct store_vm vm;
    struct store_disk disk = add_vm(store, &vm);
    struct store_job job;
    struct store_point_disk row;
    struct store_point point = add_point(store, &vm, &disk, &job, &row), found;

    assert_int_equal(store_point_find(store, vm.id, 0, &found, &err), -1);
    assert_int_equal(err->errnum, ENOENT);
    error_clear(&err);
    /* Not while a disk is missing, and a disk not without its digest. */
    assert_int_equal(store_point_complete(store, point.id, &err), -1);
    error_clear(&err);
    assert_int_equal(store_point_disk_complete(store, &row, &err), -1);
    error_clear(&err);
    strcpy(row.digest, "xxh3-64k:00000000000000000000000000000000");
    assert_int_equal(store_point_disk_complete(store, &row, &err), 0);
    assert_int_equal(store_point_complete(store, point.id, &err), 0);
    assert_int_equal(store_point_find(store, vm.id, 0, &found, &err), 0);
    assert_int_equal(found.number, 1);
    /* A complete point stays. */
    assert_int_equal(store_point_forget(store, point.id, &err), -1);
    error_clear(&err);
    assert_int_equal(store_point_disk_complete(store, &row, &err), -1);
    store_close(store);
}

/* Everything of a transaction, or nothing: also when the process dies in it. */
static void test_transactions(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store *store = database_open(*state);
    struct store_vm vm;
    int status;

    add_vm(store, &vm);
    {
        CLEANUP_ROLLBACK struct store *transaction = NULL;

        assert_int_equal(store_begin(store, &err), 0);
        transaction = store;
        assert_int_equal(store_vm_set_state(store, vm.id, "replicating", &err), 0);
    }
    assert_int_equal(store_vm_find(store, "app01", &vm, &err), 0);
    assert_string_equal(vm.state, "discovered");
    store_close(store);
    if (fork() == 0) {
        store = database_open(*state);
        store_begin(store, &err);
        store_vm_set_state(store, vm.id, "replicating", &err);
        raise(SIGKILL);
    }
    wait(&status);
    assert_true(WIFSIGNALED(status));
    store = database_open(*state);
    assert_int_equal(store_vm_find(store, "app01", &vm, &err), 0);
    assert_string_equal(vm.state, "discovered");
    store_close(store);
}

static void test_constraints(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store *store = database_open(*state);
    struct store_disk orphan = { .vm_id = 12345, .key = 1, .capacity = 512, .backing_uuid = "b" };
    struct store_source source = { .name = "lab", .kind = "nbd", .location = "/y" };
    struct store_vm vm;

    add_vm(store, &vm);
    assert_int_equal(store_disk_upsert(store, &orphan, &err), -1);
    error_clear(&err);
    assert_int_equal(store_vm_set_state(store, vm.id, "flying", &err), -1);
    error_clear(&err);
    assert_int_equal(store_source_add(store, &source, &err), -1);
    error_clear(&err);
    assert_int_equal(store_vm_change_state(store, vm.id, "replicating", "committed", &err), 0);
    assert_int_equal(store_vm_find(store, "app01", &vm, &err), 0);
    assert_string_equal(vm.state, "discovered");
    store_close(store);
}

static void test_source_options(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store *store = database_open(*state);
    struct store_source source = { .name = "vc",
                                   .kind = "vsphere",
                                   .location = "vc.example:443",
                                   .options = "{\"user\":\"backup\"}" };
    struct store_source found;

    assert_int_equal(store_source_add(store, &source, &err), 0);
    assert_int_equal(store_source_find(store, "vc", &found, &err), 0);
    assert_string_equal(found.options, source.options);
    assert_string_equal(found.location, source.location);
    assert_int_equal(store_source_set_options(store, source.id, "", &err), 0);
    assert_int_equal(store_source_get(store, source.id, &found, &err), 0);
    assert_string_equal(found.options, "");
    assert_int_equal(store_source_set_options(store, 999, "", &err), -1);
    store_close(store);
}

/* A job's snapshot is known from before it is made until it is known to be gone. */
static void test_job_snapshot(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE struct store_job *jobs = NULL;
    struct store *store = database_open(*state);
    struct store_job job = { .type = "manual", .sync_type = "initial" };
    struct store_vm vm;
    size_t count;

    add_vm(store, &vm);
    job.vm_id = vm.id;
    assert_int_equal(store_job_start(store, &job, &err), 0);
    assert_int_equal(store_jobs_with_snapshot(store, 0, &jobs, &count, &err), 0);
    assert_int_equal(count, 0);
    assert_int_equal(store_job_set_snapshot(store, job.id, "vmferry-1-ab", &err), 0);
    assert_int_equal(store_job_end(store, job.id, "failed", "x", &err), 0);
    free(steal_ptr(jobs));
    assert_int_equal(store_jobs_with_snapshot(store, vm.id, &jobs, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_string_equal(jobs[0].snapshot, "vmferry-1-ab");
    free(steal_ptr(jobs));
    assert_int_equal(store_jobs_with_snapshot(store, vm.id + 1, &jobs, &count, &err), 0);
    assert_int_equal(count, 0);
    assert_int_equal(store_job_set_snapshot(store, job.id, "", &err), 0);
    free(steal_ptr(jobs));
    assert_int_equal(store_jobs_with_snapshot(store, 0, &jobs, &count, &err), 0);
    assert_int_equal(count, 0);
    store_close(store);
}

static void test_export_is_reused(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE struct store_export *list = NULL;
    struct store *store = database_open(*state);
    struct store_vm vm;
    struct store_export mapping = { .unit = 0, .vm_name = "app01", .name = "migration-vm-x-disk0" };
    int64_t id;
    size_t count;

    add_vm(store, &vm);
    mapping.vm_id = vm.id;
    strcpy(mapping.path, "base.raw");
    assert_int_equal(store_export_upsert(store, &mapping, &err), 0);
    id = mapping.id;
    strcpy(mapping.path, "point-0002.qcow2");
    mapping.active = true;
    assert_int_equal(store_export_upsert(store, &mapping, &err), 0);
    assert_int_equal(mapping.id, id);
    assert_int_equal(store_exports(store, vm.id, &list, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_true(list[0].active);
    assert_string_equal(list[0].path, "point-0002.qcow2");
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_private_and_reopened),
        BOTH(test_newer_schema_is_refused),
        BOTH(test_source_options),
        BOTH(test_job_snapshot),
        ON_SQLITE(test_not_a_database),
        BOTH(test_migrating_together),
        BOTH(test_upsert_keeps_ids),
        BOTH(test_one_running_job),
        BOTH(test_points_are_all_or_nothing),
        BOTH(test_transactions),
        BOTH(test_constraints),
        BOTH(test_export_is_reused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    database_server_stop();
    return failed;
}
