/* A row of vm_export_mappings and the map file that belongs to it. What comes in: one of them.
 * What goes out: the other. The row's identity is what the map file says of the disk, without
 * its path and lease, which are columns; for a block device it holds our own record, too:
 *
 *   { "format": "raw", "size": 1073741824, "identity": { … }, "record": { … } }      */
#ifndef VMFERRY_EXPORTROW_H
#define VMFERRY_EXPORTROW_H

#include <limits.h>

#include "exportmap-file.h"
#include "store/store.h"

struct json_object;

/* row->identity from the map; for a block device its path is opened. */
int exportrow_describe(struct store_export *row, const struct exportmap_file *map,
                       struct error **err);

/* The map file that the row asks for, but for its description, and the record (NULL without
 * one). The caller frees the map and puts the record. */
int exportrow_map(const struct store_export *row, const char *state_dir, struct exportmap_file *map,
                  struct json_object **record, struct error **err);

/* The file says what the row says, whatever its description is. */
bool exportrow_same_disk(const struct exportmap_file *a, const struct exportmap_file *b);

#endif
