/* The export map beside jobs; see exports.h. */
#include "job/exports.h"

#include "job/claim.h"
#include "log/log.h"

struct holder {
    struct store *store;
    bool repair;
    struct claim *claim;
};

/* Nothing is written by a mere check: it only wants to know whether somebody works on the VM. */
static int look(struct store *store, const struct store_vm *vm, struct error **err)
{
    struct store_job job;
    int64_t now;
    bool found;

    if (store_clock_ms(store, &now, err) < 0 ||
        store_job_open(store, vm->id, &found, &job, err) < 0)
        return -1;
    return found && claim_is_alive(&job, now) ? claim_refuse_busy(store, &job, err) : 0;
}

static int hold(void *opaque, const struct store_vm *vm, struct error **err)
{
    struct holder *holder = opaque;

    return holder->repair ? claim_hold(holder->store, vm, "exports", NULL, &holder->claim, err)
                          : look(holder->store, vm, err);
}

static void let_go(void *opaque)
{
    struct holder *holder = opaque;

    if (holder->claim)
        claim_forget(holder->claim, holder->store);
    claim_free(steal_ptr(holder->claim));
}

static int check(struct store *store, const char *state_dir, const struct store_vm *vm, bool repair,
                 bool read_devices, bool held, struct export_report *report, struct error **err)
{
    struct holder holder = { .store = store, .repair = repair };
    const struct export_check check = { .vm_id = vm ? vm->id : 0,
                                        .repair = repair,
                                        .read_devices = read_devices,
                                        .hold = held ? NULL : hold,
                                        .let_go = let_go,
                                        .opaque = &holder };

    return export_check(store, state_dir, &check, report, err);
}

int job_check_exports(struct store *store, const char *state_dir, const struct store_vm *vm,
                      bool repair, struct export_report *report, struct error **err)
{
    return check(store, state_dir, vm, repair, true, false, report, err);
}

void job_settle_exports(struct store *store, const char *state_dir, const struct store_vm *vm,
                        bool held)
{
    CLEANUP_EXPORT_REPORT struct export_report report = { 0 };
    CLEANUP_ERROR struct error *err = NULL;

    if (check(store, state_dir, vm, true, false, held, &report, &err) < 0)
        log_problem(LEVEL_WARNING, "export", err, "the exports are not checked");
    for (size_t i = 0; i < report.count; i++) {
        const struct export_finding *finding = &report.list[i];

        if (finding->done)
            log_notice("export", "%s: %s: %s", finding->name, finding->what, finding->done);
        else
            log_warning("export", "%s: %s: not repaired: %s", finding->name, finding->what,
                        finding->refused ? finding->refused
                                         : "`vmferry export repair` tries again");
    }
}
