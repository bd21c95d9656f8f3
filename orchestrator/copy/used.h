/* How much of a disk there is to copy, asked before a copy: what comes in is a source
 * and perhaps a metadata context; what goes out is a number of bytes in whole blocks. */
#ifndef VMFERRY_COPY_USED_H
#define VMFERRY_COPY_USED_H

#include <stdint.h>

#include "error.h"

/* Bytes that the source has as data, or that the context `changes` ("qemu:dirty-bitmap:NAME")
 * names, in blocks of DIGEST_BLOCK. A server that can't say, or takes longer than some
 * seconds, makes it less than there is: 0 when nothing is known, also when all of the disk
 * would be data, as servers say that do not look. */
int copy_used(const char *src, const char *changes, uint64_t *bytes, struct error **err);

#endif
