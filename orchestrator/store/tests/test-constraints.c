/* What the schema itself promises, over both databases, whatever the code above it does. */
#include "store/statement.h"
#include "store/tests/databases.h"

static int try(struct store *store, const char *sql)
{
    CLEANUP_STATEMENT struct statement s = statement(store, sql);
    CLEANUP_ERROR struct error *err = NULL;

    return run(&s, &err);
}

static void must(struct store *store, const char *sql)
{
    if (try(store, sql) < 0)
        fail_msg("%s", sql);
}

static void take_number(struct statement *s, void *number)
{
    *(int64_t *)number = take_int(s);
}

static int64_t number(struct store *store, const char *sql)
{
    CLEANUP_STATEMENT struct statement s = statement(store, sql);
    CLEANUP_ERROR struct error *err = NULL;
    int64_t n = -1;
    bool found;

    if (read_first(&s, take_number, &n, &found, &err) < 0)
        fail_msg("%s: %s", sql, error_message(err));
    return found ? n : -1;
}

/* A disk's row outlives everything that happens to it. */
static void test_disk_ids_never_change(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    struct store_vm vm;
    struct store_disk disk = add_vm(store, &vm);
    int64_t ids[2] = { disk.id, 0 };

    for (int i = 0; i < 20; i++) {
        for (int j = 0; j < 2; j++) {
            struct store_disk again = { .vm_id = vm.id, .key = 2000 + j, .unit = i % 3 };
            struct store_job job = { .vm_id = vm.id, .type = "manual", .sync_type = "initial" };

            again.capacity = (uint64_t)(i + 1) << 20;
            snprintf(again.backing_uuid, sizeof again.backing_uuid, "b%d", i);
            assert_int_equal(store_job_start(store, &job, &err), 0);
            assert_int_equal(store_disk_upsert(store, &again, &err), 0);
            assert_int_equal(store_step(store, job.id, again.id, "copy", "running", "x", &err), 0);
            assert_int_equal(store_step(store, job.id, again.id, "copy", "done", NULL, &err), 0);
            assert_int_equal(store_job_end(store, job.id, "completed", NULL, &err), 0);
            ids[j] = ids[j] ? ids[j] : again.id;
            assert_int_equal(again.id, ids[j]);
        }
    }
    assert_int_equal(number(store, "SELECT count(*) FROM vm_disks"), 2);
    assert_int_equal(number(store, "SELECT count(*) FROM job_steps"), 40);
    assert_int_equal(number(store, "SELECT count(*) FROM job_steps WHERE detail = 'x' AND "
                                   "completed_at IS NOT NULL"),
                     40);
}

/* What it made stays, and no longer says who made it. */
static void test_deleting_a_job(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    struct store_vm vm;
    struct store_disk disk = add_vm(store, &vm);
    struct store_job job;
    struct store_point_disk row;
    struct store_history entry = { .disk_id = disk.id, .sync_type = "initial" };

    add_point(store, &vm, &disk, &job, &row);
    entry.job_id = job.id;
    entry.outcome = "completed";
    assert_int_equal(store_history_add(store, &entry, &err), 0);
    assert_int_equal(store_step(store, job.id, disk.id, "copy", "done", NULL, &err), 0);
    assert_int_equal(store_step(store, job.id, 0, "plan", "done", NULL, &err), 0);
    must(store, "DELETE FROM replication_jobs");
    assert_int_equal(number(store, "SELECT id FROM vm_disks"), disk.id);
    assert_int_equal(number(store, "SELECT count(*) FROM job_steps"), 0);
    assert_int_equal(number(store, "SELECT count(*) FROM cbt_history WHERE job_id IS NULL"), 1);
    assert_int_equal(number(store, "SELECT count(*) FROM restore_points WHERE job_id IS NULL"), 1);
    assert_int_equal(number(store, "SELECT count(*) FROM restore_point_disks"), 1);
    /* And the disk itself can't go while a point has it. */
    assert_int_equal(try(store, "DELETE FROM vm_disks"), -1);
    assert_int_equal(store_last_failure(store), STORE_CONSTRAINT);
}

static void test_one_open_job_a_vm(void **state)
{
    static const char *const open[] = { "queued", "running", "paused" };
    static const char *const ended[] = { "completed", "failed", "cancelled" };
    CLEANUP_STORE struct store *store = database_open(*state);
    struct store_vm vm;
    char sql[512];

    add_vm(store, &vm);
    for (int i = 0; i < 9; i++) {
        const char *insert =
            "INSERT INTO replication_jobs (vm_id, replication_type, sync_type, status, "
            "created_at, updated_at) SELECT id, 'manual', 'initial', '%s', 1, 1 FROM vms";

        snprintf(sql, sizeof sql, insert, open[i / 3]);
        must(store, sql);
        snprintf(sql, sizeof sql, insert, open[i % 3]);
        assert_int_equal(try(store, sql), -1);
        assert_int_equal(store_last_failure(store), STORE_UNIQUE);
        snprintf(sql, sizeof sql, insert, ended[i % 3]);
        must(store, sql);
        snprintf(sql, sizeof sql, "UPDATE replication_jobs SET status = '%s'", ended[i % 3]);
        must(store, sql);
        /* None of those that have ended can be opened beside another. */
        assert_int_equal(try(store, "UPDATE replication_jobs SET status = 'running'"), -1);
    }
    assert_int_equal(try(store, "UPDATE replication_jobs SET status = 'flying'"), -1);
    assert_int_equal(store_last_failure(store), STORE_CONSTRAINT);
}

/* An upsert touches the row that its key names, never the one of another unique key. */
static void test_upsert_of_another_row(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    struct store_vm vm;
    struct store_export mapping = { .vm_name = "app01", .name = "e0", .path = "p0" };
    struct store_export other = { .unit = 1, .vm_name = "app01", .name = "e0", .path = "p1" };

    add_vm(store, &vm);
    mapping.vm_id = other.vm_id = vm.id;
    assert_int_equal(store_export_upsert(store, &mapping, &err), 0);
    assert_int_equal(store_export_upsert(store, &other, &err), -1);
    assert_int_equal(store_last_failure(store), STORE_UNIQUE);
    error_clear(&err);
    assert_int_equal(number(store, "SELECT count(*) FROM vm_export_mappings"), 1);
    assert_int_equal(number(store, "SELECT count(*) FROM vm_export_mappings WHERE "
                                   "device_path = 'p0' AND disk_unit_number = 0"),
                     1);
    strcpy(other.name, "e1");
    assert_int_equal(store_export_upsert(store, &other, &err), 0);
    strcpy(other.name, "e0"); /* a row that is there, to a name that another has */
    assert_int_equal(store_export_upsert(store, &other, &err), -1);
    error_clear(&err);
    assert_int_equal(number(store, "SELECT count(*) FROM vm_export_mappings WHERE "
                                   "export_name = 'e1' AND device_path = 'p1'"),
                     1);
    /* The same again is no failure, and its id is told. */
    assert_int_equal(store_export_upsert(store, &mapping, &err), 0);
    assert_int_equal(mapping.id, number(store, "SELECT id FROM vm_export_mappings WHERE "
                                               "disk_unit_number = 0"));
}

/* Names are their bytes: neither case nor a blank at the end makes two of them one. */
static void test_names_are_bytes(void **state)
{
    static const char *const names[] = { "lab", "LAB", "lab ",
                                         "l\xc3\xa4"
                                         "b",
                                         "la\xcc\x88"
                                         "b" };
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    struct store_source found;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct store_source source = { .kind = "nbd", .location = "/" };

        strcpy(source.name, names[i]);
        assert_int_equal(store_source_add(store, &source, &err), 0);
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(store_source_find(store, names[i], &found, &err), 0);
        assert_string_equal(found.name, names[i]);
    }
    assert_int_equal(store_source_find(store, "Lab", &found, &err), -1);
}

static void take_message(struct statement *s, void *text)
{
    take_text(s, text, STORE_TEXT);
}

/* Short and long texts in turn, and one that no field holds. */
static void test_texts_of_all_sizes(void **state)
{
    static const int sizes[] = { 1, 2000, 3, 255, 256, 257, 1, 1000 };
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char(*texts)[STORE_TEXT] = NULL;
    CLEANUP_FREE char *big = malloc(1000001), *spec = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT message FROM job_log ORDER BY created_at");
    struct store_vm vm;
    size_t count;

    memset(big, 'x', 1000000);
    big[1000000] = '\0';
    for (int i = 0; i < 8; i++) {
        CLEANUP_STATEMENT struct statement insert =
            statement(store, "INSERT INTO job_log (level, part, message, created_at) "
                             "VALUES ('info', 'test', ?, ?)");

        bind_text(&insert, big + 1000000 - sizes[i]);
        bind_int(&insert, i);
        assert_int_equal(run(&insert, &err), 0);
    }
    assert_int_equal(read_all(&s, take_message, sizeof *texts, &texts, &count, &err), 0);
    assert_int_equal(count, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(strlen(texts[i]), sizes[i]);
    add_vm(store, &vm);
    assert_int_equal(store_vm_upsert(store, &vm, big, &err), 0);
    assert_int_equal(store_vm_spec(store, vm.id, &spec, &err), 0);
    assert_string_equal(spec, big);
    must(store, "UPDATE job_log SET message = (SELECT spec FROM vms)");
    {
        CLEANUP_STATEMENT struct statement again = statement(store, "SELECT message FROM job_log");
        char text[STORE_TEXT];
        bool found;

        assert_int_equal(read_first(&again, take_message, text, &found, &err), -1);
        assert_non_null(strstr(error_message(err), "message"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_disk_ids_never_change), BOTH(test_deleting_a_job),  BOTH(test_one_open_job_a_vm),
        BOTH(test_upsert_of_another_row), BOTH(test_names_are_bytes), BOTH(test_texts_of_all_sizes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    database_server_stop();
    return failed;
}
