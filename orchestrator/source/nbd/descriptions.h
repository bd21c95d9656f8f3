/* VMs described in a JSON file, or in all files *.json of a directory. They are read again at
 * every use. */
#ifndef VMFERRY_NBD_DESCRIPTIONS_H
#define VMFERRY_NBD_DESCRIPTIONS_H

#include <limits.h>

#include "source/source.h"

int descriptions_list(const char *location, const struct source_filter *filter,
                      struct spec_list *specs, struct error **err);
/* One VM, and the file that describes it (`path` may be NULL). */
int descriptions_find(const char *location, const char *uuid, struct vm_spec *spec,
                      char path[PATH_MAX], struct error **err);

#endif
