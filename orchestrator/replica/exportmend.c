/* Repairs of exports, one kind of difference each; see exportmend.h. */
#include "replica/exportmend.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "replica/exportrow.h"
#include "replica/volume.h"

static int say(char **text, struct error **err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int say(char **text, struct error **err, const char *fmt, ...)
{
    va_list args;
    int r;

    free(*text);
    va_start(args, fmt);
    r = vasprintf(text, fmt, args);
    va_end(args);
    if (r >= 0)
        return 0;
    *text = NULL;
    return error_set_errno(err, ENOMEM, "repairing an export");
}

/* An error of the repair itself is a reason to refuse, not to stop with the others. */
static int refuse(struct export_finding *finding, struct error **reason, struct error **err)
{
    int r = say(&finding->refused, err, "%s", error_message(*reason));

    error_clear(reason);
    return r;
}

static int audit(const struct mappings *all, const char *what, const char *name, const char *before,
                 const char *after, struct error **err)
{
    char text[128];

    snprintf(text, sizeof text, "export repair: %s", what);
    return store_audit(all->store, text, name, before, after, err);
}

/* ---- what belongs to a mapping ---- */

static int find_key(const struct mappings *all, const struct mapping *mapping, int *key,
                    struct error **err)
{
    CLEANUP_FREE struct store_disk *disks = NULL;
    size_t count;

    *key = 0;
    if (store_disks(all->store, mapping->row.vm_id, &disks, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (disks[i].unit == mapping->row.unit)
            *key = disks[i].key;
    }
    return 0;
}

/* The disk in the newest point; found false: there is none. */
static int find_newest(const struct mappings *all, const struct mapping *mapping, bool *found,
                       struct store_point_disk *newest, struct error **err)
{
    CLEANUP_FREE struct store_point_disk *disks = NULL;
    CLEANUP_ERROR struct error *none = NULL;
    struct store_point point;
    size_t count;

    *found = false;
    if (store_point_find(all->store, mapping->row.vm_id, 0, &point, &none) < 0)
        return none->errnum == ENOENT ? 0 : error_move(err, &none);
    if (store_point_disks(all->store, point.id, &disks, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count && !*found; i++) {
        *found = disks[i].unit == mapping->row.unit;
        *newest = disks[i];
    }
    return 0;
}

/* A worker that has just taken the VM's job has written its own lease: the row, locked, is as we
 * have seen it. */
static int lock_row(struct mappings *all, const struct mapping *mapping, struct error **err)
{
    CLEANUP_FREE struct store_export *rows = NULL;
    const struct store_export *seen = &mapping->row;
    size_t count;

    if (store_export_touch(all->store, seen->id, err) < 0 ||
        store_exports(all->store, seen->vm_id, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].id == seen->id && rows[i].active == seen->active &&
            strcmp(rows[i].lease, seen->lease) == 0)
            return 0;
    }
    return error_set(err, "a job has just begun to work on this VM");
}

struct offering {
    struct mappings *all;
    const struct mapping *mapping;
    struct export_target *target;
};

static int offer_in_map(struct store *store, void *opaque, struct error **err)
{
    struct offering *offering = opaque;

    return lock_row(offering->all, offering->mapping, err) < 0
               ? -1
               : export_revoke(store, offering->all->state_dir, offering->target, err);
}

/* Offer `image` under the mapping's name to readers: row, then file. */
static int offer(struct mappings *all, struct mapping *mapping, const char *image,
                 const char *format, struct error **err)
{
    struct export_target target = { .unit = mapping->row.unit, .image = image, .format = format };
    struct offering offering = { all, mapping, &target };

    for (size_t i = 0; i < all->vm_count; i++) {
        if (all->vms[i].id == mapping->row.vm_id)
            target.vm = &all->vms[i];
    }
    if (find_key(all, mapping, &target.key, err) < 0 ||
        store_transaction(all->store, offer_in_map, &offering, err) < 0)
        return -1;
    return mapping_refresh(all, mapping, err);
}

static bool has_file(const struct mappings *all, const struct mapping *mapping)
{
    struct stat st;

    return fstatat(all->folder_fd, mapping->row.name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

bool mend_is_at_rest(const struct mappings *all, const struct mapping *mapping)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    struct store_point_disk newest;
    bool found;

    if (mapping->row.active || has_file(all, mapping) ||
        find_newest(all, mapping, &found, &newest, &ignored) < 0)
        return false;
    return !found || (mapping->state == DISK_GONE && !mapping_is_block(mapping) &&
                      strcmp(newest.image, mapping->row.path) != 0);
}

/* ---- devices ---- */

/* `place`: what the row says from now on: the link of ours that was turned, or the path. */
static int give_path(const struct mapping *mapping, const char *path, char place[STORE_PATH],
                     struct error **err)
{
    bool ours = mapping->row.path[0] != '/';
    struct stat st;

    if (ours && (lstat(mapping->wanted.path, &st) < 0 || !S_ISLNK(st.st_mode)))
        return error_set(err, "%s is no link any more", mapping->wanted.path);
    if (ours && volume_turn_link(mapping->wanted.path, path, err) < 0)
        return -1;
    if (snprintf(place, STORE_PATH, "%s", ours ? mapping->row.path : path) >= STORE_PATH)
        return error_set_errno(err, ENAMETOOLONG, "%s", path);
    return 0;
}

struct move {
    struct mappings *all;
    struct mapping *mapping;
    const char *place, *path, *how;
};

static int write_rows(struct store *store, void *opaque, struct error **err)
{
    const struct move *move = opaque;
    const struct mapping *mapping = move->mapping;
    char what[96];

    snprintf(what, sizeof what, "device found again by %s", move->how);
    if (store_export_move(store, &mapping->row, move->place, err) < 0)
        return -1;
    return audit(move->all, what, mapping->row.name, mapping->problem, move->path, err);
}

/* The rows and the audit in one transaction; the map file after it, which the row repairs. */
static int write_move(struct mappings *all, struct mapping *mapping, const char *place,
                      const char *path, const char *how, struct error **err)
{
    struct move move = { all, mapping, place, path, how };

    if (store_transaction(all->store, write_rows, &move, err) < 0)
        return -1;
    return offer(all, mapping, place, exportmap_format_name(mapping->wanted.format), err);
}

static int mend_device(struct mappings *all, struct mapping *mapping,
                       struct export_finding *finding, struct error **err)
{
    CLEANUP_ERROR struct error *reason = NULL;
    const char *how = "";
    const struct blockdevice *device = mapping_find_device(all, mapping, &how, &reason);
    char path[PATH_MAX], place[STORE_PATH];

    if (!device)
        return refuse(finding, &reason, err);
    blockdevice_stable_name(device, path);
    if (give_path(mapping, path, place, &reason) < 0 ||
        write_move(all, mapping, place, path, how, &reason) < 0)
        return refuse(finding, &reason, err);
    return say(&finding->done, err, "found as %s by %s", path, how);
}

/* ---- files ---- */

static int withdraw(struct mappings *all, struct mapping *mapping, struct error **err)
{
    if (mapping->row.active && store_export_withdraw(all->store, mapping->row.id, err) < 0)
        return -1;
    if (exportmap_file_remove(all->folder, mapping->row.name, err) < 0)
        return -1;
    return mapping_refresh(all, mapping, err);
}

/* The image is gone. The newest point's may be another one by now. */
static int mend_gone(struct mappings *all, struct mapping *mapping, struct export_finding *finding,
                     struct error **err)
{
    CLEANUP_ERROR struct error *reason = NULL;
    struct store_point_disk newest;
    bool found;

    if (find_newest(all, mapping, &found, &newest, err) < 0)
        return -1;
    if (found && strcmp(newest.image, mapping->row.path) == 0) {
        error_set(&reason, "it is the newest restore point's image: bring it back");
        return refuse(finding, &reason, err);
    }
    if (found ? offer(all, mapping, newest.image, newest.format, &reason) < 0
              : withdraw(all, mapping, &reason) < 0)
        return refuse(finding, &reason, err);
    if (audit(all, found ? "led to the newest restore point" : "withdrawn", finding->name,
              finding->what, found ? newest.image : NULL, err) < 0)
        return -1;
    return found ? say(&finding->done, err, "it leads to %s, the newest restore point's image",
                       newest.image)
                 : say(&finding->done, err, "withdrawn; no restore point has an image for it");
}

static int mend_renumbered(struct mappings *all, struct mapping *mapping,
                           struct export_finding *finding, struct error **err)
{
    CLEANUP_ERROR struct error *reason = NULL;

    if (offer(all, mapping, mapping->row.path, exportmap_format_name(mapping->wanted.format),
              &reason) < 0)
        return refuse(finding, &reason, err);
    if (audit(all, "its file system has another device number", finding->name, finding->what, NULL,
              err) < 0)
        return -1;
    return say(&finding->done, err,
               "it is the same file, by inode and time of birth: written down anew");
}

int mend_disk(struct mappings *all, struct mapping *mapping, struct export_finding *finding,
              struct error **err)
{
    CLEANUP_ERROR struct error *reason = NULL;

    if (mapping_is_block(mapping))
        return mend_device(all, mapping, finding, err);
    if (mapping->state == DISK_RENUMBERED)
        return mend_renumbered(all, mapping, finding, err);
    if (mapping->state == DISK_GONE)
        return mend_gone(all, mapping, finding, err);
    error_set(&reason,
              "it is not served until it is back; or the next `vmferry replicate %s` maps a new "
              "image",
              mapping->row.vm_name);
    return refuse(finding, &reason, err);
}

int mend_lease(struct mappings *all, struct mapping *mapping, struct export_finding *finding,
               struct error **err)
{
    CLEANUP_ERROR struct error *reason = NULL;
    bool there = mapping->state == DISK_SAME;

    if (there ? offer(all, mapping, mapping->row.path,
                      exportmap_format_name(mapping->wanted.format), &reason) < 0
              : withdraw(all, mapping, &reason) < 0)
        return refuse(finding, &reason, err);
    if (audit(all, "lease of a dead job taken back", finding->name, NULL, NULL, err) < 0)
        return -1;
    return say(&finding->done, err, "taken back: %s",
               there ? "it can only be read now" : "it is withdrawn");
}

int mend_file(struct mappings *all, struct mapping *mapping, struct export_finding *findings,
              size_t count, struct error **err)
{
    CLEANUP_ERROR struct error *reason = NULL;
    int key;

    if (find_key(all, mapping, &key, err) < 0)
        return -1;
    free(mapping->wanted.description);
    if (asprintf(&mapping->wanted.description, "%s, disk-%d", mapping->row.vm_name, key) < 0)
        mapping->wanted.description = NULL;
    if (exportmap_file_write(all->folder, mapping->row.name, &mapping->wanted, &reason) < 0)
        return refuse(findings, &reason, err);
    for (size_t i = 0; i < count; i++) {
        if (audit(all, "map file written anew", findings[i].name, findings[i].what, NULL, err) <
                0 ||
            say(&findings[i].done, err, "the map file was written anew from the row") < 0)
            return -1;
    }
    return 0;
}

/* migration-vm-UUID-diskN */
static bool is_ours(const char *name)
{
    static const char prefix[] = "migration-vm-", suffix[] = "-disk";
    const char *uuid = name + strlen(prefix);
    const char *digits;

    if (strncmp(name, prefix, strlen(prefix)) != 0 || strlen(uuid) < 36 ||
        strspn(uuid, "0123456789abcdef-") < 36 || strncmp(uuid + 36, suffix, strlen(suffix)) != 0)
        return false;
    digits = uuid + 36 + strlen(suffix);
    return *digits && strspn(digits, "0123456789") == strlen(digits);
}

int mend_strange_file(struct mappings *all, struct export_finding *finding, struct error **err)
{
    CLEANUP_ERROR struct error *reason = NULL;

    if (!is_ours(finding->name))
        error_set(&reason,
                  "its name is none that vmferry gives; `vmferry export remove --map=%s %s` "
                  "withdraws it",
                  all->folder, finding->name);
    if (reason || exportmap_file_remove(all->folder, finding->name, &reason) < 0)
        return refuse(finding, &reason, err);
    if (audit(all, "map file without a row withdrawn", finding->name, NULL, NULL, err) < 0)
        return -1;
    return say(&finding->done, err, "withdrawn");
}
