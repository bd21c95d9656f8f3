/* Comparing rows, map files and disks, and mending them; see exportcheck.h. */
#include "replica/exportcheck.h"

#include <dirent.h>
#include <fcntl.h>
#include <json.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "rbd.h"
#include "replica/export.h"
#include "replica/exportcheck-parts.h"
#include "replica/exportmend.h"
#include "replica/exportrow.h"

#define LOOK_AGAIN    5 /* times */
#define LOOK_AGAIN_US 20000

const char *export_fault_name(enum export_fault fault)
{
    static const char *const names[EXPORT_FAULTS] = {
        [EXPORT_NO_FILE] = "no-file",         [EXPORT_NO_ROW] = "no-row",
        [EXPORT_BAD_FILE] = "bad-file",       [EXPORT_BAD_ROW] = "bad-row",
        [EXPORT_OTHER_PATH] = "other-path",   [EXPORT_OTHER_IDENTITY] = "other-identity",
        [EXPORT_OTHER_LEASE] = "other-lease", [EXPORT_DEAD_LEASE] = "dead-lease",
        [EXPORT_DISK_GONE] = "disk-gone",     [EXPORT_DISK_OTHER] = "disk-other",
    };

    return names[fault];
}

void export_report_free(struct export_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        free(report->list[i].what);
        free(report->list[i].done);
        free(report->list[i].refused);
    }
    free(report->list);
    *report = (struct export_report){ 0 };
}

static struct export_finding *add_finding(struct mappings *all, enum export_fault fault,
                                          const char *name, struct error **err, const char *fmt,
                                          ...) __attribute__((format(printf, 5, 6)));
static struct export_finding *add_finding(struct mappings *all, enum export_fault fault,
                                          const char *name, struct error **err, const char *fmt,
                                          ...)
{
    struct export_report *report = all->report;
    struct export_finding *more = reallocarray(report->list, report->count + 1, sizeof *more);
    struct export_finding *finding = more ? &more[report->count] : NULL;
    va_list args;
    int r;

    if (more)
        report->list = more;
    if (finding) {
        *finding = (struct export_finding){ .fault = fault };
        snprintf(finding->name, sizeof finding->name, "%s", name);
        va_start(args, fmt);
        r = vasprintf(&finding->what, fmt, args);
        va_end(args);
        if (r >= 0) {
            report->count++;
            return finding;
        }
    }
    error_set_errno(err, ENOMEM, "checking exports");
    return NULL;
}

/* ---- the disk ---- */

static bool is_renumbered(const struct mapping *mapping, const struct exportmap_disk *found)
{
    struct exportmap_identity wanted = mapping->wanted.identity;
    CLEANUP_ERROR struct error *differs = NULL;

    wanted.value[EXPORTMAP_DEV] = NULL;
    return !found->block && wanted.value[EXPORTMAP_BIRTH] &&
           exportmap_identity_check(&wanted, found, true, &differs) == 0;
}

static void judge_disk(struct mapping *mapping, const struct exportmap_disk *found)
{
    const struct exportmap_file *wanted = &mapping->wanted;
    CLEANUP_ERROR struct error *differs = NULL;

    if (exportmap_identity_check(&wanted->identity, found, false, &differs) < 0)
        mapping->state = is_renumbered(mapping, found) ? DISK_RENUMBERED : DISK_OTHER;
    else if (wanted->format == EXPORTMAP_RAW && found->size != wanted->size) {
        mapping->state = DISK_OTHER;
        error_set(&differs, "has %llu bytes now, not %llu", (unsigned long long)found->size,
                  (unsigned long long)wanted->size);
    }
    if (mapping->state != DISK_SAME)
        snprintf(mapping->problem, sizeof mapping->problem, "%s %s", wanted->path,
                 error_message(differs));
}

static int probe(const char *path, struct exportmap_disk *found, struct error **err)
{
    CLEANUP_CLOSE int fd = -1;

    if (rbd_is_place(path))
        return exportmap_rbd_probe(path, found, err);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set_errno(err, errno, "%s", path);
    return exportmap_disk_probe(fd, found, err) < 0 ? error_prefix(err, "%s", path) : 0;
}

void mapping_look(struct mapping *mapping)
{
    CLEANUP(exportmap_disk_free) struct exportmap_disk found = { 0 };
    CLEANUP_ERROR struct error *missing = NULL;

    if (mapping->looked || !mapping->wanted.path)
        return;
    mapping->looked = true;
    mapping->state = DISK_SAME;
    if (rbd_is_place(mapping->wanted.path) && mapping->far)
        return;
    probe(mapping->wanted.path, &found, &missing);
    if (!missing && found.block && found.size == 0) /* a loop device that nothing is attached to */
        error_set(&missing, "%s: no medium is there", mapping->wanted.path);
    if (!missing) {
        judge_disk(mapping, &found);
        return;
    }
    mapping->state = DISK_GONE;
    snprintf(mapping->problem, sizeof mapping->problem, "%s", error_message(missing));
}

int mapping_refresh(struct mappings *all, struct mapping *mapping, struct error **err)
{
    CLEANUP_FREE struct store_export *rows = NULL;
    CLEANUP_ERROR struct error *bad = NULL;
    size_t count;

    if (store_exports(all->store, mapping->row.vm_id, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (rows[i].id != mapping->row.id)
            continue;
        mapping->row = rows[i];
        exportmap_file_free(&mapping->wanted);
        json_object_put(mapping->record);
        mapping->looked = false;
        if (exportrow_map(&mapping->row, all->state_dir, &mapping->wanted, &mapping->record, &bad) <
            0)
            snprintf(mapping->problem, sizeof mapping->problem, "%s", error_message(bad));
        mapping_look(mapping);
    }
    return 0;
}

/* A job that works on the VM changes one after the other: looked at again, all is well. */
static int look_for_long(struct mappings *all, struct mapping *mapping, bool busy,
                         struct error **err)
{
    mapping_look(mapping);
    for (int i = 0; busy && mapping->state != DISK_SAME && i < LOOK_AGAIN; i++) {
        usleep(LOOK_AGAIN_US);
        if (mapping_refresh(all, mapping, err) < 0)
            return -1;
    }
    return 0;
}

static int check_disk(struct mappings *all, struct mapping *mapping, bool busy, struct error **err)
{
    struct export_finding *finding;

    if (look_for_long(all, mapping, busy, err) < 0)
        return -1;
    if (mapping->state == DISK_SAME || mend_is_at_rest(all, mapping))
        return 0;
    finding = add_finding(all, mapping->state == DISK_GONE ? EXPORT_DISK_GONE : EXPORT_DISK_OTHER,
                          mapping->row.name, err, "%s", mapping->problem);
    if (!finding)
        return -1;
    return all->check->repair && !busy ? mend_disk(all, mapping, finding, err) : 0;
}

/* ---- the map file ---- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static int compare_file(struct mappings *all, const struct mapping *mapping,
                        const struct exportmap_file *file, struct error **err)
{
    const struct exportmap_file *wanted = &mapping->wanted;
    const char *name = mapping->row.name;

    if (strcmp(file->path, wanted->path) != 0 &&
        !add_finding(all, EXPORT_OTHER_PATH, name, err, "its map file says %s, its row %s",
                     file->path, wanted->path))
        return -1;
    if (!exportrow_same_disk(file, wanted) &&
        !add_finding(all, EXPORT_OTHER_IDENTITY, name, err,
                     "its map file does not say what its row says of the disk's format, size and "
                     "identity"))
        return -1;
    if ((file->writable != wanted->writable || !same_text(file->lease, wanted->lease)) &&
        !add_finding(all, EXPORT_OTHER_LEASE, name, err, "its map file says mode %s%s, its row %s",
                     file->writable ? "rw" : "ro",
                     file->writable && wanted->writable ? " under another lease" : "",
                     wanted->writable ? "rw" : "ro"))
        return -1;
    return 0;
}

static int look_at_file(struct mappings *all, const struct mapping *mapping, struct error **err)
{
    CLEANUP(exportmap_file_free) struct exportmap_file file = { 0 };
    CLEANUP_ERROR struct error *unreadable = NULL;
    CLEANUP_CLOSE int fd = -1;
    struct stat st;

    fd = exportmap_file_read(all->folder_fd, mapping->row.name, &file, &st, &unreadable);
    if (fd >= 0)
        return compare_file(all, mapping, &file, err);
    if (unreadable->errnum == ENOENT)
        return add_finding(all, EXPORT_NO_FILE, mapping->row.name, err, "it has no map file") ? 0
                                                                                              : -1;
    return add_finding(all, EXPORT_BAD_FILE, mapping->row.name, err, "its map file %s",
                       error_message(unreadable))
               ? 0
               : -1;
}

static void drop_findings(struct export_report *report, size_t count)
{
    while (report->count > count) {
        struct export_finding *finding = &report->list[--report->count];

        free(finding->what);
    }
}

/* A job that works on the VM may be between row and file. */
static int check_file(struct mappings *all, struct mapping *mapping, bool busy, struct error **err)
{
    size_t before = all->report->count;

    for (int i = 0; i < LOOK_AGAIN; i++) {
        drop_findings(all->report, before);
        if (look_at_file(all, mapping, err) < 0)
            return -1;
        if (all->report->count == before || !busy)
            break;
        usleep(LOOK_AGAIN_US);
        if (mapping_refresh(all, mapping, err) < 0)
            return -1;
        if (!mapping->wanted.path)
            return 0;
    }
    if (all->report->count == before || busy || !all->check->repair)
        return 0;
    return mend_file(all, mapping, &all->report->list[before], all->report->count - before, err);
}

/* ---- one mapping ---- */

static int check_lease(struct mappings *all, struct mapping *mapping, struct error **err)
{
    struct export_finding *finding =
        add_finding(all, EXPORT_DEAD_LEASE, mapping->row.name, err,
                    "it may be written under the lease of a job that does not run any more");

    if (!finding)
        return -1;
    return all->check->repair ? mend_lease(all, mapping, finding, err) : 0;
}

static int check_mapping(struct mappings *all, struct mapping *mapping, bool busy,
                         struct error **err)
{
    size_t before = all->report->count;

    all->report->mappings++;
    if (!mapping->wanted.path)
        return add_finding(all, EXPORT_BAD_ROW, mapping->row.name, err, "%s", mapping->problem)
                   ? 0
                   : -1;
    if (check_disk(all, mapping, busy, err) < 0 ||
        (mapping->row.active && !busy && check_lease(all, mapping, err) < 0))
        return -1;
    /* A map file for a disk that is not there would be of no use. */
    if (mapping->state == DISK_SAME && !mend_is_at_rest(all, mapping) &&
        check_file(all, mapping, busy, err) < 0)
        return -1;
    for (size_t i = before; all->check->repair && i < all->report->count; i++) {
        struct export_finding *finding = &all->report->list[i];

        if (busy && !finding->refused)
            finding->refused = strdup("a job works on this VM");
        all->report->refused += finding->refused != NULL;
    }
    return 0;
}

/* ---- all of them ---- */

static const struct store_vm *find_vm(const struct mappings *all, int64_t id)
{
    for (size_t i = 0; i < all->vm_count; i++) {
        if (all->vms[i].id == id)
            return &all->vms[i];
    }
    return NULL;
}

/* Holding a VM is work for the database: not for one whose mappings are right and given to nobody.
 */
static int is_fine(struct mappings *all, size_t first, size_t end, struct error **err)
{
    const struct export_check *check = all->check;
    struct export_check look = { .read_devices = check->read_devices };
    size_t before = all->report->count, counted = all->report->mappings;
    int r = 0;

    all->check = &look;
    for (size_t i = first; r == 0 && i < end; i++) {
        if (all->list[i].row.active)
            break;
        r = check_mapping(all, &all->list[i], false, err);
    }
    all->check = check;
    if (r == 0 && all->report->count == before && all->report->mappings - counted == end - first)
        return 1;
    drop_findings(all->report, before);
    all->report->mappings = counted;
    return r;
}

static size_t end_of_vm(const struct mappings *all, size_t first)
{
    size_t end = first;

    while (end < all->count && all->list[end].row.vm_id == all->list[first].row.vm_id)
        end++;
    return end;
}

/* The mappings from `first` on of one VM; returns how many, or -1. */
static int check_vm(struct mappings *all, size_t first, struct error **err)
{
    const struct export_check *check = all->check;
    const struct store_vm *vm = find_vm(all, all->list[first].row.vm_id);
    CLEANUP_ERROR struct error *held = NULL;
    size_t i = first, end = end_of_vm(all, first);
    bool busy;
    int r = 0;

    if (!vm)
        return 1; /* it was removed a moment ago */
    if (check->repair && check->hold)
        r = is_fine(all, first, end, err);
    if (r != 0)
        return r < 0 ? -1 : (int)(end - first);
    busy = check->hold && check->hold(check->opaque, vm, &held) < 0;
    for (; r == 0 && i < end; i++) {
        if (!busy && check->hold)
            r = mapping_refresh(all, &all->list[i], err);
        if (r == 0)
            r = check_mapping(all, &all->list[i], busy, err);
    }
    if (!busy && check->hold)
        check->let_go(check->opaque);
    return r < 0 ? -1 : (int)(i - first);
}

static bool has_row(const struct mappings *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->list[i].row.name, name) == 0)
            return true;
    }
    return false;
}

static void cleanup_closedir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

/* A job may have made the row since they were read. */
static int check_strange_file(struct mappings *all, const char *name, struct error **err)
{
    CLEANUP_FREE struct store_export *rows = NULL;
    struct export_finding *finding;
    size_t count;

    if (store_exports(all->store, 0, &rows, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return 0;
    }
    finding = add_finding(all, EXPORT_NO_ROW, name, err, "its map file has no row");
    if (!finding)
        return -1;
    if (all->check->repair && mend_strange_file(all, finding, err) < 0)
        return -1;
    all->report->refused += finding->refused != NULL;
    return 0;
}

static int check_strange_files(struct mappings *all, struct error **err)
{
    CLEANUP(cleanup_closedir) DIR *dir = opendir(all->folder);
    const struct dirent *entry;

    if (!dir)
        return error_set_errno(err, errno, "%s", all->folder);
    while ((entry = readdir(dir))) {
        if (!exportmap_name_ignored(entry->d_name) && !has_row(all, entry->d_name) &&
            check_strange_file(all, entry->d_name, err) < 0)
            return -1;
    }
    return 0;
}

static int load(struct mappings *all, struct error **err)
{
    CLEANUP_FREE struct store_export *rows = NULL;
    size_t count;

    if (export_folder(all->state_dir, all->folder, err) < 0 ||
        store_vms(all->store, &all->vms, &all->vm_count, err) < 0 ||
        store_exports(all->store, 0, &rows, &count, err) < 0)
        return -1;
    all->folder_fd = open(all->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (all->folder_fd < 0)
        return error_set_errno(err, errno, "%s", all->folder);
    all->list = calloc(count ? count : 1, sizeof *all->list);
    if (!all->list)
        return error_set_errno(err, ENOMEM, "checking exports");
    for (; all->count < count; all->count++) {
        struct mapping *mapping = &all->list[all->count];
        CLEANUP_ERROR struct error *bad = NULL;

        mapping->row = rows[all->count];
        mapping->far = !all->check->read_devices;
        if (exportrow_map(&mapping->row, all->state_dir, &mapping->wanted, &mapping->record, &bad) <
            0)
            snprintf(mapping->problem, sizeof mapping->problem, "%s", error_message(bad));
    }
    return 0;
}

static void mappings_free(struct mappings *all)
{
    for (size_t i = 0; i < all->count; i++) {
        exportmap_file_free(&all->list[i].wanted);
        json_object_put(all->list[i].record);
    }
    if (all->folder_fd >= 0)
        close(all->folder_fd);
    blockdevices_free(&all->devices);
    free(all->list);
    free(all->vms);
}

int export_check(struct store *store, const char *state_dir, const struct export_check *check,
                 struct export_report *report, struct error **err)
{
    CLEANUP(mappings_free)
    struct mappings all = {
        .store = store, .state_dir = state_dir, .check = check, .report = report, .folder_fd = -1
    };
    size_t i = 0;

    *report = (struct export_report){ 0 };
    if (load(&all, err) < 0)
        return -1;
    while (i < all.count) {
        int n = 1;

        if (check->vm_id == 0 || all.list[i].row.vm_id == check->vm_id)
            n = check_vm(&all, i, err);
        if (n < 0)
            return -1;
        i += (size_t)n;
    }
    return check->vm_id == 0 ? check_strange_files(&all, err) : 0;
}
