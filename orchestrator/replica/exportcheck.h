/* Whether vm_export_mappings, the map files and the disks agree, and what can be done where they
 * do not. The rows are the truth of names, places and leases; the disks are the truth of what
 * they are. What comes in: the store and the state directory. What goes out: each
 * difference in words, and after a repair what was done about it (also in audit_log) or
 * why not.
 *
 * Never gives a name to a disk that is not proven to be the one that was mapped, and changes
 * nothing of a VM that a job is working on. */
#ifndef VMFERRY_EXPORTCHECK_H
#define VMFERRY_EXPORTCHECK_H

#include "store/store.h"

enum export_fault {
    EXPORT_NO_FILE,        /* a row without a map file */
    EXPORT_NO_ROW,         /* a map file without a row */
    EXPORT_BAD_FILE,       /* a map file that no server can read */
    EXPORT_BAD_ROW,        /* a row that does not say which disk it is */
    EXPORT_OTHER_PATH,     /* the file has another path than the row */
    EXPORT_OTHER_IDENTITY, /* another identity, size or format */
    EXPORT_OTHER_LEASE,    /* another lease or mode */
    EXPORT_DEAD_LEASE,     /* granted to a job that has died */
    EXPORT_DISK_GONE,      /* nothing is at the row's path */
    EXPORT_DISK_OTHER,     /* another disk is */
    EXPORT_FAULTS
};
const char *export_fault_name(enum export_fault fault); /* "no-file" … */

struct export_finding {
    enum export_fault fault;
    char name[STORE_NAME]; /* of the export */
    char *what;            /* the difference, in words */
    char *done;            /* by the repair; NULL: nothing */
    char *refused;         /* why not; NULL: it was not tried, or done */
};

struct export_report {
    struct export_finding *list;
    size_t count;
    size_t mappings; /* rows that were looked at */
    size_t refused;
};
void export_report_free(struct export_report *report);
#define CLEANUP_EXPORT_REPORT CLEANUP(export_report_free)

struct export_check {
    int64_t vm_id; /* 0: all VMs, and files without a row */
    bool repair;
    bool read_devices; /* a device may be known by its whole content: that may take long */
    /* Keep jobs off the VM: 0; or -1 with an error that names the one that has it. NULL: the
     * caller has done so. let_go undoes it. */
    int (*hold)(void *opaque, const struct store_vm *vm, struct error **err);
    void (*let_go)(void *opaque);
    void *opaque;
};

/* 0 also when there are differences: they are in the report. */
int export_check(struct store *store, const char *state_dir, const struct export_check *check,
                 struct export_report *report, struct error **err);

#endif
