/* A nbd source with a hook; see hooked.h.
 *
 * The hook has one moment of a VM at a time, and a sync gives each of its own a name: the
 * record says which one the hook was asked for last. An earlier one ended when a later one began,
 * so that to end it is nothing; asking the hook would end somebody else's. */
#include "source/nbd/hooked.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "source/nbd/descriptions.h"
#include "source/nbd/hook.h"
#include "source/nbd/record.h"

#define SETTLE_TRIES 120 /* half a second each, until the power is as it was asked for */
#define SETTLE_NS    500000000L

struct hooked {
    struct source source;
    const struct source_settings *settings;
    struct nbd_options options;
    struct vm_spec moment; /* as the hook described it; uuid "": none */
    char name[SOURCE_SNAPSHOT];
};

static struct hooked *of(struct source *source)
{
    return (struct hooked *)source; /* its first member */
}

static void forget(struct hooked *h)
{
    spec_free(&h->moment);
    h->moment = (struct vm_spec){ 0 };
    h->name[0] = '\0';
}

static void close_hooked(struct source *source)
{
    forget(of(source));
    free(source);
}

static int list(struct source *source, const struct source_filter *filter, struct spec_list *specs,
                struct error **err)
{
    return descriptions_list(source->settings->location, filter, specs, err);
}

static int find(struct source *source, const char *uuid, struct vm_spec *spec, struct error **err)
{
    return descriptions_find(source->settings->location, uuid, spec, NULL, err);
}

static int check_command(const struct hooked *h, struct error **err)
{
    return access(h->options.hook, X_OK) < 0
               ? error_set_errno(err, errno, "hook %s", h->options.hook)
               : 0;
}

static int check(struct source *source, char about[SOURCE_ABOUT], struct error **err)
{
    CLEANUP_SPECS struct spec_list specs = { 0 };
    struct hooked *h = of(source);

    if (list(source, NULL, &specs, err) < 0 || check_command(h, err) < 0)
        return -1;
    snprintf(about, SOURCE_ABOUT, "%zu VM%s at %.220s, hook %.220s", specs.count,
             specs.count == 1 ? "" : "s", h->settings->location, h->options.hook);
    return 0;
}

static int preflight(struct source *source, const struct vm_spec *spec, struct findings *findings,
                     struct error **err)
{
    CLEANUP_ERROR struct error *missing = NULL;
    struct hooked *h = of(source);
    bool there = check_command(h, &missing) == 0;

    (void)spec;
    return findings_add(findings, there ? FINDING_OK : FINDING_BLOCKER, "hook",
                        there ? NULL : "see that it is there and executable", "%s",
                        there ? h->options.hook : error_message(missing)) < 0
               ? error_set_errno(err, ENOMEM, "preflight")
               : 0;
}

/* What is tracked, and since when, is the hook's. */
static int enable_tracking(struct source *source, const struct vm_spec *spec, const char *snapshot,
                           struct error **err)
{
    (void)source, (void)spec, (void)snapshot, (void)err;
    return 0;
}

/* ---- the hook ---- */

/* A VM whose description is gone, or broken, still has a moment to end and a power state. */
static int call(struct hooked *h, const struct hook_call *wanted, char **out, struct error **err)
{
    struct hook_call whole = *wanted;
    CLEANUP_SPEC struct vm_spec spec = { 0 };
    CLEANUP_ERROR struct error *ignored = NULL;
    char path[PATH_MAX];
    bool known = descriptions_find(h->settings->location, wanted->uuid, &spec, path, &ignored) == 0;

    whole.vm_name = known ? spec.name : wanted->uuid;
    whole.file = known ? path : h->settings->location;
    return hook_run(&h->options, h->settings, &whole, out, err);
}

/* ---- a moment ---- */

static void take_disk(struct spec_disk *disk, const struct spec_disk *now)
{
    *disk = *now;
    /* Told when asked: changes(). */
    disk->since[0] = disk->changes[0] = '\0';
    disk->changes_is_file = false;
}

static int take_moment(struct hooked *h, struct vm_spec *spec, struct error **err)
{
    const struct vm_spec *now = &h->moment;
    bool same = now->disk_count == spec->disk_count;

    for (size_t i = 0; same && i < spec->disk_count; i++) {
        const struct spec_disk *disk = spec_disk_by_key(now, spec->disks[i].key);

        same = disk && strcmp(disk->backing_uuid, spec->disks[i].backing_uuid) == 0 &&
               disk->unit == spec->disks[i].unit && disk->capacity >= spec->disks[i].capacity;
    }
    if (!same)
        return error_set(err,
                         "the disks of VM %s are not those that its description had before: look "
                         "at it, and start again",
                         spec->name);
    for (size_t i = 0; i < spec->disk_count; i++)
        take_disk(&spec->disks[i], spec_disk_by_key(now, spec->disks[i].key));
    return 0;
}

static int load_moment(struct hooked *h, const char *uuid, const char *name, struct error **err)
{
    forget(h);
    if (descriptions_find(h->settings->location, uuid, &h->moment, NULL, err) < 0)
        return -1;
    snprintf(h->name, sizeof h->name, "%s", name);
    return 0;
}

static int freeze(struct source *source, const struct freeze_wishes *wishes, struct vm_spec *spec,
                  struct error **err)
{
    struct hooked *h = of(source);
    struct hook_call begin = { .verb = "begin",
                               .uuid = spec->uuid,
                               .moment = wishes->snapshot,
                               .change_ids = wishes->change_ids,
                               .cancel = h->settings->cancel };

    if (record_write(h->settings->state_dir, spec->uuid, wishes->snapshot, err) < 0 ||
        call(h, &begin, NULL, err) < 0 || load_moment(h, spec->uuid, wishes->snapshot, err) < 0)
        return -1;
    return take_moment(h, spec, err);
}

/* Somebody answers at the place of a unix socket; "no" when it can't be told at once. */
static bool answers(const char *uri)
{
    const char *path = strstr(uri, "?socket=");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    CLEANUP_CLOSE int fd = -1;

    if (strncmp(uri, "nbd+unix:", 9) != 0 || !path || strpbrk(path, "%&") ||
        strlen(path + 8) >= sizeof address.sun_path)
        return false;
    strcpy(address.sun_path, path + 8);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

static bool is_readable(const struct vm_spec *spec)
{
    for (size_t i = 0; i < spec->disk_count; i++) {
        const struct spec_disk *disk = &spec->disks[i];

        if (disk->is_file ? access(disk->place, R_OK) < 0 : !answers(disk->place))
            return false;
    }
    return true;
}

static int refreeze(struct source *source, const char *snapshot, struct vm_spec *spec, bool *stands,
                    struct error **err)
{
    struct hooked *h = of(source);
    char recorded[SOURCE_SNAPSHOT];

    *stands = false;
    if (record_read(h->settings->state_dir, spec->uuid, recorded, err) < 0 ||
        load_moment(h, spec->uuid, snapshot, err) < 0)
        return -1;
    if (strcmp(recorded, snapshot) != 0 || !is_readable(&h->moment)) {
        forget(h);
        return 0;
    }
    *stands = true;
    return take_moment(h, spec, err);
}

static int changes(struct source *source, struct vm_spec *spec, struct spec_disk *disk,
                   const char *since, const char *path, char why[512], struct error **err)
{
    const struct spec_disk *now = spec_disk_by_key(&of(source)->moment, disk->key);

    (void)spec, (void)path;
    why[0] = '\0';
    if (!now)
        return error_set(err, "the moment does not hold this disk");
    if (strcmp(since, now->since) == 0) {
        memcpy(disk->since, now->since, sizeof disk->since);
        memcpy(disk->changes, now->changes, sizeof disk->changes);
        disk->changes_is_file = now->changes_is_file;
        return 0;
    }
    if (strcmp(since, "*") == 0) /* no more than a hint */
        return 1;
    if (now->since[0])
        snprintf(why, 512, "its change map starts at %s", now->since);
    else
        snprintf(why, 512, "it offers no change map");
    return 1;
}

static int serve(struct source *source, const struct vm_spec *spec, struct spec_disk *disk,
                 struct error **err)
{
    const struct spec_disk *now = spec_disk_by_key(&of(source)->moment, disk->key);

    (void)spec;
    if (!now)
        return error_set(err, "the moment does not hold this disk");
    memcpy(disk->place, now->place, sizeof disk->place);
    disk->is_file = now->is_file;
    return 0;
}

static bool same_moment(const struct vm_spec *a, const struct vm_spec *b)
{
    for (size_t i = 0; i < a->disk_count; i++) {
        const struct spec_disk *disk = spec_disk_by_key(b, a->disks[i].key);

        if (!disk || strcmp(disk->change_id, a->disks[i].change_id) != 0)
            return false;
    }
    return true;
}

/* Whoever asked the hook for another moment has another description. */
static int still(struct source *source, const char *snapshot, struct error **err)
{
    CLEANUP_SPEC struct vm_spec now = { 0 };
    struct hooked *h = of(source);
    char recorded[SOURCE_SNAPSHOT];

    if (record_read(h->settings->state_dir, h->moment.uuid, recorded, err) < 0 ||
        descriptions_find(h->settings->location, h->moment.uuid, &now, NULL, err) < 0)
        return -1;
    if (strcmp(recorded, snapshot) == 0 && same_moment(&h->moment, &now))
        return 0;
    error_set(err, "somebody began another moment of VM %s while its disks were being read",
              h->moment.name);
    (*err)->errnum = ESTALE;
    return -1;
}

static int thaw(struct source *source, const char *uuid, const char *snapshot, struct error **err)
{
    struct hooked *h = of(source);
    struct hook_call end = { .verb = "end", .uuid = uuid, .moment = snapshot };
    char recorded[SOURCE_SNAPSHOT];

    if (record_read(h->settings->state_dir, uuid, recorded, err) < 0)
        return -1;
    if (recorded[0] && strcmp(recorded, snapshot) != 0)
        return 0;
    if (strcmp(h->name, snapshot) == 0)
        forget(h);
    return call(h, &end, NULL, err) < 0 ? -1 : record_remove(h->settings->state_dir, uuid, err);
}

/* ---- power ---- */

static int power(struct source *source, const char *uuid, enum power *now, struct error **err)
{
    static const char *const words[] = {
        [POWER_OFF] = "off", [POWER_ON] = "on", [POWER_SUSPENDED] = "suspended"
    };
    struct hooked *h = of(source);
    struct hook_call state = { .verb = "state", .uuid = uuid };
    CLEANUP_FREE char *said = NULL;

    if (call(h, &state, &said, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(said, words[i]) == 0) {
            *now = (enum power)i;
            return 0;
        }
    }
    return error_set(err, "hook %s, state of VM %s: it said '%.80s', not on, off or suspended",
                     h->options.hook, uuid, said);
}

static int shut_down(struct source *source, const char *uuid, struct error **err)
{
    struct hook_call shutdown = { .verb = "shutdown", .uuid = uuid };
    struct hooked *h = of(source);
    enum power now;

    if (power(source, uuid, &now, err) < 0)
        return -1;
    shutdown.cancel = h->settings->cancel;
    return now == POWER_OFF ? 0 : call(h, &shutdown, NULL, err);
}

static bool is_cancelled(const atomic_int *cancel)
{
    return cancel && atomic_load(cancel);
}

/* The hook says that it is done; believed when its `state` says so, too. */
static int settle(struct source *source, const char *uuid, enum power wanted,
                  const atomic_int *cancel, const char *verb, struct error **err)
{
    const struct timespec pause = { .tv_nsec = SETTLE_NS };
    enum power now;

    for (int tries = 0; tries < SETTLE_TRIES; tries++) {
        if (power(source, uuid, &now, err) < 0)
            return -1;
        if (now == wanted)
            return 0;
        if (is_cancelled(cancel))
            return error_set_kind(err, ERROR_PAUSED, "%s: stopped on request", verb);
        nanosleep(&pause, NULL);
    }
    return error_set(err, "hook %s, %s: it says that it is done, and its state is another one",
                     of(source)->options.hook, verb);
}

static int switch_power(struct source *source, const char *uuid, enum power wanted,
                        const char *verb, const atomic_int *cancel, struct error **err)
{
    struct hook_call wish = { .verb = verb, .uuid = uuid, .cancel = cancel };
    enum power now;

    if (power(source, uuid, &now, err) < 0)
        return -1;
    if (now == wanted)
        return 0;
    return call(of(source), &wish, NULL, err) < 0 ? -1
                                                  : settle(source, uuid, wanted, cancel, verb, err);
}

static int power_off(struct source *source, const char *uuid, struct error **err)
{
    return switch_power(source, uuid, POWER_OFF, "power-off", of(source)->settings->cancel, err);
}

static int power_on(struct source *source, const char *uuid, struct error **err)
{
    return switch_power(source, uuid, POWER_ON, "power-on", NULL, err);
}

static int retire(struct source *source, const char *uuid, const char *name, const char *note,
                  struct error **err)
{
    struct hook_call retire = { .verb = "retire", .uuid = uuid, .more = { name, note } };

    return call(of(source), &retire, NULL, err);
}

static const struct source_kind hooked_kind = {
    .name = "nbd",
    .close = close_hooked,
    .list = list,
    .find = find,
    .check = check,
    .preflight = preflight,
    .enable_tracking = enable_tracking,
    .freeze = freeze,
    .refreeze = refreeze,
    .changes = changes,
    .serve = serve,
    .still = still,
    .thaw = thaw,
    .power = power,
    .shut_down = shut_down,
    .power_off = power_off,
    .power_on = power_on,
    .retire = retire,
};

int hooked_open(const struct source_settings *settings, const struct nbd_options *options,
                struct source **source, struct error **err)
{
    struct hooked *h = calloc(1, sizeof *h);

    if (!h)
        return error_set_errno(err, ENOMEM, "opening %s", settings->location);
    h->source.kind = &hooked_kind;
    h->settings = settings;
    h->options = *options;
    *source = &h->source;
    return 0;
}
