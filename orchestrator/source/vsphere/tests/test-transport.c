/* nbdkit's command lines: nothing in a name gets out of its word, its URL or its quotes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "source/vsphere/transport.h"

static struct transport_access access_to(const char *server)
{
    return (struct transport_access){ .server = server,
                                      .user = "backup@vsphere.local",
                                      .esxi = "esx1",
                                      .ca_file = "/s/run/ca.pem",
                                      .no_cas = "/s/run/no-cas",
                                      .thumbprint = "AA:BB",
                                      .cookie_file = "/it's here/cookie",
                                      .password_file = "/s/password",
                                      .state_dir = "/s" };
}

static struct transport_disk plain_disk(void)
{
    return (struct transport_disk){ .key = 2000,
                                    .capacity = 1 << 20,
                                    .vm = "vm-62",
                                    .snapshot = "snapshot-76",
                                    .uuid = "u",
                                    .datacenter = "DC0",
                                    .file = "[ds1] app01/app01.vmdk",
                                    .flat = true,
                                    .map = "" };
}

static void make(enum transport transport, const struct transport_options *options,
                 const struct transport_access *access, const struct transport_disk *disk,
                 struct command_line *command)
{
    CLEANUP_ERROR struct error *err = NULL;

    *command = (struct command_line){ 0 };
    if (transport_command(transport, options, access, disk, command, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_null(command->words[command->count]);
}

static void has(const struct command_line *command, const char *word)
{
    for (size_t i = 0; i < command->count; i++) {
        if (strcmp(command->words[i], word) == 0)
            return;
    }
    for (size_t i = 0; i < command->count; i++)
        print_message("  %s\n", command->words[i]);
    fail_msg("'%s' is missing", word);
}

static void has_none(const struct command_line *command, const char *start)
{
    for (size_t i = 0; i < command->count; i++) {
        if (strncmp(command->words[i], start, strlen(start)) == 0)
            fail_msg("'%s' is there", command->words[i]);
    }
}

static void test_https(void **state)
{
    CLEANUP_COMMAND struct command_line command = { 0 };
    struct transport_options options = { 0 };
    struct transport_access access = access_to("vc.example:8443");
    struct transport_disk disk = plain_disk();

    (void)state;
    disk.datacenter = "folder/DC 0";
    disk.file = "[ds&dsName=x] a b/50%/\xc3\xa4'\"?#.vmdk";
    make(TRANSPORT_HTTPS, &options, &access, &disk, &command);
    has(&command, "url=https://vc.example:8443/folder/a%20b/50%25/%C3%A4%27%22%3F%23-flat.vmdk"
                  "?dcPath=folder%2FDC%200&dsName=ds%26dsName%3Dx");
    has(&command, "cookie-script=cat '/it'\\''s here/cookie'");
    has(&command, "cainfo=/s/run/ca.pem");
    has(&command, "capath=/s/run/no-cas");
    has(&command, "followlocation=false");
    has(&command, "protocols=https");
    has(&command, "--readonly");
    has_none(&command, "sslverify");
    has_none(&command, "cbt-map");
}

static void test_system_cas(void **state)
{
    CLEANUP_COMMAND struct command_line command = { 0 };
    struct transport_options options = { 0 };
    struct transport_access access = access_to("vc");
    struct transport_disk disk = plain_disk();

    (void)state;
    access.ca_file = "";
    make(TRANSPORT_HTTPS, &options, &access, &disk, &command);
    has_none(&command, "cainfo");
    has_none(&command, "capath");
    has_none(&command, "sslverify");
}

static void test_map(void **state)
{
    CLEANUP_COMMAND struct command_line used = { 0 };
    CLEANUP_COMMAND struct command_line changed = { 0 };
    struct transport_options options = { 0 };
    struct transport_access access = access_to("vc");
    struct transport_disk disk = plain_disk();

    (void)state;
    disk.map = "/s/run/map";
    disk.map_is_used = true;
    make(TRANSPORT_HTTPS, &options, &access, &disk, &used);
    has(&used, "cbt-map=/s/run/map");
    has(&used, "cbt-size=1048576");
    has(&used, "cbt-unchanged=zero");
    disk.map_is_used = false; /* what did not change is anything but zero */
    make(TRANSPORT_HTTPS, &options, &access, &disk, &changed);
    has(&changed, "cbt-unchanged=hole");
}

static void test_ssh(void **state)
{
    CLEANUP_COMMAND struct command_line plain = { 0 };
    CLEANUP_COMMAND struct command_line command = { 0 };
    struct transport_options options = { 0 };
    struct transport_access access = access_to("vc");
    struct transport_disk disk = plain_disk();

    (void)state;
    make(TRANSPORT_SSH, &options, &access, &disk, &plain);
    has(&plain, "host=esx1");
    has(&plain, "user=root");
    has(&plain, "path=/vmfs/volumes/ds1/app01/app01-flat.vmdk");
    has_none(&plain, "identity");
    has_none(&plain, "verify-remote-host");
    strcpy(options.ssh_host, "esx2");
    strcpy(options.ssh_port, "2222");
    strcpy(options.ssh_user, "ferry");
    strcpy(options.ssh_identity, "/keys/50%d");
    make(TRANSPORT_SSH, &options, &access, &disk, &command);
    has(&command, "host=esx2");
    has(&command, "port=2222");
    has(&command, "user=ferry");
    has(&command, "identity=/keys/50%%d"); /* libssh expands % */
}

static void test_vddk(void **state)
{
    static const struct {
        const char *server, *host, *port;
    } cases[] = {
        { "vc.example", "server=vc.example", NULL },
        { "vc.example:443", "server=vc.example", NULL },
        { "vc.example:8443", "server=vc.example", "port=8443" },
        { "[fd00::1]", "server=[fd00::1]", NULL },
        { "[fd00::1]:8443", "server=[fd00::1]", "port=8443" },
    };
    struct transport_options options = { 0 };
    struct transport_disk disk = plain_disk();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP_COMMAND struct command_line command = { 0 };
        struct transport_access access = access_to(cases[i].server);

        make(TRANSPORT_VDDK, &options, &access, &disk, &command);
        has(&command, cases[i].host);
        if (cases[i].port)
            has(&command, cases[i].port);
        else
            has_none(&command, "port");
        has(&command, "password=+/s/password");
        has(&command, "vm=moref=vm-62");
        has(&command, "snapshot=snapshot-76");
        has(&command, "file=[ds1] app01/app01.vmdk");
        has(&command, "maxdata=2M");
        has_none(&command, "single-link");
        has_none(&command, "libdir");
    }
}

static void test_wrong_names(void **state)
{
    static const char *const names[] = { "",           "app01.vmdk",  "[ds1]",
                                         "[] a.vmdk",  "[ds1 a.vmdk", "[ds1] a",
                                         "[ds1] .vmdk" };
    struct transport_options options = { 0 };
    struct transport_access access = access_to("vc");
    struct transport_disk disk = plain_disk();

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        CLEANUP_COMMAND struct command_line command = { 0 };
        CLEANUP_ERROR struct error *err = NULL;

        disk.file = names[i];
        if (transport_command(TRANSPORT_HTTPS, &options, &access, &disk, &command, &err) == 0)
            fail_msg("'%s' is taken", names[i]);
    }
}

static void test_fits(void **state)
{
    struct transport_options options = { 0 };
    struct transport_access access = access_to("vc");
    struct transport_disk disk = plain_disk();
    char why[512];

    (void)state;
    access.no_thumbprint = "its certificate is unknown";
    assert_false(transport_fits(TRANSPORT_VDDK, &options, &access, &disk, why));
    assert_string_equal(why, access.no_thumbprint);
    assert_true(transport_fits(TRANSPORT_HTTPS, &options, &access, &disk, why));
    assert_true(transport_fits(TRANSPORT_SSH, &options, &access, &disk, why));
    disk.parents = 1;
    assert_false(transport_fits(TRANSPORT_HTTPS, &options, &access, &disk, why));
    assert_non_null(strstr(why, "vddk"));
    assert_false(transport_fits(TRANSPORT_SSH, &options, &access, &disk, why));
    disk.parents = 0;
    disk.flat = false;
    assert_false(transport_fits(TRANSPORT_HTTPS, &options, &access, &disk, why));
    disk.flat = true;
    disk.datacenter = "";
    assert_false(transport_fits(TRANSPORT_HTTPS, &options, &access, &disk, why));
    access.esxi = "";
    assert_false(transport_fits(TRANSPORT_SSH, &options, &access, &disk, why));
    strcpy(options.ssh_host, "esx1");
    assert_true(transport_fits(TRANSPORT_SSH, &options, &access, &disk, why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_https), cmocka_unit_test(test_system_cas),
        cmocka_unit_test(test_map),   cmocka_unit_test(test_ssh),
        cmocka_unit_test(test_vddk),  cmocka_unit_test(test_wrong_names),
        cmocka_unit_test(test_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
