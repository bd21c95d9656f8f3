/* process.h against real programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "process.h"

static void test_output(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *out = NULL;
    const char *argv[] = { "printf", "%s|", "a b", "$HOME", NULL };

    (void)state;
    assert_int_equal(process_run(argv, 5000, &out, &err), 0);
    assert_string_equal(out, "a b|$HOME|");
}

static void test_failure_says_why(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    const char *argv[] = { "sh", "-c", "echo it broke >&2; exit 3", NULL };

    (void)state;
    assert_int_equal(process_run(argv, 5000, NULL, &err), -1);
    assert_string_equal(error_message(err), "sh exited with status 3: it broke");
}

static void test_missing_program(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    const char *argv[] = { "no-such-program", NULL };

    (void)state;
    assert_int_equal(process_run(argv, 5000, NULL, &err), -1);
    assert_int_equal(err->errnum, ENOENT);
}

static void test_timeout_kills(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    const char *argv[] = { "sleep", "60", NULL };

    (void)state;
    assert_int_equal(process_run(argv, 100, NULL, &err), -1);
    assert_int_equal(err->errnum, ETIMEDOUT);
}

static void test_large_output(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *out = NULL;
    const char *argv[] = { "sh", "-c", "yes x | head -c 1000000; yes y | head -c 1000000 >&2",
                           NULL };

    (void)state;
    assert_int_equal(process_run(argv, 20000, &out, &err), 0);
    assert_int_equal(strlen(out), 1000000);
}

/* Only the descriptors that were named reach the child, and environment is added. */
static void test_descriptors_and_environment(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct process_options options = PROCESS_OPTIONS_INIT;
    const char *env[] = { "VMFERRY_TEST=yes", NULL };
    int leaked = open("/dev/null", O_RDONLY);
    int pipes[2];
    int keep[2] = { -1, -1 };
    char script[128];
    const char *argv[] = { "bash", "-c", script, NULL };
    int status = -1;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    keep[0] = pipes[1];
    options.keep_fds = keep;
    options.env = env;
    snprintf(script, sizeof script,
             "test $VMFERRY_TEST = yes && test -e /proc/$$/fd/%d && ! test -e /proc/$$/fd/%d",
             pipes[1], leaked);
    pid_t pid = process_start(argv, &options, &err);
    assert_true(pid > 0);
    assert_int_equal(process_wait(pid, 5000, &status, &err), 0);
    assert_int_equal(status, 0);
    close(leaked);
    close(pipes[0]);
    close(pipes[1]);
}

/* A listening socket arrives as descriptor 3, wherever it was, and is meant for the child. */
static void check_activation(int listen_fd)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct process_options options = PROCESS_OPTIONS_INIT;
    const char *argv[] = { "bash", "-c",
                           "test $LISTEN_PID = $$ && test $LISTEN_FDS = 1 && test -S /dev/fd/3",
                           NULL };
    int status = -1;
    pid_t pid;

    options.listen_fd = listen_fd;
    pid = process_start(argv, &options, &err);
    assert_true(pid > 0);
    assert_int_equal(process_wait(pid, 5000, &status, &err), 0);
    assert_int_equal(status, 0);
}

static void test_socket_activation(void **state)
{
    int saved = dup(3); /* cmocka's or nobody's */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int other = fcntl(fd, F_DUPFD_CLOEXEC, 20);

    (void)state;
    assert_int_equal(setenv("LISTEN_PID", "1", 1), 0);
    close(3);
    check_activation(other); /* the report pipe may take 3 now */
    assert_int_equal(dup2(other, 3), 3);
    check_activation(3);
    close(other);
    if (fd != 3)
        close(fd);
    if (saved >= 0) {
        dup2(saved, 3);
        close(saved);
    } else {
        close(3);
    }
}

/* What we ignore for ourselves is no inheritance. */
static void test_signals_are_the_default(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *out = NULL;
    const char *argv[] = { "sed", "-n", "s/^SigIgn:\t//p", "/proc/self/status", NULL };

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(process_run(argv, 5000, &out, &err), 0);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(strtoull(out, NULL, 16) & (1ULL << (SIGPIPE - 1) | 1ULL << (SIGXFSZ - 1)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output),
        cmocka_unit_test(test_failure_says_why),
        cmocka_unit_test(test_missing_program),
        cmocka_unit_test(test_timeout_kills),
        cmocka_unit_test(test_large_output),
        cmocka_unit_test(test_descriptors_and_environment),
        cmocka_unit_test(test_socket_activation),
        cmocka_unit_test(test_signals_are_the_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
