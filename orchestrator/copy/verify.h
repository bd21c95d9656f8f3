/* The proof: what was written is read again from the destination and compared with
 * the leaves made while it was copied. What comes in: the destination, the leaves,
 * and which ranges. What goes out: yes, or an error that names the first block that
 * differs. It never writes, and believes block status only where that says zeroes
 * and the leaf does too. */
#ifndef VMFERRY_COPY_VERIFY_H
#define VMFERRY_COPY_VERIFY_H

#include <stdint.h>

#include "changemap.h"
#include "copy/end.h"
#include "copy/move.h"

struct verify_config {
    struct end *disk;               /* opened so that it can be read */
    uint64_t size;                  /* of what was copied; the disk may be larger */
    const struct changemap *ranges; /* only these; NULL: all of it */
    int leaves_fd;
    struct move_config move; /* lanes, sizes, retries, progress…; ends and plan are set here */
    struct plan **plan;      /* where progress finds the plan meanwhile; NULL again at the end */
};

int verify_disk(const struct verify_config *config, uint64_t *bytes, struct error **err);

#endif
