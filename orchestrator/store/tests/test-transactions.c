/* Transactions happen once or not at all: deadlocks, killed connections, lost answers, a
 * server that goes away. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "store/statement.h"
#include "store/tests/databases.h"

/* A transaction that writes a line, which nothing keeps from being written twice. */
struct line {
    char text[64];
    int attempts;
    /* In the midst of the first attempt, if it is set. */
    void (*accident)(struct store *store, void *opaque);
    void *opaque;
    bool gives_up;
};

static int write_text(struct store *store, const char *text, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "INSERT INTO job_log (level, part, message, created_at) "
                         "VALUES ('info', 'test', ?, ?)");

    bind_text(&s, text);
    bind_int(&s, store_now_ms());
    return run(&s, err);
}

static int write_line(struct store *store, void *opaque, struct error **err)
{
    struct line *line = opaque;

    line->attempts++;
    if (write_text(store, line->text, err) < 0)
        return -1;
    if (line->accident && line->attempts == 1)
        line->accident(store, line->opaque);
    return line->gives_up ? error_set(err, "it was not meant to be") : 0;
}

static void take_count(struct statement *s, void *count)
{
    *(int *)count = (int)take_int(s);
}

static int count(struct store *store, const char *text)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT count(*) FROM job_log WHERE message = ?");
    CLEANUP_ERROR struct error *err = NULL;
    bool found;
    int n = -1;

    bind_text(&s, text);
    if (read_first(&s, take_count, &n, &found, &err) < 0)
        fail_msg("%s", error_message(err));
    return n;
}

static void write_once(struct store *store, struct line *line)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (store_transaction(store, write_line, line, &err) < 0)
        fail_msg("%s: %s", line->text, error_message(err));
}

static void test_own_failure_is_final(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    struct line line = { .text = "given up", .gives_up = true };

    assert_int_equal(store_transaction(store, write_line, &line, &err), -1);
    assert_string_equal(error_message(err), "it was not meant to be");
    assert_int_equal(line.attempts, 1);
    assert_int_equal(count(store, "given up"), 0);
}

static int write_two(struct store *store, void *opaque, struct error **err)
{
    struct line inner = { .text = "inner", .gives_up = *(bool *)opaque };

    if (write_text(store, "outer", err) < 0)
        return -1;
    return store_transaction(store, write_line, &inner, err);
}

static void test_inner_is_a_part_of_outer(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    bool gives_up = true;

    assert_int_equal(store_transaction(store, write_two, &gives_up, &err), -1);
    assert_int_equal(count(store, "outer"), 0);
    gives_up = false;
    error_clear(&err);
    assert_int_equal(store_transaction(store, write_two, &gives_up, &err), 0);
    assert_int_equal(count(store, "outer"), 1);
    assert_int_equal(count(store, "inner"), 1);
}

static void test_kinds_of_failure(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    struct store_source source = { .name = "lab", .kind = "nbd", .location = "/y" };
    struct store_disk orphan = { .vm_id = 12345, .key = 1, .capacity = 512, .backing_uuid = "b" };

    assert_int_equal(store_source_add(store, &source, &err), 0);
    assert_int_equal(store_last_failure(store), STORE_FINE);
    assert_int_equal(store_source_add(store, &source, &err), -1);
    assert_int_equal(store_last_failure(store), STORE_UNIQUE);
    error_clear(&err);
    assert_int_equal(store_disk_upsert(store, &orphan, &err), -1);
    assert_int_equal(store_last_failure(store), STORE_CONSTRAINT);
}

static void test_second_handle(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state), *second = NULL;
    struct line line = { .text = "by the first" };
    int64_t before = store_now_ms(), now;

    assert_int_equal(store_again(store, &second, &err), 0);
    write_once(store, &line);
    assert_int_equal(count(second, line.text), 1);
    assert_int_equal(store_clock_ms(second, &now, &err), 0);
    assert_in_range(now, before - 50, before + 5000); /* on this machine it is one clock */
}

/* Another program, which opens the database, and closes it as the last one would. */
static int count_elsewhere(const struct database *database, const char *text)
{
    char line[640];
    FILE *output;
    int n = -1;

    snprintf(line, sizeof line,
             "sqlite3 '%s' \"SELECT count(*) FROM job_log WHERE message = '%s'\"", database->place,
             text);
    output = popen(line, "r");
    assert_non_null(output);
    assert_int_equal(fscanf(output, "%d", &n), 1);
    pclose(output);
    return n;
}

/* A second handle must not cost the first one its locks: what is written afterwards would be
 * nobody else's to see, and lost. */
static void test_sqlite_second_handle_keeps_locks(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state), *second = NULL;
    struct line before = { .text = "before" }, after = { .text = "after" };

    assert_int_equal(store_again(store, &second, &err), 0);
    write_once(store, &before);
    assert_int_equal(count_elsewhere(*state, before.text), 1);
    write_once(store, &after);
    assert_int_equal(count_elsewhere(*state, after.text), 1);
    assert_int_equal(count(second, after.text), 1);
}

/* Somebody else has it for longer than SQLite itself waits. */
static void test_sqlite_is_waited_for(void **state)
{
    CLEANUP_STORE struct store *store = NULL; /* not open in both processes */
    struct line line = { .text = "patient" };
    pid_t other = fork();

    if (other == 0) {
        CLEANUP_ERROR struct error *err = NULL;
        struct store *held = database_open(*state);

        store_begin(held, &err);
        sleep(2);
        store_close(held);
        _exit(0);
    }
    store = database_open(*state);
    usleep(300000);
    write_once(store, &line);
    assert_int_equal(line.attempts, 1);
    waitpid(other, NULL, 0);
}

/* A full disk undoes all of a transaction of SQLite: what comes after must not stand alone. */
static void test_sqlite_full(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_FREE char *big = malloc(4 << 20);

    memset(big, 'x', 4 << 20);
    big[(4 << 20) - 1] = '\0';
    assert_int_equal(store->driver->execute(store, "PRAGMA max_page_count = 200", &err), 0);
    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(write_text(store, "first", &err), 0);
    assert_int_equal(write_text(store, big, &err), -1);
    assert_non_null(strstr(error_message(err), "full"));
    error_clear(&err);
    write_text(store, "last", &err);
    error_clear(&err);
    assert_int_equal(store_commit(store, &err), -1);
    assert_int_equal(count(store, "first"), 0);
    assert_int_equal(count(store, "last"), 0);
}

/* The server ends this handle's connection. */
static void kill_connection(struct store *store, void *opaque)
{
    CLEANUP_STATEMENT struct statement s = statement(store, "SELECT CONNECTION_ID()");
    CLEANUP_ERROR struct error *err = NULL;
    MYSQL *mysql = administrator();
    char sql[64];
    bool found;
    int id = 0;

    (void)opaque;
    assert_int_equal(read_first(&s, take_count, &id, &found, &err), 0);
    snprintf(sql, sizeof sql, "KILL CONNECTION %d", id);
    assert_int_equal(mysql_query(mysql, sql), 0);
    mysql_close(mysql);
}

static void test_killed_in_mid_transaction(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    struct line line = { .text = "killed", .accident = kill_connection };

    write_once(store, &line);
    assert_int_equal(line.attempts, 2);
    assert_int_equal(count(store, line.text), 1);
    /* An idle connection: the next call does not notice. */
    kill_connection(store, NULL);
    assert_int_equal(count(store, line.text), 1);
}

static void test_by_hand_nothing_stands_alone(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);

    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(write_text(store, "first", &err), 0);
    kill_connection(store, NULL);
    assert_int_equal(write_text(store, "second", &err), -1);
    error_clear(&err);
    assert_int_equal(write_text(store, "third", &err), -1);
    error_clear(&err);
    assert_int_equal(store_commit(store, &err), -1);
    assert_int_equal(count(store, "first") + count(store, "second") + count(store, "third"), 0);
}

struct pair {
    const struct database *database;
    pthread_barrier_t *met;
    int64_t first, second;
    int attempts;
};

static int set_name(struct store *store, int64_t id, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "UPDATE sources SET location = concat(location, '+') WHERE id = ?");

    bind_int(&s, id);
    return run_on_one(&s, err);
}

static int update_both(struct store *store, void *opaque, struct error **err)
{
    struct pair *pair = opaque;

    if (set_name(store, pair->first, err) < 0)
        return -1;
    if (pair->attempts++ == 0)
        pthread_barrier_wait(pair->met);
    return set_name(store, pair->second, err);
}

static void *run_pair(void *opaque)
{
    struct pair *pair = opaque;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(pair->database);

    if (store_transaction(store, update_both, pair, &err) < 0)
        return strdup(error_message(err));
    return NULL;
}

static void test_deadlock(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    struct store_source one = { .name = "one", .kind = "nbd", .location = "/" };
    struct store_source two = { .name = "two", .kind = "nbd", .location = "/" };
    pthread_barrier_t met;
    pthread_t threads[2];

    assert_int_equal(store_source_add(store, &one, &err), 0);
    assert_int_equal(store_source_add(store, &two, &err), 0);
    pthread_barrier_init(&met, NULL, 2);
    struct pair pairs[2] = { { *state, &met, one.id, two.id, 0 },
                             { *state, &met, two.id, one.id, 0 } };
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, run_pair, &pairs[i]);
    for (int i = 0; i < 2; i++) {
        void *message;

        pthread_join(threads[i], &message);
        if (message)
            fail_msg("%s", (char *)message);
    }
    pthread_barrier_destroy(&met);
    assert_int_equal(pairs[0].attempts + pairs[1].attempts, 3);
    assert_int_equal(store_source_get(store, one.id, &one, &err), 0);
    assert_string_equal(one.location, "/++");
}

static void restart_server(void)
{
    usleep(200000);
    command("tests/mariadb kill %s && sleep 0.3 && OWNER=%d tests/mariadb again %s", server,
            (int)getppid(), server);
}

static void test_server_that_comes_back(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    int n = 0, left = 20, met = 0;
    pid_t other = fork();

    if (other == 0) {
        restart_server();
        _exit(0);
    }
    for (; left; n++) {
        struct line line = { .attempts = 0 };

        snprintf(line.text, sizeof line.text, "line %d", n);
        write_once(store, &line);
        met += line.attempts > 1;
        if (left < 20 || waitpid(other, NULL, WNOHANG) > 0)
            left--;
    }
    for (int i = 0; i < n; i++) {
        char text[32];

        snprintf(text, sizeof text, "line %d", i);
        assert_int_equal(count(store, text), 1);
    }
    print_message("# %d transactions, %d were done again\n", n, met);
}

static void test_patience_ends(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(*state);
    struct line line = { .text = "too late" };
    time_t began;

    command("tests/mariadb kill %s", server);
    store_set_patience(store, 300);
    began = time(NULL);
    assert_int_equal(store_transaction(store, write_line, &line, &err), -1);
    assert_int_equal(store_last_failure(store), STORE_LOST);
    assert_in_range(time(NULL) - began, 0, 3);
    command("OWNER=%d tests/mariadb again %s", (int)getpid(), server);
    assert_int_equal(count(store, line.text), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_own_failure_is_final),
        BOTH(test_inner_is_a_part_of_outer),
        BOTH(test_kinds_of_failure),
        BOTH(test_second_handle),
        ON_SQLITE(test_sqlite_second_handle_keeps_locks),
        ON_SQLITE(test_sqlite_is_waited_for),
        ON_SQLITE(test_sqlite_full),
        ON_MARIADB(test_killed_in_mid_transaction),
        ON_MARIADB(test_by_hand_nothing_stands_alone),
        ON_MARIADB(test_deadlock),
        ON_MARIADB(test_server_that_comes_back),
        ON_MARIADB(test_patience_ends),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    database_server_stop();
    return failed;
}
