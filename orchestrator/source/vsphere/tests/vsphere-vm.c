/* Drives what a vSphere source does with VMs, for the tests, against any server:
 *
 *     vsphere-vm SERVER FINGERPRINT USER COMMAND [ARGUMENT…]
 *
 *     list [NAME [FOLDER]]                 a JSON description a line
 *     resolve VM                           UUID ID
 *     show VM                              its description
 *     snapshots VM                         ID NAME
 *     freeze VM NAME auto|yes|no           ID yes|no, then the description with change ids
 *     thaw VM NAME
 *     changes VM NAME KEY SINCE FILE       "map AREAS BYTES PAGES" or "unknown WHY"
 *     track VM NAME                        turns change tracking on
 *     preflight VM any|library|files       LEVEL|CHECK|TEXT|REMEDY, one finding a line
 *     power VM                             on|off|suspended
 *     shutdown VM, off VM, on VM           "ENOTSUP: …" on stderr when nobody can be asked
 *     retire VM NAME NOTE
 *
 * With VMFERRY_TEST_CANCEL all calls after the lookup are cancelled.
 * The password comes from $VMFERRY_TEST_PASSWORD. What is said goes to stdout as "say: …". */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "changemap.h"
#include "source/vsphere/changes.h"
#include "source/vsphere/inventory.h"
#include "source/vsphere/power.h"
#include "source/vsphere/preflight.h"
#include "source/vsphere/snapshot.h"

static void say(void *opaque, const char *text)
{
    (void)opaque;
    printf("say: %s\n", text);
}

static atomic_int cancel;

static const struct source_settings settings = { .say = say };

static int print_spec(const struct vm_spec *spec, struct error **err)
{
    CLEANUP_FREE char *json = spec_to_json(spec);

    if (!json)
        return error_set_errno(err, ENOMEM, "%s", spec->name);
    printf("%s\n", json);
    return 0;
}

static int list(struct session *session, char **args, struct error **err)
{
    CLEANUP_SPECS struct spec_list specs = { 0 };
    struct source_filter filter = { .name = args[0] && args[0][0] ? args[0] : NULL,
                                    .folder = args[0] ? args[1] : NULL };

    if (inventory_list(session, &filter, &specs, err) < 0)
        return -1;
    for (size_t i = 0; i < specs.count; i++) {
        if (print_spec(&specs.specs[i], err) < 0)
            return -1;
    }
    return 0;
}

/* The VM that is meant, in full. */
static int find(struct session *session, const char *reference, struct vsphere_vm *vm,
                struct error **err)
{
    struct moref ref, same;
    char uuid[SPEC_UUID];

    if (inventory_resolve(session, reference, &ref, uuid, err) < 0 ||
        inventory_find(session, uuid, &same, err) < 0)
        return -1;
    if (strcmp(ref.id, same.id) != 0)
        return error_set(err, "%s is %s, but its uuid belongs to %s", reference, ref.id, same.id);
    return inventory_vm(session, &ref, vm, err);
}

static int print_snapshots(const struct snapshot_vm *vm, struct error **err)
{
    CLEANUP_SNAPSHOTS struct snapshots snapshots = { 0 };

    if (snapshots_list(vm, &snapshots, err) < 0)
        return -1;
    for (size_t i = 0; i < snapshots.count; i++)
        printf("%s %s\n", snapshots.list[i].ref.id, snapshots.list[i].name);
    return 0;
}

static int freeze(const struct snapshot_vm *vm, struct vm_spec *spec, char **args,
                  struct error **err)
{
    CLEANUP_DEVICES struct vsphere_devices devices = { 0 };
    struct freeze_wishes wishes = { .snapshot = args[0],
                                    .description = "a <test> & more",
                                    .quiesce = strcmp(args[1], "auto") == 0  ? QUIESCE_AUTO
                                               : strcmp(args[1], "yes") == 0 ? QUIESCE_YES
                                                                             : QUIESCE_NO };
    struct moref snapshot;
    bool quiesced;

    if (snapshot_create(vm, &wishes, &snapshot, &quiesced, err) < 0)
        return -1;
    printf("%s %s\n", snapshot.id, quiesced ? "yes" : "no");
    return snapshot_devices(vm->session, &snapshot, &devices, err) < 0 ||
                   snapshot_change_ids(&devices, spec, err) < 0
               ? -1
               : print_spec(spec, err);
}

/* The map is one that the cbt filter and the copy engine take. */
static int check_map(const char *path, uint64_t capacity, const struct changes_result *result,
                     struct error **err)
{
    CLEANUP_CHANGEMAP struct changemap map = CHANGEMAP_INIT;

    if (changemap_load(path, &map, err) < 0 || changemap_check_size(&map, capacity, err) < 0)
        return -1;
    return changemap_bytes(&map) == result->bytes ? 0 : error_set(err, "%s: wrong sum", path);
}

static int changes(const struct snapshot_vm *vm, char **args, struct error **err)
{
    CLEANUP_DEVICES struct vsphere_devices devices = { 0 };
    struct changes_query query = { .vm = vm->ref, .vm_name = vm->name, .since = args[2] };
    struct changes_result result;
    const struct vsphere_disk *disk;
    char why[CHANGES_WHY];
    int r;

    query.key = atoi(args[1]);
    if (snapshot_find(vm, args[0], &query.snapshot, err) < 0 ||
        snapshot_devices(vm->session, &query.snapshot, &devices, err) < 0)
        return -1;
    disk = devices_disk(&devices, query.key);
    if (!disk)
        return error_set(err, "no disk %d", query.key);
    query.capacity = disk->capacity;
    query.now = disk->change_id;
    r = changes_fetch(vm->session, &query, args[3], &result, why, err);
    if (r == 0 && check_map(args[3], query.capacity, &result, err) < 0)
        return -1;
    if (r == 0)
        printf("map %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", result.areas, result.bytes,
               result.pages);
    if (r == 1)
        printf("unknown %s\n", why);
    return r < 0 ? -1 : 0;
}

static int preflight(const struct snapshot_vm *vm, const char *reader, struct error **err)
{
    static const char *const levels[] = { "ok", "warning", "blocker" };
    CLEANUP_FINDINGS struct findings findings = { 0 };

    if (preflight_vm(vm->session, &vm->ref,
                     strcmp(reader, "library") == 0 ? READER_LIBRARY
                     : strcmp(reader, "files") == 0 ? READER_FILES
                                                    : READER_ANY,
                     &findings, err) < 0)
        return -1;
    for (size_t i = 0; i < findings.count; i++)
        printf("%s|%s|%s|%s\n", levels[findings.list[i].level], findings.list[i].check,
               findings.list[i].text, findings.list[i].remedy);
    return 0;
}

static int print_power(const struct snapshot_vm *vm, struct error **err)
{
    static const char *const words[] = { "off", "on", "suspended" };
    enum power power;

    if (power_read(vm, &power, err) < 0)
        return -1;
    printf("%s\n", words[power]);
    return 0;
}

static int run_power(const struct snapshot_vm *vm, char **args, int count, struct error **err)
{
    if (getenv("VMFERRY_TEST_CANCEL"))
        atomic_store(&cancel, 1);
    if (strcmp(args[0], "power") == 0 && count == 2)
        return print_power(vm, err);
    if (strcmp(args[0], "shutdown") == 0 && count == 2)
        return power_shut_down(vm, err) == 0 ? 0
               : (*err)->errnum == ENOTSUP   ? error_prefix(err, "ENOTSUP")
                                             : -1;
    if (strcmp(args[0], "off") == 0 && count == 2)
        return power_off(vm, err);
    if (strcmp(args[0], "on") == 0 && count == 2)
        return power_on(vm, err);
    if (strcmp(args[0], "retire") == 0 && count == 4)
        return power_retire(vm, args[2], args[3], err);
    return error_set_kind(err, ERROR_USAGE, "%s: no such command", args[0]);
}

static int run_on_vm(struct session *session, char **args, int count, struct error **err)
{
    CLEANUP_VM struct vsphere_vm found = { 0 };
    struct snapshot_vm vm = { .session = session, .settings = &settings };

    if (find(session, args[1], &found, err) < 0)
        return -1;
    vm.ref = found.ref;
    vm.name = found.spec.name;
    if (strcmp(args[0], "resolve") == 0 && count == 2) {
        printf("%s %s\n", found.spec.uuid, found.ref.id);
        return 0;
    }
    if (strcmp(args[0], "show") == 0 && count == 2)
        return print_spec(&found.spec, err);
    if (strcmp(args[0], "snapshots") == 0 && count == 2)
        return print_snapshots(&vm, err);
    if (strcmp(args[0], "freeze") == 0 && count == 4)
        return freeze(&vm, &found.spec, args + 2, err);
    if (strcmp(args[0], "thaw") == 0 && count == 3)
        return snapshot_remove(&vm, args[2], err);
    if (strcmp(args[0], "changes") == 0 && count == 6)
        return changes(&vm, args + 2, err);
    if (strcmp(args[0], "preflight") == 0 && count == 3)
        return preflight(&vm, args[2], err);
    if (strcmp(args[0], "track") == 0 && count == 3)
        return snapshot_enable_tracking(&vm, args[2], err);
    return run_power(&vm, args, count, err);
}

int main(int argc, char *argv[])
{
    CLEANUP_ERROR struct error *err = NULL;
    const char *password = getenv("VMFERRY_TEST_PASSWORD");
    struct soap_settings soap = { 0 };
    struct credentials credentials = { 0 };
    struct session session;
    int r;

    if (argc < 5) {
        fprintf(stderr, "usage: see %s\n", __FILE__);
        return ERROR_USAGE;
    }
    soap.server = argv[1];
    soap.fingerprint = argv[2];
    soap.cancel = &cancel;
    snprintf(credentials.user, sizeof credentials.user, "%s", argv[3]);
    snprintf(credentials.password, sizeof credentials.password, "%s", password ? password : "");
    r = session_open(&soap, &credentials, &session, &err);
    if (r == 0) {
        session.task_busy_s = 5;
        r = strcmp(argv[4], "list") == 0 ? list(&session, argv + 5, &err)
            : argc > 5                   ? run_on_vm(&session, argv + 4, argc - 4, &err)
                                         : error_set_kind(&err, ERROR_USAGE, "which VM?");
        session_close(&session);
    }
    if (r == 0)
        return 0;
    fprintf(stderr, "vsphere-vm: %s\n", error_message(err));
    return err ? (int)err->kind : 1;
}
