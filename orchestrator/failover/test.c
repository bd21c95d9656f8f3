/* Test failover, step by step; see failover.h. */
#include <json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "failover/domain.h"
#include "failover/job.h"
#include "failover/network.h"
#include "failover/overdue.h"
#include "failover/virt.h"
#include "process.h"

#define QEMU_IMG_TIMEOUT_MS 60000
#define LIBVIRT_LATE_S      5 /* more than one look takes */
#define STEP_LATE_S         15

/* Everything about one test while it is prepared. */
struct test {
    struct store *store;
    const char *state_dir;
    const struct store_vm *vm;
    const struct failover_options *options;
    struct failover_result *result; /* result->failover is the row */
    struct vm_spec spec;
    struct replica_point point;
    struct domain_disk *disks;
    regex_t expect;
    bool expects;
    virConnectPtr connection;
    virDomainPtr domain;
};

static void free_test(struct test *test)
{
    spec_free(&test->spec);
    replica_point_free(&test->point);
    free(test->disks);
    if (test->expects)
        regfree(&test->expect);
    cleanup_domain(&test->domain);
    cleanup_connection(&test->connection);
}

static void say(const struct test *test, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const struct test *test, const char *fmt, ...)
{
    char line[512];
    va_list args;

    if (!test->options->say)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    test->options->say(line);
}

static int compile(struct test *test, struct error **err)
{
    char reason[128];
    int code;

    if (!test->options->expect)
        return 0;
    code = regcomp(&test->expect, test->options->expect, REG_EXTENDED | REG_NOSUB);
    if (code) {
        regerror(code, &test->expect, reason, sizeof reason);
        return error_set_kind(err, ERROR_USAGE, "regular expression '%s': %s",
                              test->options->expect, reason);
    }
    test->expects = true;
    return 0;
}

static int refuse_second(struct test *test, struct error **err)
{
    CLEANUP_FREE struct store_failover *open = NULL;
    size_t count;

    if (store_failovers(test->store, test->vm->id, true, &open, &count, err) < 0)
        return -1;
    if (count)
        return error_set(err,
                         "failover %lld of %s is not rolled back (%s); first run: vmferry failover "
                         "rollback %s",
                         (long long)open[0].id, test->vm->name, open[0].state, test->vm->name);
    return 0;
}

/* Random, version 4. */
static void make_uuid(char text[STORE_UUID])
{
    unsigned char b[16];

    while (getrandom(b, sizeof b, 0) != sizeof b)
        ;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    snprintf(text, STORE_UUID,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

/* What can be refused is refused here, before anything is made or written down. */
static int prepare(struct test *test, struct error **err)
{
    CLEANUP_FREE char *json = NULL;

    if (compile(test, err) < 0 ||
        virt_choose(test->options->virt_type, &test->result->virt_type, err) < 0 ||
        refuse_second(test, err) < 0 ||
        replica_point_load(test->store, test->state_dir, test->vm->id, test->options->point,
                           &test->point, err) < 0 ||
        store_vm_spec(test->store, test->vm->id, &json, err) < 0 ||
        spec_parse_stored(json, "the stored description", &test->spec, err) < 0)
        return -1;
    test->disks = calloc(test->point.count, sizeof *test->disks);
    if (!test->disks)
        return error_set_errno(err, ENOMEM, "preparing the test");
    test->result->point = test->point.number;
    return libvirt_connect(&test->connection, err);
}

/* Images at and below a point change while one of them is merged away. A merge looks for open
 * failovers in the transaction that begins it, so that one of the two always sees the other. */
static int refuse_going(const struct test *test, struct error **err)
{
    CLEANUP_FREE struct store_point *going = NULL;
    struct store_point point;
    size_t count;

    if (store_points_going(test->store, test->vm->id, &going, &count, err) < 0 ||
        store_point_find(test->store, test->vm->id, test->point.number, &point, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (going[i].number < test->point.number)
            return error_set(err,
                             "restore point %u of %s is just being deleted, and point %u stands on "
                             "it: wait for that, or run `vmferry recover %s` if its process died",
                             going[i].number, test->vm->name, test->point.number, test->vm->name);
    }
    return 0;
}

static int audit(const struct test *test, struct error **err)
{
    const struct store_failover *failover = &test->result->failover;
    char subject[64], after[STORE_NAME + 64];

    snprintf(subject, sizeof subject, "failover %lld", (long long)failover->id);
    snprintf(after, sizeof after, "point %u as domain %s", test->point.number,
             failover->domain_name);
    return store_audit_vm(test->store, test->vm->id, "failover test", subject, test->vm->state,
                          after, err);
}

/* The row that names all that will be made, and the VM's state, in one. */
static int write_down(struct test *test, struct error **err)
{
    CLEANUP_ROLLBACK struct store *transaction = NULL;
    CLEANUP_FREE char *json = NULL;
    struct store_failover *failover = &test->result->failover;

    *failover = (struct store_failover){ .vm_id = test->vm->id,
                                         .point_id = test->point.id,
                                         .point = test->point.number };
    strcpy(failover->kind, "test");
    strcpy(failover->state, FAILOVER_OVERLAYS);
    make_uuid(failover->domain_uuid);
    snprintf(failover->domain_name, sizeof failover->domain_name, "vmferry-test-%.8s",
             failover->domain_uuid);
    if (test->spec.nic_count)
        snprintf(failover->network, sizeof failover->network, "vft-%.8s", failover->domain_uuid);
    if (store_begin(test->store, err) < 0)
        return -1;
    transaction = test->store;
    if (refuse_going(test, err) < 0 || store_vm_spec(test->store, test->vm->id, &json, err) < 0 ||
        store_failover_create(test->store, failover, json, err) < 0 ||
        store_vm_change_state(test->store, test->vm->id, "ready_for_failover", "failed_over_test",
                              err) < 0 ||
        audit(test, err) < 0 || store_commit(test->store, err) < 0)
        return -1;
    transaction = NULL;
    failover_console(test->state_dir, failover->id, test->result->console);
    return 0;
}

static int make_overlay(const struct replica_disk *disk, const char *overlay, struct error **err)
{
    const struct replica_image *below = &disk->chain[0];
    char size[32];
    const char *const argv[] = {
        "qemu-img",    "create", "-q",        "-f",    "qcow2", "-F",
        below->format, "-b",     below->path, overlay, size,    NULL,
    };

    snprintf(size, sizeof size, "%llu", (unsigned long long)disk->capacity);
    return process_run(argv, QEMU_IMG_TIMEOUT_MS, NULL, err);
}

static int make_overlays(struct test *test, struct error **err)
{
    int64_t id = test->result->failover.id;
    char directory[PATH_MAX];

    failover_directory(test->state_dir, id, directory);
    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", directory);
    for (size_t i = 0; i < test->point.count; i++) {
        const struct replica_disk *disk = &test->point.disks[i];
        struct domain_disk *planned = &test->disks[i];

        planned->key = disk->key;
        planned->chain = disk->chain;
        planned->chain_length = disk->chain_length;
        failover_overlay(test->state_dir, id, disk->key, planned->overlay);
        if (make_overlay(disk, planned->overlay, err) < 0)
            return error_prefix(err, "disk-%d", disk->key);
    }
    return 0;
}

static int make_network(struct test *test, struct error **err)
{
    const char *name = test->result->failover.network;

    return *name ? network_start(test->connection, name, err) : 0;
}

static int start_domain(struct test *test, struct error **err)
{
    const struct store_failover *failover = &test->result->failover;
    char title[STORE_NAME + 32];
    const struct domain_plan plan = {
        .spec = &test->spec,
        .uuid = failover->domain_uuid,
        .name = failover->domain_name,
        .title = title,
        .virt_type = test->result->virt_type,
        .network = failover->network,
        .console = test->result->console,
        .disks = test->disks,
        .disk_count = test->point.count,
    };

    snprintf(title, sizeof title, "test of %s, point %u", test->vm->name, test->point.number);
    return domain_start(test->connection, &plan, &test->domain, err);
}

static const struct step {
    const char *state; /* written down before it is done */
    int (*run)(struct test *test, struct error **err);
} steps[] = {
    { FAILOVER_OVERLAYS, make_overlays },
    { FAILOVER_NETWORK, make_network },
    { FAILOVER_DOMAIN, start_domain },
};

static int set_state(struct test *test, const char *state, struct error **err)
{
    strcpy(test->result->failover.state, state);
    return store_failover_update(test->store, &test->result->failover, err);
}

static int run_steps(struct test *test, struct error **err)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct overdue late;
        int r;

        if (set_state(test, steps[i].state, err) < 0)
            return -1;
        overdue_start(&late, STEP_LATE_S, test->options->say,
                      "libvirt takes long to answer: waiting for it");
        r = steps[i].run(test, err);
        overdue_stop(&late);
        if (r < 0)
            return error_prefix(err, "%s", steps[i].state);
    }
    return set_state(test, FAILOVER_BOOTING, err);
}

static void watch(struct test *test)
{
    const struct failover_options *options = test->options;
    struct overdue late;

    say(test, "%s runs as domain %s (%s); waiting at most %u s for %s%s", test->vm->name,
        test->result->failover.domain_name, test->result->virt_type, options->timeout_s,
        test->expects ? "its console to say " : "its guest agent",
        test->expects ? options->expect : "");
    overdue_start(&late, options->timeout_s + LIBVIRT_LATE_S, options->say,
                  "the time for the boot is over, but libvirt does not answer: waiting for it");
    evidence_watch(test->domain, test->result->console, test->expects ? &test->expect : NULL,
                   options->timeout_s, options->tick, &test->result->evidence);
    overdue_stop(&late);
}

static int keep_evidence(struct test *test, struct error **err)
{
    const struct evidence *evidence = &test->result->evidence;
    json_object *json = json_object_new_object();
    char seconds[32];
    int status;

    snprintf(seconds, sizeof seconds, "%.1f", evidence->seconds);
    json_object_object_add(json, "booted", json_object_new_boolean(evidence->booted));
    json_object_object_add(json, "by", json_object_new_string(evidence->by));
    json_object_object_add(json, "line",
                           *evidence->line ? json_object_new_string(evidence->line) : NULL);
    json_object_object_add(json, "seconds", json_object_new_double_s(evidence->seconds, seconds));
    json_object_object_add(json, "virt_type", json_object_new_string(test->result->virt_type));
    json_object_object_add(json, "console", json_object_new_string(test->result->console));
    status = store_failover_evidence(test->store, test->result->failover.id,
                                     json_object_to_json_string(json), err);
    json_object_put(json);
    return status;
}

/* A test that could not be run is taken back; the error that says why stays the error. */
static void take_back(struct test *test, struct error *why)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store_failover *failover = &test->result->failover;

    snprintf(failover->error, sizeof failover->error, "%s", error_message(why));
    if (failover_undo(test->store, test->state_dir, failover, &err) < 0)
        say(test, "could not remove all of it, `vmferry failover rollback` will: %s",
            error_message(err));
}

int failover_test(struct store *store, const char *state_dir, const struct store_vm *vm,
                  const struct failover_options *options, struct failover_result *result,
                  struct error **err)
{
    CLEANUP(free_test)
    struct test test = {
        .store = store, .state_dir = state_dir, .vm = vm, .options = options, .result = result
    };
    CLEANUP_CLOSE int lock = failover_lock(state_dir, vm, err);

    *result = (struct failover_result){ 0 };
    if (lock < 0 || prepare(&test, err) < 0 || write_down(&test, err) < 0)
        return -1;
    if (run_steps(&test, err) < 0) {
        take_back(&test, *err);
        return -1;
    }
    watch(&test);
    if (keep_evidence(&test, err) < 0)
        return -1;
    return set_state(&test, result->evidence.booted ? FAILOVER_BOOTED : FAILOVER_NOT_BOOTED, err);
}
