/* Where a document goes: to standard output, or to a file that is there whole or not at all. */
#ifndef VMFERRY_OUTPUT_H
#define VMFERRY_OUTPUT_H

#include <stdio.h>

#include "error.h"

/* `out` is a file at its begin, which may be begun again. */
typedef int output_writer(void *opaque, FILE *out, struct error **err);

/* path NULL: standard output. A file of that name is replaced; what is no regular file is
 * written to as it is. */
int output_write(const char *path, output_writer *write, void *opaque, struct error **err);

#endif
