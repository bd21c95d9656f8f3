/* Connections that are lost while a COMMIT is on its way, or anywhere: what was written is
 * there once, what was not is not, and the store knows which. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "store/statement.h"
#include "store/tests/databases.h"

#define PROXY "orchestrator/store/tests/cut-connections.py"

static struct database cut; /* mariadb_database, through the proxy */
static char control[96];
static pid_t proxy;

static void set_mode(const char *fmt, ...)
{
    FILE *file = fopen(control, "w");
    va_list args;

    va_start(args, fmt);
    vfprintf(file, fmt, args);
    va_end(args);
    fclose(file);
}

static void start_proxy(void)
{
    char listen[96], target[96], ready[8] = "";
    int out[2];

    snprintf(listen, sizeof listen, "%s/cut", server);
    snprintf(target, sizeof target, "%s/socket", server);
    snprintf(control, sizeof control, "%s/control", server);
    snprintf(cut.place, sizeof cut.place, "%.*s/cut",
             (int)(strrchr(mariadb_database.place, '/') - mariadb_database.place),
             mariadb_database.place);
    set_mode("pass");
    assert_int_equal(pipe(out), 0);
    proxy = fork();
    if (proxy == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        execl("/usr/bin/python3", "python3", PROXY, listen, target, control, NULL);
        _exit(1);
    }
    assert_true(read(out[0], ready, sizeof ready) > 0);
    close(out[0]);
    close(out[1]);
}

static int setup(void **state)
{
    int r = database_setup(state);
    struct store *store;

    if (!proxy)
        start_proxy();
    store = database_open(*state); /* the schema, in peace */
    store_close(store);
    return r;
}

struct line {
    char text[32];
    int attempts;
};

static int write_text(struct store *store, const char *text, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "INSERT INTO job_log (level, part, message, created_at) "
                         "VALUES ('info', 'test', ?, 1)");

    bind_text(&s, text);
    return run(&s, err);
}

static int write_line(struct store *store, void *opaque, struct error **err)
{
    struct line *line = opaque;

    line->attempts++;
    return write_text(store, line->text, err);
}

static void take_count(struct statement *s, void *count)
{
    *(int *)count = (int)take_int(s);
}

static int count(struct store *store, const char *sql, const char *text)
{
    CLEANUP_STATEMENT struct statement s = statement(store, sql);
    CLEANUP_ERROR struct error *err = NULL;
    bool found;
    int n = -1;

    if (text)
        bind_text(&s, text);
    if (read_first(&s, take_count, &n, &found, &err) < 0)
        fail_msg("%s", error_message(err));
    return n;
}

#define LINES "SELECT count(*) FROM job_log WHERE message = ?"

/* The mode, and how many attempts a transaction that meets it takes. */
static void meet(const char *mode, int attempts)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_STORE struct store *store = database_open(&cut);
    struct line line = { .text = "line" };

    for (int i = 1; i <= 3; i++) {
        line.attempts = 0;
        set_mode("%s", mode);
        if (store_transaction(store, write_line, &line, &err) < 0)
            fail_msg("%s", error_message(err));
        assert_int_equal(line.attempts, attempts);
        assert_int_equal(count(store, LINES, line.text), i);
    }
    /* A statement alone is a transaction, too. */
    set_mode("%s", mode);
    assert_int_equal(write_text(store, "alone", &err), 0);
    assert_int_equal(count(store, LINES, "alone"), 1);
    /* And so is one by hand, but that is not done again. */
    set_mode("%s", mode);
    assert_int_equal(store_begin(store, &err), 0);
    assert_int_equal(write_text(store, "by hand", &err), 0);
    assert_int_equal(store_commit(store, &err), attempts == 1 ? 0 : -1);
    assert_int_equal(count(store, LINES, "by hand"), attempts == 1);
}

static void test_lost_before_commit(void **state)
{
    (void)state;
    meet("before", 2);
}

static void test_lost_after_commit(void **state)
{
    (void)state;
    meet("after", 1);
}

/* The server is still in the transaction while the question is asked: it is waited for. */
static void test_commit_comes_late(void **state)
{
    (void)state;
    meet("late", 1);
}

static void test_lost_anywhere(void **state)
{
    CLEANUP_STORE struct store *store = database_open(&cut), *direct = database_open(*state);
    const char *rounds = getenv("ROUNDS");
    int n = rounds ? atoi(rounds) : 150, again = 0;

    set_mode("random 0.03");
    for (int i = 0; i < n; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        struct line line = { .attempts = 0 };

        snprintf(line.text, sizeof line.text, "line %d", i);
        if (store_transaction(store, write_line, &line, &err) < 0)
            fail_msg("%s", error_message(err));
        again += line.attempts > 1;
    }
    set_mode("pass");
    for (int i = 0; i < n; i++) {
        char text[32];

        snprintf(text, sizeof text, "line %d", i);
        assert_int_equal(count(direct, LINES, text), 1);
    }
    assert_in_range(again, 1, n);
    print_message("# %d of %d transactions were done again\n", again, n);
    /* One row a handle is all that is left of it, and it goes with the handle. */
    assert_int_equal(count(direct, "SELECT count(*) FROM transactions", NULL), 1);
    store_close(steal_ptr(store));
    assert_int_equal(count(direct, "SELECT count(*) FROM transactions", NULL), 0);
    /* One of a process that died is kept for a while. */
    database_sql(*state, "INSERT INTO transactions (token, created_at) VALUES ('a', 1), "
                         "('b', UNIX_TIMESTAMP() * 1000)");
    store = database_open(&cut);
    assert_int_equal(count(direct, "SELECT count(*) FROM transactions WHERE token = 'a'", NULL), 0);
    assert_int_equal(count(direct, "SELECT count(*) FROM transactions WHERE token = 'b'", NULL), 1);
}

#define THROUGH_PROXY(test)                                                                        \
    {                                                                                              \
#test, test, setup, database_teardown, &mariadb_database                                   \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        THROUGH_PROXY(test_lost_before_commit),
        THROUGH_PROXY(test_lost_after_commit),
        THROUGH_PROXY(test_commit_comes_late),
        THROUGH_PROXY(test_lost_anywhere),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (proxy > 0) {
        kill(proxy, SIGKILL);
        waitpid(proxy, NULL, 0);
    }
    database_server_stop();
    return failed;
}
