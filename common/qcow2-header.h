/* The few fields of a qcow2 image's header that decide whether it may be opened
 * at all. Reads only; never guesses a format. Source: QEMU's docs/interop/qcow2.txt. */
#ifndef VMFERRY_QCOW2_HEADER_H
#define VMFERRY_QCOW2_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct qcow2_header {
    uint64_t size;        /* of the disk in it, bytes */
    char *backing_file;   /* as written in the image; NULL: none. Owned */
    char *backing_format; /* NULL: not written in the image. Owned */
    bool external_data;   /* guest data lives in another file */
};

/* `fd` is at any position. A file that is not qcow2, or damaged: error. */
int qcow2_header_read(int fd, struct qcow2_header *header, struct error **err);
void qcow2_header_free(struct qcow2_header *header);

/* Follow the backing chain of the image at `path`. Each link must name a plain
 * file and its format, raw or qcow2, so that nothing is left to format probing,
 * and no link may keep its data in another file. *size is the top's, in bytes. */
int qcow2_chain_check(const char *path, uint64_t *size, struct error **err);

#endif
