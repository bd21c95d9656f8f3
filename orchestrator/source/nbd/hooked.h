/* A nbd source with a hook: it holds a moment of a VM for as long as a sync lasts, as vsphere
 * does by a snapshot, and has its power. */
#ifndef VMFERRY_NBD_HOOKED_H
#define VMFERRY_NBD_HOOKED_H

#include "source/nbd/options.h"
#include "source/source.h"

int hooked_open(const struct source_settings *settings, const struct nbd_options *options,
                struct source **source, struct error **err);

#endif
