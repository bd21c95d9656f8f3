/* What a repair may do about one difference; see exportcheck.h. Each function does it, writes
 * it into audit_log and says so in finding->done, or says in finding->refused why it is not
 * safe. -1: not even that could be found out. No job works on the VM meanwhile. */
#ifndef VMFERRY_EXPORTMEND_H
#define VMFERRY_EXPORTMEND_H

#include "replica/export.h"
#include "replica/exportcheck-parts.h"

/* Nobody may write and nobody can read: an image that is gone, as it should be, with its map
 * file: what retention or a cancelled first copy leaves. Or a device that holds no restore point.
 */
bool mend_is_at_rest(const struct mappings *all, const struct mapping *mapping);

/* Find the disk again. */
int mend_disk(struct mappings *all, struct mapping *mapping, struct export_finding *finding,
              struct error **err);
/* Take the lease back. */
int mend_lease(struct mappings *all, struct mapping *mapping, struct export_finding *finding,
               struct error **err);
/* Write the map file anew; the findings are all about it. */
int mend_file(struct mappings *all, struct mapping *mapping, struct export_finding *findings,
              size_t count, struct error **err);
int mend_strange_file(struct mappings *all, struct export_finding *finding, struct error **err);

#endif
