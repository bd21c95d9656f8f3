/* Writing blocks into an image; see patch.h. */
#include "replica/patch.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libnbd.h>
#include <string.h>
#include <sys/stat.h>

#include "qcow2-header.h"
#include "replica/view.h"
#include "replica/volume.h"

#define CHUNK 65536

static void close_nbd(struct nbd_handle **nbd)
{
    if (*nbd)
        nbd_close(*nbd);
}

static int fail_nbd(const char *what, struct error **err)
{
    return error_set(err, "%s: %s", what, nbd_get_error());
}

static int read_block(int fd, char *buffer, size_t length, uint64_t offset, struct error **err)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = pread(fd, buffer + done, length - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set_errno(err, n < 0 ? errno : EIO, "reading a block to write");
        done += (size_t)n;
    }
    return 0;
}

/* One of the two is the way to write. */
struct writer {
    int fd;
    struct nbd_handle *nbd;
};

static int write_chunk(const struct writer *to, const char *buffer, size_t length, uint64_t offset,
                       struct error **err)
{
    if (to->nbd)
        return nbd_pwrite(to->nbd, buffer, length, offset, 0) < 0 ? fail_nbd("writing", err) : 0;
    for (size_t done = 0; done < length;) {
        ssize_t n = pwrite(to->fd, buffer + done, length - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set_errno(err, n < 0 ? errno : EIO, "writing");
        done += (size_t)n;
    }
    return 0;
}

static int write_blocks(const struct writer *to, const struct patch_block *blocks, size_t count,
                        int data_fd, struct error **err)
{
    char buffer[CHUNK];

    for (size_t i = 0; i < count; i++) {
        for (uint64_t done = 0; done < blocks[i].length;) {
            uint64_t left = blocks[i].length - done, at = blocks[i].offset + done;
            size_t length = left < CHUNK ? left : CHUNK;

            if (read_block(data_fd, buffer, length, at, err) < 0 ||
                write_chunk(to, buffer, length, at, err) < 0)
                return error_prefix(err, "offset %" PRIu64, at);
            done += length;
        }
    }
    return 0;
}

static int write_file(const char *path, const struct patch_block *blocks, size_t count, int data_fd,
                      struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    const struct writer to = { .fd = fd };

    if (fd < 0)
        return error_set_errno(err, errno, "opening");
    if (write_blocks(&to, blocks, count, data_fd, err) < 0)
        return -1;
    return fsync(fd) < 0 ? error_set_errno(err, errno, "flushing") : 0;
}

static int write_nbd(const char *uri, const struct patch_block *blocks, size_t count, int data_fd,
                     struct error **err)
{
    CLEANUP(close_nbd) struct nbd_handle *nbd = nbd_create();
    const struct writer to = { .fd = -1, .nbd = nbd };

    if (!nbd || nbd_connect_uri(nbd, uri) < 0)
        return fail_nbd("connecting", err);
    if (write_blocks(&to, blocks, count, data_fd, err) < 0)
        return -1;
    if (nbd_flush(nbd, 0) < 0)
        return fail_nbd("flushing", err);
    nbd_shutdown(nbd, 0);
    return 0;
}

/* More than all that an image of this disk can refer to. */
static uint64_t longest(uint64_t capacity)
{
    return capacity + capacity / 512 + (UINT64_C(16) << 20);
}

/* One whose end is cut off gets a hole for it, so that it can be written again. Refused when its
 * tables were there, too. */
static int mend_end(const char *path, struct error **err)
{
    CLEANUP(qcow2_header_free) struct qcow2_header header = { 0 };
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "opening");
    if (qcow2_header_read(fd, &header, err) < 0)
        return -1;
    if (ftruncate(fd, (off_t)longest(header.size)) < 0)
        return error_set_errno(err, errno, "making it longer");
    if (volume_check_overlay(path, err) == 0)
        return 0;
    if (ftruncate(fd, st.st_size) < 0)
        return error_append(err, "making it shorter again: %s", strerror(errno));
    return -1;
}

static int check_overlay(const char *path, struct error **err)
{
    if (volume_check_overlay(path, err) == 0)
        return 0;
    if (!strstr(error_message(*err), "exceeding the end of the file"))
        return -1;
    error_clear(err);
    return mend_end(path, err);
}

static int write_image(const char *state_dir, const struct replica_image *image,
                       const struct patch_block *blocks, size_t count, int data_fd,
                       struct error **err)
{
    CLEANUP_VIEW struct replica_view view = REPLICA_VIEW_INIT;

    if (strcmp(image->format, "raw") == 0 && !volume_is_rbd(image->path))
        return write_file(image->path, blocks, count, data_fd, err);
    if (strcmp(image->format, "qcow2") == 0 && check_overlay(image->path, err) < 0)
        return -1;
    if (replica_view_open_writable(state_dir, image->path, image->format, &view, err) < 0)
        return -1;
    return write_nbd(view.place, blocks, count, data_fd, err);
}

int patch_image(const char *state_dir, const struct replica_image *image,
                const struct patch_block *blocks, size_t count, int data_fd, struct error **err)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    int r;

    if (volume_unseal(image->path, err) < 0)
        return -1;
    r = write_image(state_dir, image, blocks, count, data_fd, err);
    if (r == 0)
        r = volume_sync(image->path, err);
    if (volume_seal(image->path, r < 0 ? &ignored : err) < 0)
        r = -1;
    return r < 0 ? error_prefix(err, "%s", image->path) : 0;
}
