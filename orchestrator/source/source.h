/* Where VMs come from. What comes in: a source as the operator added it. What goes out:
 * VM specs, and for a sync one moment of a VM: frozen, with its change ids, its change
 * maps, and every disk of it readable. A source never touches the store or a replica.
 *
 * One sync, in this order (job/replicate.c):
 *
 *     find        what the VM is now: identity and preflight are checked against it
 *     freeze      one snapshot of all disks; change ids come from it
 *     changes     per disk, what changed since the id that the replica has
 *     serve       per disk, something that the copy engine can read
 *     …copy, flush, verify, publish…
 *     thaw        stop serving, remove the snapshot
 *
 * A source whose description is a moment already (nbd without a hook) has no freeze: its specs
 * come with places, change ids and change maps filled in. One that has freeze has all that a
 * sync needs, and what its specs say of places before serve holds for no moment. */
#ifndef VMFERRY_SOURCE_H
#define VMFERRY_SOURCE_H

#include <stdatomic.h>

#include "source/spec.h"

#define SOURCE_SNAPSHOT 128
#define SOURCE_ABOUT    512

/* As it is stored. `options` is a JSON object of the kind's own, never with a secret. */
struct source_settings {
    const char *name;
    const char *kind;
    const char *location; /* nbd: a file or directory; vsphere: host[:port] */
    const char *options;  /* "" or NULL: none */
    const char *state_dir;
    const char *transport; /* of one's kind, instead of the stored one; NULL */
    atomic_int *cancel;    /* non-zero: give up soon, with ERROR_PAUSED; NULL: never */
    /* Something that the operator should know; NULL: nobody listens. */
    void (*say)(void *opaque, const char *text);
    /* A long task's progress in percent; NULL: nobody listens. */
    void (*task)(void *opaque, const char *what, unsigned percent);
    void *opaque;
};

struct spec_list {
    struct vm_spec *specs;
    size_t count;
};

void spec_list_free(struct spec_list *list);
#define CLEANUP_SPECS CLEANUP(spec_list_free)

/* Of an inventory; NULL: no such condition. */
struct source_filter {
    const char *folder; /* the inventory path starts with this folder: "/DC0/vm/web" */
    const char *name;   /* an fnmatch(3) pattern of the VM's name */
};

bool source_filter_fits(const struct source_filter *filter, const char *name, const char *path);

/* One finding of a preflight. */
enum finding_level { FINDING_OK, FINDING_WARNING, FINDING_BLOCKER };
struct finding {
    enum finding_level level;
    char check[48];   /* "cbt", "snapshots", "disk-2001: mode" … */
    char text[512];   /* what was found */
    char remedy[512]; /* how to mend it; "" when there is nothing to mend */
};
struct findings {
    struct finding *list;
    size_t count;
};
/* remedy may be NULL. -1 only without memory. */
int findings_add(struct findings *findings, enum finding_level level, const char *check,
                 const char *remedy, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void findings_free(struct findings *findings);
#define CLEANUP_FINDINGS CLEANUP(findings_free)

enum quiesce { QUIESCE_AUTO, QUIESCE_YES, QUIESCE_NO };

/* auto, yes, no; ERROR_USAGE for another word. */
int source_quiesce_parse(const char *text, enum quiesce *quiesce, struct error **err);

struct freeze_wishes {
    const char *snapshot; /* the name it gets; written down by the caller before */
    const char *description;
    enum quiesce quiesce;
    /* What the replica has, "2000 52 de/7\n2001 …\n": changes since another moment are of no use
     * to it. "" or NULL: nothing yet. */
    const char *change_ids;
};

enum power { POWER_OFF, POWER_ON, POWER_SUSPENDED };

struct source_kind;

/* An open one: a session. One thread at a time. The first member of each kind's own. */
struct source {
    const struct source_kind *kind;
    const struct source_settings *settings;
};

struct source_kind {
    const char *name;
    /* settings stays the caller's and valid until close; kind (unless open chose another of
     * this name) and settings are set by source_open(). */
    int (*open)(const struct source_settings *settings, struct source **source, struct error **err);
    void (*close)(struct source *source); /* thaws nothing; stops what it serves */

    /* Every VM that fits the filter (NULL: all); an error when the inventory can't be read. Of
     * a large inventory only what a list shows: disk_count may be 0. */
    int (*list)(struct source *source, const struct source_filter *filter, struct spec_list *list,
                struct error **err);
    /* One VM by its (instance) uuid, which must be there exactly once. */
    int (*find)(struct source *source, const char *uuid, struct vm_spec *spec, struct error **err);

    /* Whether it answers and lets us in, and what it is: "VMware vCenter Server 7.0.3 …". */
    int (*check)(struct source *source, char about[SOURCE_ABOUT], struct error **err);
    /* The uuid of the VM that an operator means: inventory path, name if unique, instance
     * uuid or the source's own id (moref). Ambiguity is an error that lists the choices; no
     * such VM is one with errnum ENOENT. */
    int (*resolve)(struct source *source, const char *reference, char uuid[SPEC_UUID],
                   struct error **err);
    /* Everything that can be known before a sync touches anything. Blockers are no error. */
    int (*preflight)(struct source *source, const struct vm_spec *spec, struct findings *findings,
                     struct error **err);
    /* Turn change tracking on, to a change id on every disk. `snapshot` is the name of the
     * snapshot that this needs; it is gone on success. */
    int (*enable_tracking)(struct source *source, const struct vm_spec *spec, const char *snapshot,
                           struct error **err);
    /* One snapshot over all disks. spec's disks get the change ids of that moment
     * (change_id; "" when tracking is off for one), and it is what changes and serve read. A disk
     * may turn out to have grown. */
    int (*freeze)(struct source *source, const struct freeze_wishes *wishes, struct vm_spec *spec,
                  struct error **err);
    /* As freeze, with the snapshot of this name that a dead process made. *stands: it is
     * there; else nothing was done. */
    int (*refreeze)(struct source *source, const char *snapshot, struct vm_spec *spec, bool *stands,
                    struct error **err);
    /* Write the ranges of disk that changed since `since` ("*": that are in use) to `path`,
     * in the change map's text form, and name it in disk->changes and disk->since.
     * 0: done. 1: it can't be told; `why` says it, and the whole disk has to be looked at.
     * -1: an error that a later run may not have. */
    int (*changes)(struct source *source, struct vm_spec *spec, struct spec_disk *disk,
                   const char *since, const char *path, char why[512], struct error **err);
    /* Fill disk->place. The server behind it belongs to the source and ends with it. */
    int (*serve)(struct source *source, const struct vm_spec *spec, struct spec_disk *disk,
                 struct error **err);
    /* After the last read, and now and then before: an error when the moment does not stand
     * any more (errnum ESTALE; another one: it can't be told now). Somebody may have removed
     * the snapshot, and what was read since is of another moment. */
    int (*still)(struct source *source, const char *snapshot, struct error **err);
    /* Called a few times a minute while its disks are being read: a login that ran out is made
     * again. An error is no reason to stop: reads tell. NULL: no need of it. */
    int (*keep)(struct source *source, struct error **err);
    /* Reading failed with *err: add what those who serve the disk at this place (NULL: all) said
     * since they began. From any thread, while they serve. NULL: they say nothing. */
    void (*explain)(struct source *source, const char *place, struct error **err);
    /* Stop serving, and remove the snapshot of this name from the VM, waiting until it is
     * gone. 0 also when there is none. Works after a crash, too: `vmferry recover`. Cancel is
     * not looked at: who stops a copy does not want to leave the snapshot. */
    int (*thaw)(struct source *source, const char *uuid, const char *snapshot, struct error **err);

    /* The power of a VM by its uuid, for a live failover. Every kind has all of them; errnum
     * ENOTSUP when this one source can't, with what the operator is to do instead. Each may
     * be repeated: what is so already is no error. Cancel ends the waiting, not the task; power_on
     * does not look at it, as it is how a failover that was stopped is undone. */
    int (*power)(struct source *source, const char *uuid, enum power *power, struct error **err);
    /* Ask the guest to shut down. Returns when it was asked: it is off when power() says so.
     * errnum ENOTSUP: there is nobody in the guest to ask. */
    int (*shut_down)(struct source *source, const char *uuid, struct error **err);
    /* As if its plug were pulled; waits until it is off. */
    int (*power_off)(struct source *source, const char *uuid, struct error **err);
    int (*power_on)(struct source *source, const char *uuid, struct error **err);
    /* It has moved for good: rename it to `name` and add the note to what is written about it.
     * It is never deleted. */
    int (*retire)(struct source *source, const char *uuid, const char *name, const char *note,
                  struct error **err);
};

extern const struct source_kind source_nbd;
extern const struct source_kind source_vsphere;

/* ERROR_USAGE for a kind that does not exist. */
int source_kind_find(const char *name, const struct source_kind **kind, struct error **err);

/* Errors name the source. */
int source_open(const struct source_settings *settings, struct source **source, struct error **err);
void source_close(struct source *source); /* nothing to do on NULL */
static inline void cleanup_source(struct source **source)
{
    source_close(*source);
}
#define CLEANUP_SOURCE CLEANUP(cleanup_source)

#endif
