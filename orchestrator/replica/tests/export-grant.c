/* How long a job waits for its export: grants the disk of a VM to a new lease, as every job does
 * before it writes, and takes it back. What comes in: a state directory that has a replica.
 * What goes out, on stdout:
 *
 *     GRANTS ROWS MIN MEDIAN P99       milliseconds; ROWS: mappings of the VM at the end
 *
 *     export-grant STATE VM COUNT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "replica/export.h"

static double now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1000 + (double)ts.tv_nsec / 1e6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int grant(struct store *store, const char *state_dir, const struct export_target *target,
                 double *ms, struct error **err)
{
    char lease[LEASE_TEXT];
    double began;

    if (export_new_lease(lease, err) < 0)
        return -1;
    began = now_ms();
    if (export_grant(store, state_dir, target, lease, err) < 0)
        return -1;
    *ms = now_ms() - began;
    return export_revoke(store, state_dir, target, err);
}

static int run(const char *state_dir, const char *name, size_t count, struct error **err)
{
    CLEANUP_STORE struct store *store = NULL;
    CLEANUP_FREE struct store_export *rows = NULL;
    CLEANUP_FREE struct store_point_disk *disks = NULL;
    CLEANUP_FREE double *times = calloc(count, sizeof *times);
    struct export_target target = { 0 };
    struct store_point point;
    struct store_vm vm;
    size_t rows_count, disk_count;
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/vmferry.db", state_dir);
    if (!times || store_open(path, &store, err) < 0 || store_vm_find(store, name, &vm, err) < 0 ||
        store_point_find(store, vm.id, 0, &point, err) < 0 ||
        store_point_disks(store, point.id, &disks, &disk_count, err) < 0)
        return -1;
    target = (struct export_target){ .vm = &vm,
                                     .key = disks[0].key,
                                     .unit = disks[0].unit,
                                     .image = disks[0].image,
                                     .format = disks[0].format };
    for (size_t i = 0; i < count; i++) {
        if (grant(store, state_dir, &target, &times[i], err) < 0)
            return -1;
    }
    if (store_exports(store, vm.id, &rows, &rows_count, err) < 0)
        return -1;
    qsort(times, count, sizeof *times, by_size);
    printf("%zu %zu %.3f %.3f %.3f\n", count, rows_count, times[0], times[count / 2],
           times[count * 99 / 100]);
    return 0;
}

int main(int argc, char *argv[])
{
    CLEANUP_ERROR struct error *err = NULL;
    size_t count = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;

    if (count == 0) {
        fprintf(stderr, "usage: export-grant STATE VM COUNT\n");
        return 2;
    }
    if (run(argv[1], argv[2], count, &err) == 0)
        return 0;
    fprintf(stderr, "export-grant: %s\n", error_message(err));
    return 1;
}
