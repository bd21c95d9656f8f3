/* A picture of a guest's screen, as a PNG file. */
#ifndef VMFERRY_FAILOVER_SCREEN_H
#define VMFERRY_FAILOVER_SCREEN_H

#include <stddef.h>

#include "failover/libvirt.h"

/* What QEMU shows now to `path`, which is there whole or not at all. */
int screen_save(virDomainPtr domain, const char *path, struct error **err);

/* Turn a picture of `size` bytes into the PNG file `path`: a PPM ("P6", of 8 bits), or one that
 * is a PNG already. */
int screen_write(const unsigned char *picture, size_t size, const char *path, struct error **err);

#endif
