/* Whether the host of a libvirt sees the very files that a domain there will open. What comes in
 * are paths of this host; an error says which one is not seen there, or is another file
 * there. Its images are only read. */
#ifndef VMFERRY_FAILOVER_STORAGE_H
#define VMFERRY_FAILOVER_STORAGE_H

#include "failover/domain.h"

/* Before anything is made: the images that the plan's overlays will stand on, and a file that is
 * made for this moment in `directory`, where the overlays will be. Images that somebody works on
 * meanwhile need only be there. */
int storage_preview(virConnectPtr connection, const struct domain_plan *plan, const char *directory,
                    struct error **err);

/* All images of the plan; the overlays are there. libvirt looks into a directory only as a
 * storage pool: for those that are in none it gets a transient one, named after the
 * domain, for this moment. One process at a time looks: its lock is in `directory`. */
int storage_check(virConnectPtr connection, const struct domain_plan *plan, const char *directory,
                  struct error **err);

/* The pools that a dead process left. */
int storage_remove_pools(virConnectPtr connection, const char *domain_uuid, struct error **err);

#endif
