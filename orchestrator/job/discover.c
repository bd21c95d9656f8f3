/* Discovery; see discover.h. */
#include "job/discover.h"

#include <string.h>

#include "store/limits.h"

static int check_source(struct store *store, int64_t source_id, const char *uuid,
                        struct error **err)
{
    CLEANUP_ERROR struct error *unknown = NULL;
    struct store_vm vm;

    if (store_vm_by_uuid(store, uuid, &vm, &unknown) < 0)
        return unknown->errnum == ENOENT ? 0 : error_move(err, &unknown);
    if (vm.source_id == source_id)
        return 0;
    error_set(err, "VM %s is already known as '%s' from source '%s'", uuid, vm.name, vm.source);
    (*err)->errnum = EEXIST;
    return -1;
}

/* Disks that are no longer offered. */
static int forget_disks(struct store *store, int64_t vm_id, const struct vm_spec *spec,
                        struct error **err)
{
    CLEANUP_FREE struct store_disk *stored = NULL;
    size_t count;

    if (store_disks(store, vm_id, &stored, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!spec_disk_by_key(spec, stored[i].key) &&
            store_disk_forget(store, stored[i].id, err) < 0)
            return -1;
    }
    return 0;
}

/* Only a VM without any point, finished or not, takes its disks from here. */
static int discover_disks(struct store *store, int64_t vm_id, const struct vm_spec *spec,
                          struct error **err)
{
    bool replicated;

    if (store_vm_has_points(store, vm_id, &replicated, err) < 0)
        return -1;
    if (replicated)
        return 0;
    if (forget_disks(store, vm_id, spec, err) < 0)
        return -1;
    for (size_t i = 0; i < spec->disk_count; i++) {
        const struct spec_disk *offered = &spec->disks[i];
        struct store_disk disk = { .vm_id = vm_id,
                                   .key = offered->key,
                                   .unit = offered->unit,
                                   .capacity = offered->capacity };

        if (!offered->capacity) /* an RDM whose LUN is away: preflight's business */
            continue;
        snprintf(disk.backing_uuid, sizeof disk.backing_uuid, "%s", offered->backing_uuid);
        if (store_disk_upsert(store, &disk, err) < 0)
            return -1;
    }
    return 0;
}

/* The machine that its data comes from: "esx1", the host of an NBD URI; "" for this one. */
static void host_of(const struct vm_spec *spec, char host[256])
{
    const char *from = spec->inventory.host, *end = strchr(from, ' ');
    const char *place = spec->disk_count ? spec->disks[0].place : "";

    if (!*from && (strncmp(place, "nbd://", 6) == 0 || strncmp(place, "nbds://", 7) == 0)) {
        from = strstr(place, "://") + 3;
        end = strpbrk(from, "/?#");
        for (const char *at = from; at && (at = strchr(at, '@')) && (!end || at < end);)
            from = ++at;  /* behind a user's name */
        if (*from == '[') /* [::1]:10809 */
            end = strchr(from, ']') ? strchr(from, ']') + 1 : end;
        else if (strchr(from, ':') && (!end || strchr(from, ':') < end))
            end = strchr(from, ':');
    }
    snprintf(host, 256, "%.*s", end ? (int)(end - from) : (int)strlen(from), from);
}

int job_discover(struct store *store, int64_t source_id, const struct vm_spec *spec,
                 struct store_vm *vm, struct error **err)
{
    CLEANUP_FREE char *json = spec_to_json(spec);
    struct store_vm row = { .source_id = source_id };
    char host[256];

    if (!json)
        return error_set_errno(err, ENOMEM, "%s", spec->name);
    if (check_source(store, source_id, spec->uuid, err) < 0)
        return -1;
    snprintf(row.uuid, sizeof row.uuid, "%s", spec->uuid);
    snprintf(row.name, sizeof row.name, "%s", spec->name);
    snprintf(row.path, sizeof row.path, "%s", spec->path);
    host_of(spec, host);
    if (store_vm_upsert(store, &row, json, err) < 0 ||
        store_vm_set_host(store, row.id, host, err) < 0 ||
        discover_disks(store, row.id, spec, err) < 0)
        return -1;
    return store_vm_by_uuid(store, row.uuid, vm, err);
}
