/* Test failover; see failover.h and boot.h. */
#include <stdio.h>
#include <string.h>

#include "failover/boot.h"
#include "failover/job.h"
#include "say.h"

static int audit(const struct boot *boot, struct error **err)
{
    const struct store_failover *failover = &boot->result->failover;
    char subject[64], after[STORE_NAME + 64];

    snprintf(subject, sizeof subject, "failover %lld", (long long)failover->id);
    snprintf(after, sizeof after, "point %u as domain %s", boot->plan.point.number,
             failover->domain_name);
    return store_audit_vm(boot->store, boot->vm->id, "failover test", subject, boot->vm->state,
                          after, err);
}

/* The row that names all that will be made, and the VM's state, in one. */
static int write_row(struct store *store, void *opaque, struct error **err)
{
    struct boot *boot = opaque;
    CLEANUP_FREE char *json = NULL;

    return store_vm_touch(store, boot->vm->id, err) < 0 || boot_refuse_going(boot, err) < 0 ||
                   store_vm_spec(store, boot->vm->id, &json, err) < 0 ||
                   store_failover_create(store, &boot->result->failover, json, err) < 0 ||
                   store_vm_change_state(store, boot->vm->id, "ready_for_failover",
                                         "failed_over_test", err) < 0 ||
                   audit(boot, err) < 0
               ? -1
               : 0;
}

/* Returns the failover's lock. */
static int write_down(struct boot *boot, struct error **err)
{
    CLEANUP_CLOSE int vm_lock = failover_lock_vm(boot->state_dir, boot->vm, err);

    if (vm_lock < 0 || store_transaction(boot->store, write_row, boot, err) < 0)
        return -1;
    boot_place(boot);
    return failover_lock(boot->state_dir, boot->result->failover.id, err);
}

static const struct boot_step steps[] = {
    { FAILOVER_OVERLAYS, boot_make_overlays, false },
    { FAILOVER_CONVERTING, boot_convert, true },
    { FAILOVER_STORAGE, boot_check_storage, false },
    { FAILOVER_NETWORK, boot_make_network, false },
    { FAILOVER_DOMAIN, boot_start_domain, false },
};

static const struct boot_kind kind = {
    .name = "test",
    .title = "test of",
    .steps = steps,
    .step_count = sizeof steps / sizeof steps[0],
};

static const char *state_of(const struct failover_result *result)
{
    return result->passed            ? FAILOVER_BOOTED
           : result->evidence.booted ? FAILOVER_CHECK_FAILED
                                     : FAILOVER_NOT_BOOTED;
}

int failover_test(struct store *store, const char *state_dir, const struct store_vm *vm,
                  const struct failover_options *options, struct failover_result *result,
                  struct error **err)
{
    CLEANUP_BOOT struct boot boot = { .kind = &kind,
                                      .store = store,
                                      .state_dir = state_dir,
                                      .vm = vm,
                                      .options = options,
                                      .result = result };
    CLEANUP_CLOSE int lock = -1;

    *result = (struct failover_result){ 0 };
    if (boot_prepare(&boot, err) < 0)
        return -1;
    lock = write_down(&boot, err);
    if (lock < 0)
        return -1;
    if (boot.plan.hardware.tpm)
        say_line(
            boot.options->say,
            "%s has a TPM: the test gets a new, empty one; the secrets in the source's do not move "
            "(BitLocker asks for its recovery key)",
            vm->name);
    if (boot_run(&boot, err) < 0) {
        boot_take_back(&boot, *err);
        return -1;
    }
    if (boot_watch(&boot, err) < 0) {
        boot_take_back(&boot, *err);
        return -1;
    }
    if (options->keep_s)
        result->failover.keep_until_ms = store_now_ms() + (int64_t)options->keep_s * 1000;
    if (boot_keep_evidence(&boot, err) < 0 || boot_set_state(&boot, state_of(result), err) < 0)
        return -1;
    return options->roll_back ? failover_undo(store, state_dir, &result->failover, err) : 0;
}

int failover_print_xml(struct store *store, const char *state_dir, const struct store_vm *vm,
                       const struct failover_options *options, char **xml, struct error **err)
{
    struct failover_result result = { 0 };
    CLEANUP_BOOT struct boot boot = { .kind = &kind,
                                      .store = store,
                                      .state_dir = state_dir,
                                      .vm = vm,
                                      .options = options,
                                      .result = &result };

    return boot_print_xml(&boot, xml, err);
}
