/* Merging one image of a chain into the one below it. What comes in: two neighbours of one
 * disk's chain, and the images that stand on the upper one. What goes out: the lower one holds
 * what the upper one showed, durable and sealed, and those above stand on it. Knows files, not
 * the store.
 *
 * Why a kill at any instruction, also between two writes of qemu-img, leaves every view but
 * the lower image's own unchanged:
 *  - Only clusters that the upper image holds are written to the lower one. Who reads through
 *    the upper image gets those from the upper one, whatever the lower one holds at that moment.
 *  - An image above is moved over when the lower one is complete and durable: then both ways
 *    show the same. Its header is rewritten in place; a name that a power cut tore is written
 *    again when this is repeated.
 *  - The upper image is not changed, so all of it can be done again from the beginning. It may
 *    be removed when no row of the store names it any more. */
#ifndef VMFERRY_REPLICA_MERGE_H
#define VMFERRY_REPLICA_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "replica/volume.h"

struct merge_image {
    const char *path; /* absolute */
    const char *format;
};

/* That both can be written: nobody has them open, and they are sound. Changes nothing that
 * anybody can see. */
int merge_check(const struct merge_image *lower, const struct merge_image *upper,
                struct error **err);

/* The upper image's data into the lower one, which is grown to `capacity` first. What is stopped
 * by the watch (errnum ECANCELED) is as if it had been killed there, but sealed. */
int merge_commit(const struct merge_image *lower, const struct merge_image *upper,
                 uint64_t capacity, const struct volume_watch *watch, struct error **err);

/* `path`, a qcow2 image, stands on `below` from now on, which shows the same as what it stood
 * on. `sealed`: it belongs to a complete point. */
int merge_rebase(const char *path, const struct merge_image *below, bool sealed,
                 struct error **err);

#endif
