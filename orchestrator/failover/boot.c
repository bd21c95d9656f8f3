/* Booting a restore point, step by step; see boot.h. */
#include "failover/boot.h"

#include <stdio.h>
#include <string.h>

#include "failover/host.h"
#include "failover/job.h"
#include "failover/network.h"
#include "failover/overdue.h"
#include "failover/storage.h"
#include "process.h"
#include "progress.h"
#include "say.h"

#define QEMU_IMG_TIMEOUT_MS 60000
#define STEP_LATE_S         15 /* libvirt works, but nobody sees it */

void boot_free(struct boot *boot)
{
    failover_plan_free(&boot->plan);
    if (boot->expects)
        regfree(&boot->expect);
    cleanup_domain(&boot->domain);
    cleanup_connection(&boot->connection);
    pictures_free(&boot->pictures);
    json_object_put(boot->checks);
    json_object_put(boot->more);
}

int boot_compile(struct boot *boot, struct error **err)
{
    char reason[128];
    int code;

    if (!boot->options->expect)
        return 0;
    code = regcomp(&boot->expect, boot->options->expect, REG_EXTENDED | REG_NOSUB);
    if (code) {
        regerror(code, &boot->expect, reason, sizeof reason);
        return error_set_kind(err, ERROR_USAGE, "regular expression '%s': %s",
                              boot->options->expect, reason);
    }
    boot->expects = true;
    return 0;
}

/* A domain as planned. */
static struct domain_plan domain_of(const struct boot *boot)
{
    const struct store_failover *failover = &boot->result->failover;

    return (struct domain_plan){
        .hardware = &boot->plan.hardware,
        .uuid = failover->domain_uuid,
        .name = failover->domain_name,
        .title = boot->title,
        .virt_type = boot->plan.virt_type,
        .console = boot->result->console,
        .disks = boot->plan.disks,
        .disk_count = boot->plan.point.count,
        .nics = boot->plan.nics,
        .nic_count = boot->plan.nic_count,
        .persistent = boot->kind->persistent,
        .by_path = boot->by_path,
        .uid = geteuid(),
        .gid = getegid(),
        .override = boot->options->override,
    };
}

static int check_network(const struct boot *boot, struct error **err)
{
    for (size_t i = 0; i < boot->plan.nic_count; i++) {
        const struct domain_nic *nic = &boot->plan.nics[i];

        if (!nic->isolated && !nic->bridge &&
            network_check(boot->connection, nic->network, err) < 0)
            return -1;
    }
    return 0;
}

static int make_plan(struct boot *boot, struct error **err)
{
    if (failover_plan_make(boot->store, boot->state_dir, boot->vm, boot->options, &boot->plan,
                           err) < 0)
        return -1;
    boot->result->virt_type = boot->plan.virt_type;
    boot->result->point = boot->plan.point.number;
    boot->result->kept = boot->plan.kept;
    snprintf(boot->title, sizeof boot->title, "%s %s, point %u", boot->kind->title, boot->vm->name,
             boot->plan.point.number);
    return 0;
}

int boot_plan_again(struct boot *boot, struct error **err)
{
    struct store_failover *failover = &boot->result->failover;

    failover_plan_free(&boot->plan);
    if (make_plan(boot, err) < 0)
        return -1;
    failover->point_id = boot->plan.point.id;
    failover->point = boot->plan.point.number;
    boot_place(boot);
    return 0;
}

static int plan(struct boot *boot, struct error **err)
{
    if (make_plan(boot, err) < 0)
        return -1;
    failover_plan_name(&boot->plan, boot->options, boot->vm, boot->kind->name,
                       &boot->result->failover);
    failover_plan_place(&boot->plan, boot->state_dir, &boot->result->failover);
    failover_console(boot->state_dir, 0, boot->result->console);
    return 0;
}

static int check_host(const struct boot *boot, const struct domain_plan *domain, struct error **err)
{
    char directory[PATH_MAX];

    if (!boot->remote)
        return domain_check(domain, err);
    failover_root(boot->state_dir, directory);
    if (host_check(boot->connection, domain, err) < 0)
        return -1;
    return storage_preview(boot->connection, domain, directory, err) < 0
               ? error_prefix(err, FAILOVER_STORAGE)
               : 0;
}

int boot_prepare(struct boot *boot, struct error **err)
{
    CLEANUP_FREE char *xml = NULL;
    struct domain_plan domain;

    boot->began_ns = progress_now_ns();
    if (boot_compile(boot, err) < 0 || plan(boot, err) < 0 ||
        libvirt_connect(boot->options->uri, &boot->connection, err) < 0)
        return -1;
    boot->remote = libvirt_is_remote(boot->connection);
    boot->by_path = boot->remote || boot->kind->persistent;
    if (check_network(boot, err) < 0)
        return -1;
    domain = domain_of(boot);
    return hardware_check(domain.hardware, err) < 0 || check_host(boot, &domain, err) < 0
               ? -1
               : domain_xml(&domain, &xml, err);
}

void boot_place(struct boot *boot)
{
    const struct store_failover *failover = &boot->result->failover;

    failover_console(boot->state_dir, failover->id, boot->result->console);
    failover_plan_place(&boot->plan, boot->state_dir, failover);
}

int boot_print_xml(struct boot *boot, char **xml, struct error **err)
{
    struct domain_plan domain;

    if (plan(boot, err) < 0)
        return -1;
    domain = domain_of(boot);
    return domain_xml(&domain, xml, err);
}

int boot_refuse_going(const struct boot *boot, struct error **err)
{
    CLEANUP_FREE struct store_point *going = NULL;
    struct store_point point;
    size_t count;

    if (store_points_going(boot->store, boot->vm->id, &going, &count, err) < 0 ||
        store_point_find(boot->store, boot->vm->id, boot->plan.point.number, &point, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (going[i].number < boot->plan.point.number)
            return error_set(err,
                             "restore point %u of %s is just being deleted, and point %u stands on "
                             "it: wait for that, or run `vmferry recover %s` if its process died",
                             going[i].number, boot->vm->name, boot->plan.point.number,
                             boot->vm->name);
    }
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

int boot_make_overlays(struct boot *boot, struct error **err)
{
    const struct failover_plan *plan = &boot->plan;

    if (failover_plan_reload(boot->store, boot->state_dir, boot->vm->id, &boot->plan, err) < 0)
        return -1;
    for (size_t i = 0; i < plan->point.count; i++) {
        if (make_overlay(&plan->point.disks[i], plan->disks[i].overlay, err) < 0)
            return error_prefix(err, "disk-%d", plan->disks[i].key);
    }
    return 0;
}

/* Of another host, before it is told to open anything. */
int boot_check_storage(struct boot *boot, struct error **err)
{
    struct domain_plan domain = domain_of(boot);
    char directory[PATH_MAX];

    failover_root(boot->state_dir, directory);
    return boot->remote ? storage_check(boot->connection, &domain, directory, err) : 0;
}

int boot_make_network(struct boot *boot, struct error **err)
{
    const char *name = boot->result->failover.network;

    return *name ? network_start(boot->connection, name, boot->options->dhcp,
                                 boot->kind->persistent, err)
                 : 0;
}

int boot_start_domain(struct boot *boot, struct error **err)
{
    const struct failover_options *options = boot->options;
    struct domain_plan domain = domain_of(boot);

    if (options->before_start && options->before_start(options->opaque, err) < 0)
        return -1;
    return domain_start(boot->connection, &domain, &boot->domain, err);
}

int boot_set_state(struct boot *boot, const char *state, struct error **err)
{
    strcpy(boot->result->failover.state, state);
    return store_failover_update(boot->store, &boot->result->failover, err);
}

int boot_run(struct boot *boot, struct error **err)
{
    for (size_t i = 0; i < boot->kind->step_count; i++) {
        const struct boot_step *step = &boot->kind->steps[i];
        struct overdue late;
        int r;

        if (boot_set_state(boot, step->state, err) < 0)
            return -1;
        overdue_start(&late, STEP_LATE_S, step->tells ? NULL : boot->options->say,
                      "libvirt takes long to answer: waiting for it");
        r = step->run(boot, err);
        overdue_stop(&late);
        if (r < 0)
            return error_prefix(err, "%s", step->state);
    }
    return boot_set_state(boot, FAILOVER_BOOTING, err);
}

void boot_take_back(struct boot *boot, const struct error *why)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store_failover *failover = &boot->result->failover;

    snprintf(failover->error, sizeof failover->error, "%s", error_message(why));
    if (failover_undo(boot->store, boot->state_dir, failover, &err) < 0)
        say_line(boot->options->say,
                 "could not remove all of it, `vmferry failover rollback` will: %s",
                 error_message(err));
}
