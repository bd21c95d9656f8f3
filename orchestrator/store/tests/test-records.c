/* What the store keeps for people to read, over both databases: the log of jobs, the audit log,
 * the rows of a report. */
#include "log/log.h"
#include "report/columns.h"
#include "store/report.h"
#include "store/tests/databases.h"

static void add_line(struct store *store, int64_t job, int64_t time_ms, const char *text)
{
    CLEANUP_ERROR struct error *err = NULL;
    const struct log_line line = {
        .time_ms = time_ms, .level = LEVEL_WARNING, .part = "copy", .job = job, .text = text
    };

    assert_int_equal(store_log_add(store, &line, &err), 0);
}

static void test_job_log(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_FREE struct store_log_line *lines = NULL;
    CLEANUP_FREE struct store_log_line *rest = NULL;
    CLEANUP_ERROR struct error *err = NULL;
    size_t count;

    add_line(store, 5, 2000, "second");
    add_line(store, 6, 2000, "another's");
    add_line(store, 5, 2000, "third");
    add_line(store, 5, 1000, "first: \xff \xf0\x9f\x98\x80 '\"\\");
    assert_int_equal(store_job_log(store, 5, 0, 0, 100, &lines, &count, &err), 0);
    assert_int_equal(count, 3);
    assert_string_equal(lines[0].message, "first: \xef\xbf\xbd \xf0\x9f\x98\x80 '\"\\");
    assert_string_equal(lines[1].message, "second");
    assert_string_equal(lines[2].message, "third");
    assert_string_equal(lines[2].level, "warning");
    assert_int_equal(
        store_job_log(store, 5, lines[1].created_ms, lines[1].id, 100, &rest, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_string_equal(rest[0].message, "third");
}

static void test_audit(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_FREE struct store_audit_row *all = NULL;
    CLEANUP_FREE struct store_audit_row *of_vm = NULL;
    CLEANUP_FREE struct store_audit_row *by_name = NULL;
    CLEANUP_ERROR struct error *err = NULL;
    struct store_vm vm;
    size_t count;

    add_vm(store, &vm);
    assert_int_equal(store_audit(store, "point delete", vm.uuid, "3", NULL, &err), 0);
    assert_int_equal(
        store_audit_vm(store, vm.id, "failover test", "failover 1", "nbd://a:b@c/", "\xff", &err),
        0);
    assert_int_equal(store_audit(store, "pool add", "fast", NULL, NULL, &err), 0);
    assert_int_equal(store_audits(store, NULL, 0, 0, 10, &all, &count, &err), 0);
    assert_int_equal(count, 3);
    assert_int_equal(store_audits(store, vm.uuid, 0, 0, 10, &of_vm, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_string_equal(of_vm[0].what, "point delete");
    assert_string_equal(of_vm[0].before, "3");
    assert_string_equal(of_vm[1].before, "nbd://a:@c/");
    assert_string_equal(of_vm[1].after, "\xef\xbf\xbd");
    assert_string_equal(of_vm[1].vm_name, "app01");
    assert_non_null(strstr(of_vm[1].who, "uid"));
    assert_non_null(strstr(of_vm[1].command, "test-records"));
    assert_int_equal(
        store_audits(store, "app01", of_vm[0].created_ms, of_vm[0].id, 10, &by_name, &count, &err),
        0);
    assert_int_equal(count, 1);
}

static int fail_after(struct store *store, void *opaque, struct error **err)
{
    (void)opaque;
    if (store_audit(store, "pool add", "fast", NULL, NULL, err) < 0)
        return -1;
    return error_set(err, "no");
}

/* A row is there exactly when what it tells of has happened. */
static void test_audit_is_part_of_the_transaction(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_FREE struct store_audit_row *rows = NULL;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_ERROR struct error *no = NULL;
    size_t count;

    assert_int_equal(store_transaction(store, fail_after, NULL, &no), -1);
    assert_int_equal(store_audits(store, NULL, 0, 0, 10, &rows, &count, &err), 0);
    assert_int_equal(count, 0);
}

struct check {
    const struct report_table *table;
    size_t rows;
    int64_t first;
};

static int check_row(void *opaque, const struct store_cell *cells, size_t count, struct error **err)
{
    struct check *check = opaque;

    (void)err;
    assert_int_equal(count, check->table->count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(cells[i].name, check->table->columns[i].name);
    if (check->rows++ == 0)
        check->first = cells[0].number;
    return 0;
}

static struct check look(struct store *store, enum store_rows which, int64_t vm_id, int64_t job_id)
{
    CLEANUP_ERROR struct error *err = NULL;
    const struct store_about about = { .vm_id = vm_id, .job_id = job_id };
    struct check check = { .table = report_table_of(which) };

    if (store_rows(store, which, &about, check_row, &check, &err) < 0)
        fail_msg("%s: %s", check.table->name, error_message(err));
    return check;
}

static struct store_job fill(struct store *store, struct store_vm *vm)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store_disk disk = add_vm(store, vm);
    struct store_point_disk row;
    struct store_job job;
    struct store_point point = add_point(store, vm, &disk, &job, &row);
    const struct store_history entry = { .disk_id = disk.id,
                                         .job_id = job.id,
                                         .after = "u/1",
                                         .sync_type = "initial",
                                         .bytes = 1ULL << 42,
                                         .areas = -1,
                                         .outcome = "completed" };
    struct store_failover failover = { .vm_id = vm->id, .kind = "test", .point_id = point.id };

    strcpy(row.digest, "xxh3-64k:0123456789abcdef0123456789abcdef");
    strcpy(failover.state, "booted");
    assert_int_equal(store_point_disk_complete(store, &row, &err), 0);
    assert_int_equal(store_point_complete(store, point.id, &err), 0);
    assert_int_equal(store_history_add(store, &entry, &err), 0);
    assert_int_equal(store_step(store, job.id, disk.id, "copy", "running", NULL, &err), 0);
    assert_int_equal(store_failover_create(store, &failover, "{}", &err), 0);
    assert_int_equal(store_failover_evidence(store, failover.id, "{\"booted\":true}", &err), 0);
    assert_int_equal(store_audit_vm(store, vm->id, "failover test", NULL, NULL, NULL, &err), 0);
    add_line(store, job.id, 1000, "x");
    return job;
}

static void test_report_rows(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    struct store_job job;
    struct store_vm vm;

    job = fill(store, &vm);
    for (int which = ROWS_VM; which <= ROWS_LOG; which++) {
        bool of_a_job = which == ROWS_STEPS || which == ROWS_LOG;

        assert_int_equal(look(store, which, vm.id, of_a_job ? job.id : 0).rows, 1);
    }
    assert_int_equal(look(store, ROWS_SUMMARY, vm.id, 0).first, 1);
    assert_int_equal(look(store, ROWS_SYNCS, vm.id, job.id).rows, 1);
    assert_int_equal(look(store, ROWS_SYNCS, vm.id, job.id + 1).rows, 0);
    assert_int_equal(look(store, ROWS_POINTS, vm.id, job.id + 1).rows, 0);
    assert_int_equal(look(store, ROWS_JOBS, vm.id, job.id + 1).rows, 0);
    assert_int_equal(look(store, ROWS_AUDIT, vm.id, job.id).rows, 0);
    assert_int_equal(look(store, ROWS_SYNCS, vm.id + 1, 0).rows, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_job_log),
        BOTH(test_audit),
        BOTH(test_audit_is_part_of_the_transaction),
        BOTH(test_report_rows),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    database_server_stop();
    return failed;
}
