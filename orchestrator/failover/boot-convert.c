/* The step of a boot that makes a guest of another hypervisor ready for virtio, when it needs
 * that. It works on the overlays; the restore point is only read. See convert/convert.h. */
#include <stdio.h>
#include <string.h>

#include "convert/convert.h"
#include "failover/boot.h"
#include "failover/job.h"
#include "say.h"

static void pass_on(void *opaque, const char *line)
{
    const struct boot *boot = opaque;

    say_line(boot->options->say, "%s", line);
}

static int list_disks(const struct boot *boot, struct convert_disk **disks, struct error **err)
{
    *disks = calloc(boot->plan.point.count + 1, sizeof **disks);
    if (!*disks)
        return error_set_errno(err, ENOMEM, "converting %s", boot->vm->name);
    for (size_t i = 0; i < boot->plan.point.count; i++) {
        strcpy((*disks)[i].path, boot->plan.disks[i].overlay);
        strcpy((*disks)[i].format, "qcow2");
    }
    return 0;
}

/* "conversion" of the evidence. */
static void keep(struct boot *boot, const struct convert_result *result, const char *log)
{
    json_object *json = json_object_new_object();
    char seconds[32];

    snprintf(seconds, sizeof seconds, "%.1f", result->seconds);
    json_object_object_add(json, "engine", json_object_new_string(result->engine));
    json_object_object_add(json, "needed", json_object_new_boolean(result->needed));
    json_object_object_add(json, "why", json_object_new_string(result->why));
    json_object_object_add(json, "seconds", json_object_new_double_s(result->seconds, seconds));
    json_object_object_add(json, "log", result->needed ? json_object_new_string(log) : NULL);
    if (!boot->more)
        boot->more = json_object_new_object();
    json_object_object_add(boot->more, "conversion", json);
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

int boot_convert(struct boot *boot, struct error **err)
{
    const struct failover_options *options = boot->options;
    CLEANUP_FREE struct convert_disk *disks = NULL;
    char directory[PATH_MAX], log[PATH_MAX];
    struct convert_request request = {
        .disk_count = boot->plan.point.count,
        .name = boot->vm->name,
        .engine = options->conversion ? options->conversion : "auto",
        .bus = boot->plan.hardware.disk_bus,
        .uefi = boot->plan.hardware.uefi,
        .virt_type = boot->plan.virt_type,
        .virtio_win = or_empty(options->virtio_win),
        .virt_tools = or_empty(options->virt_tools),
        .directory = directory,
        .log = log,
        .cancel = options->cancel,
        .say = pass_on,
        .opaque = boot,
    };
    struct convert_result result;

    failover_directory(boot->state_dir, boot->result->failover.id, directory);
    failover_conversion_log(boot->state_dir, boot->result->failover.id, log);
    if (list_disks(boot, &disks, err) < 0)
        return -1;
    request.disks = disks;
    if (convert_run(&request, &result, err) < 0)
        return strcmp(request.engine, "none") == 0
                   ? -1
                   : error_append(err, "to boot it as it is: --conversion=none");
    if (result.needed)
        say_line(boot->options->say, "%s was converted by %s in %.1f s: %s", boot->vm->name,
                 result.engine, result.seconds, result.why);
    keep(boot, &result, log);
    return 0;
}
