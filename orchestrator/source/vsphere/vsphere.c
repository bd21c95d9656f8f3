/* The vsphere kind of source: vCenter, or one ESXi host; see source.h. What comes in: stored
 * options and a password. What goes out: what the layers below know, as a source says it. It
 * holds what one sync needs from its beginning to its end: the session, the VM, the snapshot
 * and the servers of its disks. */
#include <string.h>

#include "say.h"
#include "source/vsphere/changes.h"
#include "source/vsphere/inventory.h"
#include "source/vsphere/pending.h"
#include "source/vsphere/power.h"
#include "source/vsphere/preflight.h"
#include "source/vsphere/serve.h"
#include "source/vsphere/snapshot.h"

#define SERVE_TRIES    3
#define SERVE_PAUSE_MS 1000
#define HURRY_S        5 /* while its disks are being read, and when it did not answer before */

struct vsphere {
    struct source source;
    const struct source_settings *settings;
    struct vsphere_options options;
    struct session session;
    struct serving serving;
    struct vsphere_vm vm;           /* as find() saw it; ref.id "": none */
    char name[SPEC_TEXT];           /* its name, "" when there is none */
    struct moref snapshot;          /* id "": none */
    struct vsphere_devices devices; /* of the snapshot */
    bool silent;                    /* it did not answer when it was asked last */
};

static struct vsphere *of(struct source *source)
{
    return (struct vsphere *)source; /* its first member */
}

static void close_vsphere(struct source *source)
{
    struct vsphere *v = of(source);

    serving_stop(&v->serving);
    devices_free(&v->devices);
    vm_free(&v->vm);
    if (v->silent)
        soap_forget_cookie(v->session.soap); /* nobody is there to log out from */
    session_close(&v->session);
    free(v);
}

static int connect_session(struct vsphere *v, struct error **err)
{
    const struct source_settings *settings = v->settings;
    struct soap_settings soap = { .server = settings->location,
                                  .ca_file = v->options.ca_file,
                                  .fingerprint = v->options.fingerprint,
                                  .cancel = settings->cancel };
    struct credentials credentials = { 0 };
    int r;

    if (settings->transport && settings->transport[0] &&
        transport_parse(settings->transport, &v->options.transport.wanted, err) < 0)
        return -1;
    if (vsphere_credentials(&v->options, settings->location, &credentials, err) < 0)
        return -1;
    r = session_open(&soap, &credentials, &v->session, err);
    explicit_bzero(&credentials, sizeof credentials);
    return r;
}

static int open_vsphere(const struct source_settings *settings, struct source **source,
                        struct error **err)
{
    struct vsphere *v = calloc(1, sizeof *v);

    if (!v)
        return error_set_errno(err, ENOMEM, "%s", settings->location);
    v->settings = settings;
    if (vsphere_options_parse(settings->options, &v->options, err) < 0 ||
        connect_session(v, err) < 0) {
        free(v);
        return -1;
    }
    v->serving = (struct serving){ .session = &v->session,
                                   .options = &v->options,
                                   .location = settings->location,
                                   .state_dir = settings->state_dir };
    *source = &v->source;
    return 0;
}

static int check(struct source *source, char about[SOURCE_ABOUT], struct error **err)
{
    (void)err; /* that it is open says that it let us in */
    snprintf(about, SOURCE_ABOUT, "%s, API %s", of(source)->session.about,
             of(source)->session.api_version);
    return 0;
}

static int list(struct source *source, const struct source_filter *filter, struct spec_list *specs,
                struct error **err)
{
    return inventory_list(&of(source)->session, filter, specs, err);
}

static int resolve(struct source *source, const char *reference, char uuid[SPEC_UUID],
                   struct error **err)
{
    struct moref vm;

    return inventory_resolve(&of(source)->session, reference, &vm, uuid, err);
}

/* Everything of an earlier VM is forgotten. */
static void forget(struct vsphere *v)
{
    serving_stop(&v->serving);
    devices_free(&v->devices);
    vm_free(&v->vm);
    v->devices = (struct vsphere_devices){ 0 };
    v->vm = (struct vsphere_vm){ 0 };
    v->snapshot = (struct moref){ 0 };
    v->name[0] = '\0';
}

static int find(struct source *source, const char *uuid, struct vm_spec *spec, struct error **err)
{
    struct vsphere *v = of(source);
    struct moref vm;

    forget(v);
    if (inventory_find(&v->session, uuid, &vm, err) < 0 ||
        inventory_vm(&v->session, &vm, &v->vm, err) < 0)
        return -1;
    memcpy(v->name, v->vm.spec.name, sizeof v->name);
    *spec = v->vm.spec;
    v->vm.spec = (struct vm_spec){ 0 };
    return 0;
}

static struct snapshot_vm target(struct vsphere *v, const struct moref *vm, const char *name)
{
    return (struct snapshot_vm){
        .session = &v->session, .settings = v->settings, .ref = *vm, .name = name
    };
}

static int enable_tracking(struct source *source, const struct vm_spec *spec, const char *snapshot,
                           struct error **err)
{
    struct vsphere *v = of(source);
    struct snapshot_vm vm = target(v, &v->vm.ref, spec->name);

    if (strcmp(spec->inventory.tracking, "on") == 0)
        return 0;
    if (snapshot_enable_tracking(&vm, snapshot, err) < 0)
        return -1;
    say_with(v->settings, "change tracking is on");
    return 0;
}

/* What the snapshot holds, into the spec. */
static int read_moment(struct vsphere *v, struct vm_spec *spec, struct error **err)
{
    devices_free(&v->devices);
    v->devices = (struct vsphere_devices){ 0 };
    if (snapshot_devices(&v->session, &v->snapshot, &v->devices, err) < 0)
        return -1;
    return snapshot_change_ids(&v->devices, spec, err);
}

static int freeze(struct source *source, const struct freeze_wishes *wishes, struct vm_spec *spec,
                  struct error **err)
{
    struct vsphere *v = of(source);
    struct snapshot_vm vm = target(v, &v->vm.ref, spec->name);
    bool quiesced;

    if (snapshot_create(&vm, wishes, &v->snapshot, &quiesced, err) < 0)
        return -1;
    return read_moment(v, spec, err);
}

static int refreeze(struct source *source, const char *snapshot, struct vm_spec *spec, bool *stands,
                    struct error **err)
{
    struct vsphere *v = of(source);
    struct snapshot_vm vm = target(v, &v->vm.ref, spec->name);

    *stands = false;
    if (snapshot_find(&vm, snapshot, &v->snapshot, err) < 0)
        return -1;
    if (!v->snapshot.id[0])
        return 0;
    *stands = true;
    return read_moment(v, spec, err);
}

static int changes(struct source *source, struct vm_spec *spec, struct spec_disk *disk,
                   const char *since, const char *path, char why[512], struct error **err)
{
    struct vsphere *v = of(source);
    struct changes_query query = { .vm = v->vm.ref,
                                   .snapshot = v->snapshot,
                                   .vm_name = spec->name,
                                   .key = disk->key,
                                   .capacity = disk->capacity,
                                   .since = since,
                                   .now = disk->change_id };
    const struct vsphere_disk *frozen = devices_disk(&v->devices, disk->key);
    struct changes_result result;
    int r;

    /* Of a disk that had snapshots before, the server may leave out areas that are in use. */
    if (strcmp(since, "*") == 0 && (!frozen || frozen->parents > 0)) {
        snprintf(why, 512, "the disk had a snapshot before this one");
        return 1;
    }
    r = changes_fetch(&v->session, &query, path, &result, why, err);
    if (r != 0)
        return r;
    snprintf(disk->changes, sizeof disk->changes, "%s", path);
    snprintf(disk->since, sizeof disk->since, "%s", since);
    disk->changes_is_file = true;
    return 0;
}

static int nothing(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                   struct error **err)
{
    (void)opaque, (void)object, (void)name, (void)val, (void)err;
    return 0;
}

/* Something that only who is logged in may ask (unlike the time): if the server has forgotten
 * us, this logs in again. */
static int greet(struct vsphere *v, struct error **err)
{
    unsigned before = soap_hurry(v->session.soap, HURRY_S);
    int r = session_properties(&v->session, &v->session.root, "name", nothing, NULL, err);

    soap_hurry(v->session.soap, before);
    v->silent = r < 0 && !v->session.fault[0];
    return r;
}

static int keep(struct source *source, struct error **err)
{
    struct vsphere *v = of(source);

    return greet(v, err) < 0 ? -1 : serving_renew_cookie(&v->serving, err);
}

static void explain(struct source *source, const char *place, struct error **err)
{
    serving_explain(&of(source)->serving, place, err);
}

/* The servers read with the session's cookie, and sessions end when servers like; a server
 * that was too busy once is asked again, too. */
static int start_serving(struct vsphere *v, const struct serve_disk *wanted, char said[1024],
                         struct error **err)
{
    for (int tries = 1; serving_start(&v->serving, wanted, said, err) < 0; tries++) {
        CLEANUP_ERROR struct error *lost = NULL;

        if (tries == SERVE_TRIES || soap_pause(v->session.soap, SERVE_PAUSE_MS, &lost) < 0 ||
            keep(&v->source, &lost) < 0)
            return -1;
        error_clear(err);
    }
    return 0;
}

static int serve(struct source *source, const struct vm_spec *spec, struct spec_disk *disk,
                 struct error **err)
{
    struct vsphere *v = of(source);
    struct serve_disk wanted = { .spec = spec,
                                 .offered = disk,
                                 .frozen = devices_disk(&v->devices, disk->key),
                                 .vm = &v->vm.ref,
                                 .snapshot = &v->snapshot };
    char said[1024];

    if (!wanted.frozen)
        return error_set(err, "the snapshot does not hold this disk");
    if (start_serving(v, &wanted, said, err) < 0)
        return -1;
    if (said[0])
        say_with(v->settings, "disk-%d: %s", disk->key, said);
    return 0;
}

static int still(struct source *source, const char *snapshot, struct error **err)
{
    struct vsphere *v = of(source);
    struct snapshot_vm vm = target(v, &v->vm.ref, snapshot);
    struct moref now;

    if (snapshot_find(&vm, snapshot, &now, err) < 0)
        return -1;
    if (strcmp(now.id, v->snapshot.id) == 0)
        return 0;
    error_set(err, "somebody removed snapshot %s while its disks were being read", snapshot);
    (*err)->errnum = ESTALE;
    return -1;
}

static int remove_snapshot(struct vsphere *v, const char *uuid, const char *snapshot,
                           struct error **err)
{
    CLEANUP_ERROR struct error *gone = NULL;
    struct snapshot_vm vm;
    struct moref ref;

    if (inventory_find(&v->session, uuid, &ref, &gone) < 0)
        return gone->errnum == ENOENT ? 0 : error_move(err, &gone); /* with all its snapshots */
    vm = target(v, &ref, strcmp(ref.id, v->vm.ref.id) == 0 ? v->name : uuid);
    if (pending_snapshots_wait(&v->session, &ref, err) < 0)
        return -1;
    return snapshot_remove(&vm, snapshot, err);
}

static int thaw(struct source *source, const char *uuid, const char *snapshot, struct error **err)
{
    struct vsphere *v = of(source);
    bool ignoring = session_ignore_cancel(&v->session, true);
    int r;

    serving_stop(&v->serving);
    /* No long waiting for one that was not there a moment ago. */
    r = v->silent && greet(v, err) < 0 ? -1 : remove_snapshot(v, uuid, snapshot, err);
    session_ignore_cancel(&v->session, ignoring);
    return r;
}

/* Every disk can be read somehow. */
static int check_transport(struct vsphere *v, const struct vm_spec *spec, struct findings *findings)
{
    for (size_t i = 0; i < spec->disk_count; i++) {
        const struct vsphere_disk *disk = devices_disk(&v->vm.devices, spec->disks[i].key);
        char text[1024], check_name[48];
        bool possible = disk && serving_possible(&v->serving, spec, disk, text);

        snprintf(check_name, sizeof check_name, "disk-%d: transport", spec->disks[i].key);
        if (!disk)
            continue;
        if (findings_add(findings, possible ? FINDING_OK : FINDING_BLOCKER, check_name,
                         possible ? NULL
                                  : "remove the VM's snapshots, or give the source another "
                                    "--transport",
                         "%s", text) < 0)
            return -1;
    }
    return 0;
}

/* A dead job's snapshot may have been removed since find(), and its delta files with it. */
static int look_again(struct vsphere *v, struct error **err)
{
    struct vsphere_vm now = { 0 };

    if (inventory_vm(&v->session, &v->vm.ref, &now, err) < 0)
        return -1;
    vm_free(&v->vm);
    v->vm = now;
    return 0;
}

static enum preflight_reader reader_of(const struct vsphere *v)
{
    switch (v->options.transport.wanted) {
    case TRANSPORT_VDDK:
        return READER_LIBRARY;
    case TRANSPORT_HTTPS:
    case TRANSPORT_SSH:
        return READER_FILES;
    case TRANSPORT_AUTO:
        break;
    }
    return READER_ANY;
}

static int preflight(struct source *source, const struct vm_spec *spec, struct findings *findings,
                     struct error **err)
{
    struct vsphere *v = of(source);

    if (preflight_vm(&v->session, &v->vm.ref, reader_of(v), findings, err) < 0 ||
        look_again(v, err) < 0)
        return -1;
    if (check_transport(v, spec, findings) < 0)
        return error_set_errno(err, ENOMEM, "preflight");
    return 0;
}

/* Of this uuid, with or without find() before. */
static int look_up(struct vsphere *v, const char *uuid, struct moref *ref, struct snapshot_vm *vm,
                   struct error **err)
{
    if (inventory_find(&v->session, uuid, ref, err) < 0)
        return -1;
    *vm = target(v, ref, strcmp(ref->id, v->vm.ref.id) == 0 ? v->name : uuid);
    return 0;
}

static int power(struct source *source, const char *uuid, enum power *now, struct error **err)
{
    struct snapshot_vm vm;
    struct moref ref;

    return look_up(of(source), uuid, &ref, &vm, err) < 0 ? -1 : power_read(&vm, now, err);
}

static int shut_down(struct source *source, const char *uuid, struct error **err)
{
    struct snapshot_vm vm;
    struct moref ref;

    return look_up(of(source), uuid, &ref, &vm, err) < 0 ? -1 : power_shut_down(&vm, err);
}

static int turn_off(struct source *source, const char *uuid, struct error **err)
{
    struct snapshot_vm vm;
    struct moref ref;

    return look_up(of(source), uuid, &ref, &vm, err) < 0 ? -1 : power_off(&vm, err);
}

static int turn_on(struct source *source, const char *uuid, struct error **err)
{
    bool ignoring = session_ignore_cancel(&of(source)->session, true);
    struct snapshot_vm vm;
    struct moref ref;
    int r = look_up(of(source), uuid, &ref, &vm, err) < 0 ? -1 : power_on(&vm, err);

    session_ignore_cancel(&of(source)->session, ignoring);
    return r;
}

static int retire(struct source *source, const char *uuid, const char *name, const char *note,
                  struct error **err)
{
    struct snapshot_vm vm;
    struct moref ref;

    return look_up(of(source), uuid, &ref, &vm, err) < 0 ? -1 : power_retire(&vm, name, note, err);
}

const struct source_kind source_vsphere = {
    .name = "vsphere",
    .open = open_vsphere,
    .close = close_vsphere,
    .list = list,
    .find = find,
    .check = check,
    .resolve = resolve,
    .preflight = preflight,
    .enable_tracking = enable_tracking,
    .freeze = freeze,
    .refreeze = refreeze,
    .changes = changes,
    .serve = serve,
    .still = still,
    .keep = keep,
    .explain = explain,
    .thaw = thaw,
    .power = power,
    .shut_down = shut_down,
    .power_off = turn_off,
    .power_on = turn_on,
    .retire = retire,
};
