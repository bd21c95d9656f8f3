/* The dirty flag of an NTFS volume; see ntfs.h. On disk: boot sector, the MFT's first
 * records, in the third of them ($Volume) the attribute $VOLUME_INFORMATION. */
#include "convert/ntfs.h"

#include <fcntl.h>
#include <string.h>

#define SECTOR             512
#define RECORD_MOST        65536
#define VOLUME_RECORD      3
#define VOLUME_INFORMATION 0x70
#define END_OF_ATTRIBUTES  0xffffffff
#define IS_DIRTY           0x0001

static uint64_t little(const unsigned char *at, unsigned bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0)
        value = value << 8 | at[bytes];
    return value;
}

/* Sizes above 0x7f are powers of two, negated. */
static uint64_t record_size(const unsigned char *boot, uint64_t cluster)
{
    signed char code = (signed char)boot[0x40];

    if (code >= 0)
        return (uint64_t)code * cluster;
    return code > -32 ? UINT64_C(1) << -code : 0;
}

/* The flags are in a resident attribute, before the first fixed-up end of a sector that matters:
 * attributes of $Volume fill some 400 bytes. */
static bool find_flags(const unsigned char *record, size_t size, unsigned *flags)
{
    size_t at = little(record + 0x14, 2);

    while (at + 24 <= size && little(record + at, 4) != END_OF_ATTRIBUTES) {
        size_t length = little(record + at + 4, 4);
        size_t content = at + little(record + at + 0x14, 2);

        if (little(record + at, 4) == VOLUME_INFORMATION && content + 12 <= size) {
            *flags = (unsigned)little(record + content + 10, 2);
            return true;
        }
        if (length < 24)
            return false;
        at += length;
    }
    return false;
}

int ntfs_is_dirty(const char *view, uint64_t start, bool *dirty, struct error **err)
{
    CLEANUP_CLOSE int fd = open(view, O_RDONLY | O_CLOEXEC);
    unsigned char boot[SECTOR], record[RECORD_MOST];
    uint64_t cluster, size, at;
    unsigned flags;

    if (fd < 0)
        return error_set_errno(err, errno, "%s", view);
    if (pread(fd, boot, sizeof boot, (off_t)start) != SECTOR || memcmp(boot + 3, "NTFS", 4) != 0)
        return error_set(err, "there is no NTFS where one was seen");
    cluster = little(boot + 0x0b, 2) *
              (boot[0x0d] <= 0x80 ? boot[0x0d] : UINT64_C(1) << (256 - boot[0x0d]));
    size = record_size(boot, cluster);
    at = start + little(boot + 0x30, 8) * cluster + VOLUME_RECORD * size;
    if (size < SECTOR || size > RECORD_MOST ||
        pread(fd, record, size, (off_t)at) != (ssize_t)size || memcmp(record, "FILE", 4) != 0 ||
        !find_flags(record, size, &flags))
        return error_set(err, "the NTFS volume has no $Volume that can be read");
    *dirty = flags & IS_DIRTY;
    return 0;
}
