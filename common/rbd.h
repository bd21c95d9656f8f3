/* Images of Ceph RBD by their place, "rbd:POOL[/NAMESPACE]/IMAGE[:conf=FILE][:id=USER]",
 * as QEMU writes it. Everything is done by the rbd program, whose key stays in Ceph's own
 * keyring. Nothing here knows of pools or disks. */
#ifndef VMFERRY_RBD_H
#define VMFERRY_RBD_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

bool rbd_is_place(const char *text);
/* Its parts; "" where it names none. */
#define RBD_TEXT 1024
void rbd_split(const char *place, char image[RBD_TEXT], char config[RBD_TEXT], char user[RBD_TEXT]);
bool rbd_exists(const char *place);
/* It reads as zeroes. It must not exist. */
int rbd_create(const char *place, uint64_t capacity, struct error **err);
/* Its size, and the id that no other image of the pool ever has. */
#define RBD_ID 64
int rbd_stat(const char *place, uint64_t *size, char id[RBD_ID], struct error **err);
int rbd_grow(const char *place, uint64_t capacity, struct error **err);
/* One that is not there is no error. */
int rbd_remove(const char *place, struct error **err);
/* The pool POOL[/NAMESPACE] answers. */
int rbd_check_pool(const char *pool, const char *config, const char *user, struct error **err);
/* What can still be written to the pool, and what it could hold in all; 0 and 0 when the
 * cluster does not know (it has no manager). */
int rbd_space(const char *pool, const char *config, const char *user, uint64_t *free_bytes,
              uint64_t *total, struct error **err);

#endif
