/* The files of a replica: one base a disk, qcow2 overlays on it, and for each image the
 * leaves of its digest. They lie in
 *
 *     STATE/replicas/<vm uuid>/disk-<key>/base.raw, point-0002.qcow2,
 *                                         point-0001.leaves, point-0001.journal
 *
 * or, base and overlays, in a pool (pool.h). What comes in are paths and sizes; nothing here knows
 * the store. Whatever these functions make is on stable storage when they return. */
#ifndef VMFERRY_VOLUME_H
#define VMFERRY_VOLUME_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* The files that point `number` of one disk consists of, relative to the state directory. */
struct volume_names {
    char image[512];
    char leaves[512];
    char journal[512]; /* of the copy, while it is unfinished */
    char resend[512];  /* the journal of one that sends all of an overlay's disk */
    char changes[512]; /* the change map of the copy, likewise */
};
void volume_names(const char *vm_uuid, int key, unsigned number, bool base,
                  struct volume_names *names);

/* The place of an image as it stands in the store, to be opened: "STATE/RELATIVE"; what is
 * absolute, or "rbd:POOL/IMAGE", stays. ENAMETOOLONG when it does not fit. */
int volume_path(const char *state_dir, const char *place, char path[PATH_MAX], struct error **err);

/* "rbd:…": no file. The functions below work on it as on a file where that makes sense. */
bool volume_is_rbd(const char *path);
/* A block device, or a link to one. */
bool volume_is_device(const char *path);
int volume_device_size(const char *path, uint64_t *size, struct error **err);

/* Make the folders above this file. */
int volume_make_folder(const char *path, struct error **err);
bool volume_exists(const char *path);
bool volume_is_sealed(const char *path);
/* A file that is not sealed. */
bool volume_is_open(const char *path);

/* A sparse raw file of `capacity` bytes that reads as zeroes. It must not exist. */
int volume_create_base(const char *path, uint64_t capacity, struct error **err);
/* An empty qcow2 overlay on `backing`. */
int volume_create_overlay(const char *path, const char *backing, const char *backing_format,
                          uint64_t capacity, struct error **err);
/* The same without a backing file when that is NULL. errnum is ENOSPC where it is so. */
int volume_create_qcow2(const char *path, const char *backing, const char *backing_format,
                        uint64_t capacity, struct error **err);
/* Bytes that it takes in its file system; 0 for devices, and for what is not there. */
uint64_t volume_allocated(const char *path);
/* Repair what a killed writer may leave in an overlay (leaked clusters). An error
 * when it is damaged beyond that, or still in use. */
int volume_check_overlay(const char *path, struct error **err);

/* How `path` names an image that it stands on: by its last part when both lie in one folder. */
void volume_backing_name(const char *path, const char *backing, char name[PATH_MAX]);
/* The overlay stands on `backing` from now on; its data is not looked at. */
int volume_set_backing(const char *path, const char *backing, const char *backing_format,
                       struct error **err);
/* The data that the overlay holds, into the image that it stands on. The overlay stays as it
 * is; sync the other one. It may be stopped at any time (errnum ECANCELED), and done again. */
struct volume_watch {
    atomic_int *stop; /* NULL: nobody stops it */
    void (*progress)(void *opaque, double percent);
    void *opaque;
};
int volume_commit(const char *path, const struct volume_watch *watch, struct error **err);
/* At least `capacity` bytes from now on; what is new reads as zeroes. */
int volume_grow(const char *path, const char *format, uint64_t capacity, struct error **err);

/* A copy that can be changed alone: shares its data where the file system can, and
 * is as sparse as the original elsewhere. An existing `to` is replaced. */
int volume_clone(const char *from, const char *to, struct error **err);

/* Another name of the same file. */
int volume_link(const char *from, const char *to, struct error **err);

/* The symbolic link `path`, made when missing, leads to `target`: atomically, and durably. */
int volume_turn_link(const char *path, const char *target, struct error **err);

/* The file and its folder are on stable storage. */
int volume_sync(const char *path, struct error **err);
/* The folder's entry for it is. */
int volume_sync_folder(const char *path, struct error **err);
/* Nobody writes to it any more. Devices and RBD images have no mode to say so. */
int volume_seal(const char *path, struct error **err);
/* For us to write to it again. */
int volume_unseal(const char *path, struct error **err);
/* A file that is not there is no error. */
int volume_remove(const char *path, struct error **err);

#endif
