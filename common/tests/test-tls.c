/* The checks before TLS, on certificates that vmferry-make-certs has made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "process.h"
#include "tls.h"

static char dir[] = "/tmp/vmferry-test-tls.XXXXXX";

static void run(const char *const argv[])
{
    CLEANUP_ERROR struct error *err = NULL;

    if (process_run(argv, 60000, NULL, &err) < 0)
        fail_msg("%s", error_message(err));
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    run((const char *const[]){ "scripts/vmferry-make-certs", dir, "localhost", NULL });
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    run((const char *const[]){ "rm", "-rf", dir, NULL });
    return 0;
}

/* "DIR/NAME" in a static buffer. */
static const char *in_dir(const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void replace(const char *name, const char *text, size_t length)
{
    CLEANUP_CLOSE int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, length), length);
}

/* err by its address: the call that sets it is an argument beside it. */
static void assert_refused(int result, struct error **err, const char *reason)
{
    assert_int_equal(result, -1);
    if (!strstr(error_message(*err), reason))
        fail_msg("'%s' does not say '%s'", error_message(*err), reason);
}

static void test_good(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;

    (void)state;
    assert_int_equal(tls_check_client_dir(in_dir("client"), &err), 0);
    assert_int_equal(tls_check_server_dir(in_dir("server"), &err), 0);
    assert_null(err);
}

static void test_ca(void **state)
{
    CLEANUP_ERROR struct error *missing = NULL;
    CLEANUP_ERROR struct error *empty = NULL;
    CLEANUP_ERROR struct error *torn = NULL;
    CLEANUP_ERROR struct error *fine = NULL;
    char pem[4096];
    ssize_t length;
    CLEANUP_CLOSE int fd = open(in_dir("client/ca-cert.pem"), O_RDONLY);

    (void)state;
    length = read(fd, pem, sizeof pem);
    assert_true(length > 300);
    mkdir(in_dir("half"), 0700);
    assert_refused(tls_check_client_dir(in_dir("half"), &missing), &missing,
                   "ca-cert.pem: No such");
    replace("half/ca-cert.pem", "", 0);
    assert_refused(tls_check_client_dir(in_dir("half"), &empty), &empty, "no complete");
    /* Cut one line out of the middle: the PEM lines are whole, the DER is not. */
    memmove(pem + 100, pem + 165, (size_t)length - 165);
    replace("half/ca-cert.pem", pem, (size_t)length - 65);
    assert_refused(tls_check_client_dir(in_dir("half"), &torn), &torn, "no complete");
    assert_int_equal(pread(fd, pem, sizeof pem, 0), length);
    replace("half/ca-cert.pem", pem, (size_t)length);
    assert_int_equal(tls_check_client_dir(in_dir("half"), &fine), 0);
}

static void test_keys(void **state)
{
    CLEANUP_ERROR struct error *open_to_all = NULL;
    CLEANUP_ERROR struct error *gone = NULL;

    (void)state;
    chmod(in_dir("server/server-key.pem"), 0644);
    assert_refused(tls_check_server_dir(in_dir("server"), &open_to_all), &open_to_all,
                   "chmod 0600");
    chmod(in_dir("server/server-key.pem"), 0600);
    unlink(in_dir("client/client-key.pem"));
    assert_refused(tls_check_client_dir(in_dir("client"), &gone), &gone, "client-key.pem: No such");
    unlink(in_dir("client/client-cert.pem"));
}

static int check_uri(struct error **err, const char *format, const char *argument)
{
    char uri[512];

    snprintf(uri, sizeof uri, format, argument);
    return tls_check_uri(uri, err);
}

static void test_uri(void **state)
{
    CLEANUP_ERROR struct error *fine = NULL;
    CLEANUP_ERROR struct error *local = NULL;
    CLEANUP_ERROR struct error *bare = NULL;
    CLEANUP_ERROR struct error *psk = NULL;
    CLEANUP_ERROR struct error *other = NULL;

    (void)state;
    assert_int_equal(tls_check_uri("nbd://host/x", &fine), 0);
    assert_int_equal(tls_check_uri("nbd+unix:///x?socket=/s", &fine), 0);
    assert_int_equal(check_uri(&fine, "nbds://host/x?tls-certificates=%s/client", dir), 0);
    assert_int_equal(check_uri(&fine, "nbds://host/x?a=b&tls-certificates=%s%%2Fclient", dir), 0);
    assert_int_equal(check_uri(&fine, "nbds://u@host/x?tls-psk-file=%s", in_dir("ca-key.pem")), 0);
    assert_refused(check_uri(&local, "nbds+unix:///x?socket=/s&tls-certificates=%s", dir), &local,
                   "TCP only");
    assert_refused(tls_check_uri("NBDS://host/x", &bare), &bare, "tls-certificates=DIR");
    assert_refused(tls_check_uri("nbds://host/?tls-psk-file=/none", &psk), &psk, "No such");
    assert_refused(check_uri(&other, "nbds://host/?xtls-certificates=%s/client", dir), &other,
                   "tls-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_ca),
        cmocka_unit_test(test_uri), /* before test_keys takes keys away */
        cmocka_unit_test(test_keys),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
