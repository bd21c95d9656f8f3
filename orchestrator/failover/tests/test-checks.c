/* Checks as operators write them, and what is made of a guest's tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "failover/check.h"
#include "failover/listener.h"
#include "failover/reach.h"

static void checks_are_understood(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_CHECKS struct checks checks = { 0 };
    char text[INET_ADDRSTRLEN];

    (void)state;
    if (checks_add_list(&checks,
                        "tcp:22, tcp:443@nic1,tcp:80@10.1.2.3/16 , command:/bin/sh -c 'a, b \"c\"' "
                        "\"\",tcp:1@10.0.0.1",
                        &err) < 0)
        fail_msg("%s", error_message(err));
    assert_int_equal(checks.count, 5);
    assert_int_equal(checks.list[0].port, 22);
    assert_int_equal(checks.list[0].nic, -1);
    assert_int_equal(checks.list[1].nic, 1);
    assert_string_equal(checks.list[2].text, "tcp:80@10.1.2.3/16");
    assert_string_equal(inet_ntop(AF_INET, &checks.list[2].address, text, sizeof text), "10.1.2.3");
    assert_int_equal(checks.list[2].prefix, 16);
    assert_int_equal(checks.list[4].prefix, 24);
    assert_int_equal(checks.list[3].kind, CHECK_COMMAND);
    assert_string_equal(checks.list[3].argv[0], "/bin/sh");
    assert_string_equal(checks.list[3].argv[2], "a, b \"c\"");
    assert_string_equal(checks.list[3].argv[3], "");
    assert_null(checks.list[3].argv[4]);
}

static void no_check_is_none(void **state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_CHECKS struct checks checks = { 0 };

    (void)state;
    assert_int_equal(checks_add_list(&checks, "", &err), 0);
    assert_int_equal(checks_add_list(&checks, " ", &err), 0);
    assert_int_equal(checks_add_list(&checks, "none", &err), 0);
    assert_int_equal(checks.count, 0);
}

static void what_is_no_check_is_wrong_use(void **state)
{
    static const char *const wrong[] = {
        "tcp:",
        "tcp:0",
        "tcp:65536",
        "tcp:22x",
        "tcp:22@",
        "tcp:22@eth0",
        "tcp:22@nic",
        "tcp:22@nic0x",
        "tcp:22@1.2.3",
        "tcp:22@::1",
        "tcp:22@1.2.3.4/31",
        "tcp:22@1.2.3.4/0",
        "tcp:22@0.0.0.0",
        "tcp:-1",
        "tcp: 22",
        "udp:53",
        "command:",
        "command:nginx",
        "command:/bin/sh 'x",
        "http://x",
        "22",
        "tcp:22,udp:53",
        "tcp:99999999999",
        "tcp:22@nic99999999999",
        "tcp:22@1.2.3.4/",
        "tcp:22@1.2.3.4/24x",
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        CLEANUP_CHECKS struct checks checks = { 0 };

        if (checks_add_list(&checks, wrong[i], &err) == 0)
            fail_msg("'%s' is taken", wrong[i]);
        assert_int_equal(err->kind, ERROR_USAGE);
        assert_non_null(strstr(error_message(err), "a check is"));
    }
}

static void free_of(const char *address, unsigned prefix, const char *taken, const char *expected)
{
    struct in_addr other;
    struct reach_target target = { .prefix = prefix, .taken = &other, .taken_count = 1 };
    char text[INET_ADDRSTRLEN];
    struct in_addr free;

    inet_pton(AF_INET, address, &target.address);
    inet_pton(AF_INET, taken, &other);
    free = reach_free_address(&target);
    assert_string_equal(inet_ntop(AF_INET, &free, text, sizeof text), expected);
}

static void addresses_that_are_free_are_found(void **state)
{
    (void)state;
    free_of("192.0.2.10", 24, "10.0.0.1", "192.0.2.254");
    free_of("192.0.2.254", 24, "192.0.2.253", "192.0.2.252");
    free_of("10.1.2.3", 8, "10.1.2.4", "10.255.255.254");
    free_of("192.0.2.1", 30, "10.0.0.1", "192.0.2.2");
    free_of("192.0.2.2", 30, "10.0.0.1", "192.0.2.1");
    free_of("192.0.2.2", 30, "192.0.2.1", "0.0.0.0");
    free_of("192.0.2.2", 32, "192.0.2.1", "0.0.0.0");
}

static const char head[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

static void listeners_are_found(void **state)
{
    char table[2048];

    (void)state;
    snprintf(table, sizeof table, "%s%s%s%s%s", head,
             "   0: 0100007F:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0\n",
             "   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0\n",
             "   2: 0A0200C0:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0\n",
             "   3: 0A0200C0:1F90 0B0200C0:C350 01 00000000:00000000 00:00000000 00000000 0\n");
    assert_true(listener_in(table, 22));
    assert_true(listener_in(table, 80));
    assert_false(listener_in(table, 25));   /* for itself alone */
    assert_false(listener_in(table, 8080)); /* a connection, no listener */
    assert_false(listener_in(table, 23));
    assert_false(listener_in("", 22));
    snprintf(
        table, sizeof table, "%s%s%s", head,
        "   0: 00000000000000000000000001000000:0019 00000000000000000000000000000000:0000 0A\n",
        "   1: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A\n");
    assert_true(listener_in(table, 8080));
    assert_false(listener_in(table, 25));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_are_understood),
        cmocka_unit_test(no_check_is_none),
        cmocka_unit_test(what_is_no_check_is_wrong_use),
        cmocka_unit_test(addresses_that_are_free_are_found),
        cmocka_unit_test(listeners_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
