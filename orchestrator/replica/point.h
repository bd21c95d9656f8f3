/* A restore point as files: which images hold each disk at that moment. What comes
 * in is a complete point of the store; what goes out is absolute paths, or rbd:… Never
 * opens or changes an image; where a base is a device, its link is set right. */
#ifndef VMFERRY_REPLICA_POINT_H
#define VMFERRY_REPLICA_POINT_H

#include <limits.h>

#include "store/store.h"

struct replica_image {
    char path[PATH_MAX]; /* absolute, or rbd:POOL/IMAGE */
    char format[8];      /* raw, qcow2 */
};

struct replica_disk {
    int64_t id;      /* restore_point_disks.id */
    int64_t disk_id; /* vm_disks.id */
    int key;
    int unit;
    uint64_t capacity;          /* bytes */
    char change_id[STORE_NAME]; /* the source's name of this moment, or "" */
    char sync_type[16];
    char digest[DIGEST_TEXT];
    char leaves[PATH_MAX];       /* absolute: the leaves file of the digest */
    struct replica_image *chain; /* [0] is this point's image, the last one the base */
    size_t chain_length;
};

struct replica_point {
    int64_t id;
    unsigned number;
    int64_t created_ms;
    struct replica_disk *disks; /* in unit order */
    size_t count;
};

/* The complete point `number` of the VM, 0: its newest. */
int replica_point_load(struct store *store, const char *state_dir, int64_t vm_id, unsigned number,
                       struct replica_point *point, struct error **err);
void replica_point_free(struct replica_point *point);
#define CLEANUP_POINT CLEANUP(replica_point_free)

#endif
