/* Merging images; see merge.h. */
#include "replica/merge.h"

#include <fcntl.h>
#include <string.h>

#include "qcow2-header.h"
#include "replica/volume.h"

static bool is_qcow2(const struct merge_image *image)
{
    return strcmp(image->format, "qcow2") == 0;
}

/* Closed to everybody else while it is open to us: its mode is private, too. */
static int check_image(const struct merge_image *image, struct error **err)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    int r;

    if (!is_qcow2(image))
        return 0;
    if (volume_unseal(image->path, err) < 0)
        return -1;
    r = volume_check_overlay(image->path, err);
    return volume_seal(image->path, r < 0 ? &ignored : err) < 0 ? -1 : r;
}

int merge_check(const struct merge_image *lower, const struct merge_image *upper,
                struct error **err)
{
    return check_image(lower, err) < 0 ? -1 : check_image(upper, err);
}

/* It stands on `lower` and on nothing else. */
static int check_backing(const struct merge_image *upper, const struct merge_image *lower,
                         struct error **err)
{
    CLEANUP(qcow2_header_free) struct qcow2_header header = { 0 };
    CLEANUP_CLOSE int fd = open(upper->path, O_RDONLY | O_CLOEXEC);
    char expected[PATH_MAX];

    if (fd < 0)
        return error_set_errno(err, errno, "opening %s", upper->path);
    if (qcow2_header_read(fd, &header, err) < 0)
        return error_prefix(err, "%s", upper->path);
    volume_backing_name(upper->path, lower->path, expected);
    if (header.backing_file && strcmp(header.backing_file, expected) == 0)
        return 0;
    return error_set(err, "%s stands on %s, and not on %s as the store says: nothing was merged",
                     upper->path, header.backing_file ? header.backing_file : "nothing",
                     lower->path);
}

static int commit(const struct merge_image *lower, const struct merge_image *upper,
                  uint64_t capacity, const struct volume_watch *watch, struct error **err)
{
    if (volume_unseal(lower->path, err) < 0 || volume_unseal(upper->path, err) < 0)
        return -1;
    /* A killed writer may have left leaked clusters. */
    if ((is_qcow2(lower) && volume_check_overlay(lower->path, err) < 0) ||
        volume_grow(lower->path, lower->format, capacity, err) < 0)
        return -1;
    return volume_commit(upper->path, watch, err) < 0 ? -1 : volume_sync(lower->path, err);
}

int merge_commit(const struct merge_image *lower, const struct merge_image *upper,
                 uint64_t capacity, const struct volume_watch *watch, struct error **err)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    int r;

    if (check_backing(upper, lower, err) < 0)
        return -1;
    r = commit(lower, upper, capacity, watch, err);
    if (volume_seal(upper->path, r < 0 ? &ignored : err) < 0)
        r = -1;
    error_clear(&ignored);
    if (volume_seal(lower->path, r < 0 ? &ignored : err) < 0)
        r = -1;
    return r;
}

int merge_rebase(const char *path, const struct merge_image *below, bool sealed, struct error **err)
{
    if (volume_unseal(path, err) < 0 ||
        volume_set_backing(path, below->path, below->format, err) < 0)
        return -1;
    return sealed ? volume_seal(path, err) : 0;
}
