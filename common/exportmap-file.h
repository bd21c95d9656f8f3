/* A map file: one export of nbdkit-exportmap-plugin, as JSON in a file whose name
 * is the export's. The plugin reads them; whoever gives out disks writes them.
 *
 * A writer of map files probes the disk, then writes the file:
 *
 *     struct exportmap_file map = { 0 };
 *     exportmap_file_probe ("/replicas/disk0.raw", EXPORTMAP_RAW, &map, &err);
 *     map.writable = true;
 *     map.lease = strdup ("job-17");
 *     exportmap_file_write ("/srv/exports", "vm1-disk0", &map, &err);
 *     exportmap_file_free (&map);
 *
 * All functions are thread-safe on different structs. */
#ifndef VMFERRY_EXPORTMAP_FILE_H
#define VMFERRY_EXPORTMAP_FILE_H

#include <stddef.h>
#include <sys/stat.h>

#include "exportmap-identity.h"

#define EXPORTMAP_NAME_MAX        ((size_t)200) /* bytes in an export's name */
#define EXPORTMAP_LEASE_MAX       ((size_t)128) /* bytes in a lease */
#define EXPORTMAP_FILE_MAX        ((size_t)65536)
#define EXPORTMAP_DESCRIPTION_MAX ((size_t)4096) /* bytes: the longest text of the NBD protocol */

enum exportmap_format { EXPORTMAP_RAW, EXPORTMAP_QCOW2 };

struct exportmap_file {
    char *path; /* absolute. Owned, as all strings here */
    enum exportmap_format format;
    uint64_t size; /* of the disk, bytes */
    struct exportmap_identity identity;
    bool writable;     /* mode "rw" */
    char *lease;       /* who may write; NULL: anyone */
    char *description; /* NULL: none */
};

void exportmap_file_free(struct exportmap_file *map);
const char *exportmap_format_name(enum exportmap_format format); /* "raw", "qcow2" */

/* NULL when NAME may be an export's name, else what is wrong with it ("is too
 * long" …). Allowed: valid UTF-8 of at most EXPORTMAP_NAME_MAX bytes, without
 * '/', '@' and control characters, not starting with '.', not ending like a
 * temporary file. */
const char *exportmap_name_problem(const char *name);
/* Files that are nobody's business: hidden ones, and temporary ones (NAME~, NAME.tmp). */
bool exportmap_name_ignored(const char *name);
/* 1 to EXPORTMAP_LEASE_MAX characters of A-Z a-z 0-9 . _ - */
bool exportmap_lease_ok(const char *lease);

/* Strict: an unknown or missing key, a wrong type or value is an error. The
 * caller frees *map on success; on failure nothing is left in it. */
int exportmap_file_parse(const char *text, size_t length, struct exportmap_file *map,
                         struct error **err);
/* The JSON text, with a newline; the caller frees it. NULL: out of memory. */
char *exportmap_file_format(const struct exportmap_file *map);
/* What a writer is bound to: the text of everything but mode and description.
 * Equal texts: the same disk under the same lease. The caller frees it. */
char *exportmap_file_terms(const struct exportmap_file *map);

/* Read NAME in the directory `dirfd`. A file that is not regular, not owned by
 * root or us, writable by others, or reached by a symbolic link out of the
 * directory is an error; err->errnum is ENOENT when there is none. Returns the
 * open file (the caller closes it; while it is open its inode number can't be
 * used again) and its status in *st, or -1. */
int exportmap_file_read(int dirfd, const char *name, struct exportmap_file *map, struct stat *st,
                        struct error **err);

/* Whoever may write to a map file or its directory can serve any disk of this machine: nobody but
 * the owner may. */
int exportmap_mode_check(const struct stat *st, struct error **err);

/* Fill path (made absolute), format, size and identity from the disk itself. */
int exportmap_file_probe(const char *path, enum exportmap_format format, struct exportmap_file *map,
                         struct error **err);

/* Put the export into the map or replace it, atomically and durably, mode 0600. What could not
 * be read back is an error, and nothing is written. */
int exportmap_file_write(const char *dir, const char *name, const struct exportmap_file *map,
                         struct error **err);
/* The same, but a power cut may bring the file before it back, or leave one that no server can
 * read. For where that does no harm, and time matters. */
int exportmap_file_write_soon(const char *dir, const char *name, const struct exportmap_file *map,
                              struct error **err);
/* Withdraw the export, durably. One that is not there is no error. */
int exportmap_file_remove(const char *dir, const char *name, struct error **err);

/* Wait until no process writes to the disk by this export, at most timeout_ms. Those
 * whose terms are no longer in the map let go within a second by themselves; so call
 * this after changing or withdrawing the export, before somebody else uses the disk.
 * err->errnum is EBUSY when some still hold it. */
int exportmap_wait_unwritten(const char *dir, const char *name, int timeout_ms, struct error **err);

/* Where the plugin keeps its locks, in the map directory; and an export's, in there. */
#define EXPORTMAP_STATE_DIR ".exportmap"
#define EXPORTMAP_LOCK      "%s.lock" /* % the export's name */

#endif
