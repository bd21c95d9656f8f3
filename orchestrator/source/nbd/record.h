/* Which moment a hook was asked for last, written down in STATE/run before it is: it holds one
 * moment of a VM at a time, and has no names for them. Survives a crash. */
#ifndef VMFERRY_NBD_RECORD_H
#define VMFERRY_NBD_RECORD_H

#include "source/source.h"

/* *name is "" when there is none. */
int record_read(const char *state_dir, const char *uuid, char name[SOURCE_SNAPSHOT],
                struct error **err);
int record_write(const char *state_dir, const char *uuid, const char *name, struct error **err);
int record_remove(const char *state_dir, const char *uuid, struct error **err);

#endif
