/* Screenshots; see screen.h. */
#include "failover/screen.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

#define PICTURE_MOST ((size_t)64 << 20)
#define SIDE_MOST    16384

struct picture {
    unsigned char *bytes;
    size_t size;
};

static void free_picture(struct picture *picture)
{
    free(picture->bytes);
}

static void free_stream(virStreamPtr *stream)
{
    if (*stream)
        virStreamFree(*stream);
}

static int receive(virStreamPtr stream, struct picture *picture, struct error **err)
{
    size_t room = 0;
    int got;

    for (;;) {
        if (picture->size == room) {
            unsigned char *grown = realloc(picture->bytes, room + (1 << 20));

            if (!grown || room >= PICTURE_MOST)
                return error_set(err, "the picture is too large");
            picture->bytes = grown;
            room += 1 << 20;
        }
        got = virStreamRecv(stream, (char *)picture->bytes + picture->size, room - picture->size);
        if (got < 0)
            return libvirt_error(err, "receiving the picture");
        if (got == 0)
            return 0;
        picture->size += (size_t)got;
    }
}

/* A number of a PPM's head, and one character of white space behind it. */
static int take_number(const unsigned char *bytes, size_t size, size_t *at, unsigned *number)
{
    size_t start;

    while (*at < size && (isspace(bytes[*at]) || bytes[*at] == '#')) {
        if (bytes[*at] == '#') {
            while (*at < size && bytes[*at] != '\n')
                (*at)++;
        } else {
            (*at)++;
        }
    }
    *number = 0;
    for (start = *at; *at < size && isdigit(bytes[*at]) && *at - start < 6; (*at)++)
        *number = *number * 10 + (unsigned)(bytes[*at] - '0');
    return *at > start && *at < size && isspace(bytes[*at]) ? 0 : -1;
}

static int write_png(const unsigned char *pixels, unsigned width, unsigned height, const char *path,
                     struct error **err)
{
    png_image image = {
        .version = PNG_IMAGE_VERSION, .width = width, .height = height, .format = PNG_FORMAT_RGB
    };

    if (!png_image_write_to_file(&image, path, 0, pixels, 0, NULL)) {
        unlink(path);
        return error_set(err, "writing %s: %s", path, image.message);
    }
    return 0;
}

static int write_as_it_is(const unsigned char *bytes, size_t size, const char *path,
                          struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) {
        unlink(path);
        return error_set_errno(err, errno, "writing %s", path);
    }
    return 0;
}

int screen_write(const unsigned char *picture, size_t size, const char *path, struct error **err)
{
    unsigned width, height, most;
    size_t at = 2;

    if (size > 8 && png_sig_cmp(picture, 0, 8) == 0)
        return write_as_it_is(picture, size, path, err);
    if (size < 2 || memcmp(picture, "P6", 2) != 0 || take_number(picture, size, &at, &width) < 0 ||
        take_number(picture, size, &at, &height) < 0 ||
        take_number(picture, size, &at, &most) < 0 || most != 255 || !width || !height ||
        width > SIDE_MOST || height > SIDE_MOST || size - at - 1 < (size_t)width * height * 3)
        return error_set(err, "the picture is neither a PPM of 8 bits nor a PNG");
    return write_png(picture + at + 1, width, height, path, err);
}

int screen_save(virDomainPtr domain, const char *path, struct error **err)
{
    CLEANUP(free_stream)
    virStreamPtr stream = virStreamNew(virDomainGetConnect(domain), 0);
    CLEANUP(free_picture) struct picture picture = { 0 };
    char part[PATH_MAX];
    char *type = stream ? virDomainScreenshot(domain, stream, 0, 0) : NULL;

    if (!type)
        return libvirt_error(err, "taking a picture of the screen");
    free(type);
    if (receive(stream, &picture, err) < 0) {
        virStreamAbort(stream);
        return -1;
    }
    virStreamFinish(stream);
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return error_set(err, "%s is too long", path);
    if (screen_write(picture.bytes, picture.size, part, err) < 0)
        return -1;
    return rename(part, path) == 0 ? 0 : error_set_errno(err, errno, "writing %s", path);
}
