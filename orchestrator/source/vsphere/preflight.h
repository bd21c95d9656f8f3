/* What can be known about a VM before a sync touches anything. */
#ifndef VMFERRY_VSPHERE_PREFLIGHT_H
#define VMFERRY_VSPHERE_PREFLIGHT_H

#include "source/vsphere/facts.h"

/* How its disks will be read. */
enum preflight_reader {
    READER_ANY,     /* not decided yet: what only one of them can't do is a warning */
    READER_LIBRARY, /* VMware's: vddk */
    READER_FILES,   /* the flat files of the datastore: https, ssh */
};

/* Judges facts; asks nobody. -1 only without memory. */
int preflight_judge(const struct vm_facts *facts, enum preflight_reader reader,
                    struct findings *findings);
/* The part about disks. */
int preflight_disks(const struct vm_facts *facts, enum preflight_reader reader,
                    struct findings *findings);

int preflight_vm(struct session *session, const struct moref *ref, enum preflight_reader reader,
                 struct findings *findings, struct error **err);

#endif
