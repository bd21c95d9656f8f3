/* Test failover, step by step; see failover.h. */
#include <json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "failover/guest.h"
#include "failover/job.h"
#include "failover/network.h"
#include "failover/overdue.h"
#include "failover/plan.h"
#include "failover/screen.h"
#include "failover/storage.h"
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
    struct failover_plan plan;
    regex_t expect;
    bool expects;
    bool by_path; /* libvirt opens the images: it is not on this host */
    virConnectPtr connection;
    virDomainPtr domain;
};

static void free_test(struct test *test)
{
    failover_plan_free(&test->plan);
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

/* A domain as planned; `title` is the caller's. */
static struct domain_plan domain_of(const struct test *test, const char *title)
{
    const struct store_failover *failover = &test->result->failover;

    return (struct domain_plan){
        .hardware = &test->plan.hardware,
        .uuid = failover->domain_uuid,
        .name = failover->domain_name,
        .title = title,
        .virt_type = test->plan.virt_type,
        .console = test->result->console,
        .disks = test->plan.disks,
        .disk_count = test->plan.point.count,
        .nics = test->plan.nics,
        .nic_count = test->plan.nic_count,
        .by_path = test->by_path,
        .uid = geteuid(),
        .gid = getegid(),
        .override = test->options->override,
    };
}

#define TITLE (STORE_NAME + 32)

static void make_title(const struct test *test, char title[TITLE])
{
    snprintf(title, TITLE, "test of %s, point %u", test->vm->name, test->plan.point.number);
}

static int check_network(const struct test *test, struct error **err)
{
    const struct net_target *target = &test->options->network;

    if (target->kind != NET_NETWORK || !test->plan.nic_count)
        return 0;
    return network_check(test->connection, target->name, err);
}

/* The XML as it will be, before there is anything: what an override does wrong is told now. */
static int rehearse(struct test *test, struct error **err)
{
    CLEANUP_FREE char *xml = NULL;
    struct domain_plan domain;
    char title[TITLE];

    failover_plan_name(&test->plan, test->options, test->vm, &test->result->failover);
    failover_plan_place(&test->plan, test->state_dir, &test->result->failover);
    failover_console(test->state_dir, 0, test->result->console);
    make_title(test, title);
    domain = domain_of(test, title);
    return domain_check(&domain, err) < 0 ? -1 : domain_xml(&domain, &xml, err);
}

/* What can be refused is refused here, before anything is made or written down. */
static int prepare(struct test *test, struct error **err)
{
    if (compile(test, err) < 0 || failover_plan_make(test->store, test->state_dir, test->vm,
                                                     test->options, &test->plan, err) < 0)
        return -1;
    test->result->virt_type = test->plan.virt_type;
    test->result->point = test->plan.point.number;
    if (libvirt_connect(test->options->uri, &test->connection, err) < 0)
        return -1;
    test->by_path = libvirt_is_remote(test->connection);
    return check_network(test, err) < 0 ? -1 : rehearse(test, err);
}

/* Images at and below a point change while one of them is merged away. A merge looks for open
 * failovers in the transaction that begins it, so that one of the two always sees the other. */
static int refuse_going(const struct test *test, struct error **err)
{
    CLEANUP_FREE struct store_point *going = NULL;
    struct store_point point;
    size_t count;

    if (store_points_going(test->store, test->vm->id, &going, &count, err) < 0 ||
        store_point_find(test->store, test->vm->id, test->plan.point.number, &point, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (going[i].number < test->plan.point.number)
            return error_set(err,
                             "restore point %u of %s is just being deleted, and point %u stands on "
                             "it: wait for that, or run `vmferry recover %s` if its process died",
                             going[i].number, test->vm->name, test->plan.point.number,
                             test->vm->name);
    }
    return 0;
}

static int audit(const struct test *test, struct error **err)
{
    const struct store_failover *failover = &test->result->failover;
    char subject[64], after[STORE_NAME + 64];

    snprintf(subject, sizeof subject, "failover %lld", (long long)failover->id);
    snprintf(after, sizeof after, "point %u as domain %s", test->plan.point.number,
             failover->domain_name);
    return store_audit_vm(test->store, test->vm->id, "failover test", subject, test->vm->state,
                          after, err);
}

/* The row that names all that will be made, and the VM's state, in one. */
static int write_row(struct store *store, void *opaque, struct error **err)
{
    struct test *test = opaque;
    CLEANUP_FREE char *json = NULL;

    return store_vm_touch(store, test->vm->id, err) < 0 || refuse_going(test, err) < 0 ||
                   store_vm_spec(store, test->vm->id, &json, err) < 0 ||
                   store_failover_create(store, &test->result->failover, json, err) < 0 ||
                   store_vm_change_state(store, test->vm->id, "ready_for_failover",
                                         "failed_over_test", err) < 0 ||
                   audit(test, err) < 0
               ? -1
               : 0;
}

/* Returns the failover's lock. */
static int write_down(struct test *test, struct error **err)
{
    CLEANUP_CLOSE int vm_lock = failover_lock_vm(test->state_dir, test->vm, err);
    struct store_failover *failover = &test->result->failover;

    if (vm_lock < 0 || store_transaction(test->store, write_row, test, err) < 0)
        return -1;
    failover_console(test->state_dir, failover->id, test->result->console);
    failover_plan_place(&test->plan, test->state_dir, failover);
    return failover_lock(test->state_dir, failover->id, err);
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
    const struct failover_plan *plan = &test->plan;

    if (failover_plan_reload(test->store, test->state_dir, test->vm->id, &test->plan, err) < 0)
        return -1;
    for (size_t i = 0; i < plan->point.count; i++) {
        if (make_overlay(&plan->point.disks[i], plan->disks[i].overlay, err) < 0)
            return error_prefix(err, "disk-%d", plan->disks[i].key);
    }
    return 0;
}

/* Of another host, before it is told to open anything. */
static int check_storage(struct test *test, struct error **err)
{
    struct domain_plan domain = domain_of(test, "");

    return test->by_path ? storage_check(test->connection, &domain, err) : 0;
}

static int make_network(struct test *test, struct error **err)
{
    const char *name = test->result->failover.network;

    return *name ? network_start(test->connection, name, test->options->dhcp, err) : 0;
}

static int start_domain(struct test *test, struct error **err)
{
    char title[TITLE];
    struct domain_plan domain;

    make_title(test, title);
    domain = domain_of(test, title);
    return domain_start(test->connection, &domain, &test->domain, err);
}

static const struct step {
    const char *state; /* written down before it is done */
    int (*run)(struct test *test, struct error **err);
} steps[] = {
    { FAILOVER_OVERLAYS, make_overlays },
    { FAILOVER_STORAGE, check_storage },
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

/* What there is to be seen of a guest now; a picture that can't be taken is no failure. */
static void look_at(struct test *test, json_object *json)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct failover_result *result = test->result;
    json_object *guest;

    failover_screen(test->state_dir, result->failover.id, result->screen);
    if (strcmp(result->evidence.by, "stopped") == 0 ||
        screen_save(test->domain, result->screen, &err) < 0)
        result->screen[0] = '\0';
    if (err)
        say(test, "no picture of the screen: %s", error_message(err));
    guest = result->evidence.booted ? guest_ask(test->domain) : NULL;
    json_object_object_add(json, "screen",
                           *result->screen ? json_object_new_string(result->screen) : NULL);
    json_object_object_add(json, "guest", guest);
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
    look_at(test, json);
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
    CLEANUP_CLOSE int lock = -1;

    *result = (struct failover_result){ 0 };
    if (prepare(&test, err) < 0)
        return -1;
    lock = write_down(&test, err);
    if (lock < 0)
        return -1;
    if (test.plan.hardware.tpm)
        say(&test,
            "%s has a TPM: the test gets a new, empty one; the secrets in the source's do not move "
            "(BitLocker asks for its recovery key)",
            vm->name);
    if (run_steps(&test, err) < 0) {
        take_back(&test, *err);
        return -1;
    }
    watch(&test);
    if (options->keep_s)
        result->failover.keep_until_ms = store_now_ms() + (int64_t)options->keep_s * 1000;
    if (keep_evidence(&test, err) < 0)
        return -1;
    return set_state(&test, result->evidence.booted ? FAILOVER_BOOTED : FAILOVER_NOT_BOOTED, err);
}

int failover_print_xml(struct store *store, const char *state_dir, const struct store_vm *vm,
                       const struct failover_options *options, char **xml, struct error **err)
{
    struct failover_result result = { 0 };
    CLEANUP(free_test)
    struct test test = {
        .store = store, .state_dir = state_dir, .vm = vm, .options = options, .result = &result
    };
    struct domain_plan domain;
    char title[TITLE];

    if (failover_plan_make(store, state_dir, vm, options, &test.plan, err) < 0)
        return -1;
    failover_plan_name(&test.plan, options, vm, &result.failover);
    failover_plan_place(&test.plan, state_dir, &result.failover);
    failover_console(state_dir, 0, result.console);
    make_title(&test, title);
    domain = domain_of(&test, title);
    return domain_xml(&domain, xml, err);
}
