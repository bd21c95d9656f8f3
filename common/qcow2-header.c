/* Reading a qcow2 header; see qcow2-header.h. */
#include "qcow2-header.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>

#include "rbd.h"

#define MAGIC                  0x514649fbU /* "QFI\xfb" */
#define VERSION_2_LENGTH       72U
#define VERSION_3_LENGTH       104U
#define BACKING_NAME_MAX       1023U
#define FORMAT_NAME_MAX        63U
#define EXTENSION_END          0U
#define EXTENSION_FORMAT       0xe2792acaU
#define EXTENSIONS_MAX         64
#define INCOMPATIBLE_DATA_FILE 4U
#define CHAIN_MAX              256

static uint32_t be32(const unsigned char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static uint64_t be64(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return be64toh(v);
}

/* All of `count` bytes, or an error. */
static int read_at(int fd, void *buf, size_t count, uint64_t offset, struct error **err)
{
    ssize_t n = pread(fd, buf, count, (off_t)offset);

    if (n < 0)
        return error_set_errno(err, errno, "reading the qcow2 header");
    if ((size_t)n != count)
        return error_set(err, "the qcow2 header is cut short");
    return 0;
}

static char *read_text(int fd, size_t length, uint64_t offset, struct error **err)
{
    CLEANUP_FREE char *text = calloc(1, length + 1);

    if (!text) {
        error_set_errno(err, ENOMEM, "reading the qcow2 header");
        return NULL;
    }
    if (read_at(fd, text, length, offset, err) < 0)
        return NULL;
    if (length == 0 || strlen(text) != length) {
        error_set(err, "the qcow2 header holds a damaged name");
        return NULL;
    }
    return steal_ptr(text);
}

static int read_backing_format(int fd, uint64_t offset, struct qcow2_header *header,
                               struct error **err)
{
    for (int i = 0; i < EXTENSIONS_MAX; i++) {
        unsigned char extension[8];
        uint32_t length;

        if (read_at(fd, extension, sizeof extension, offset, err) < 0)
            return -1;
        length = be32(extension + 4);
        if (be32(extension) == EXTENSION_END)
            return 0;
        if (be32(extension) == EXTENSION_FORMAT) {
            if (length > FORMAT_NAME_MAX)
                return error_set(err, "the qcow2 header's backing format is too long");
            header->backing_format = read_text(fd, length, offset + 8, err);
            return header->backing_format ? 0 : -1;
        }
        offset += 8 + (((uint64_t)length + 7) & ~(uint64_t)7);
    }
    return error_set(err, "the qcow2 header has too many extensions");
}

static int read_fields(int fd, struct qcow2_header *header, struct error **err)
{
    unsigned char fixed[VERSION_3_LENGTH] = { 0 };
    uint64_t name_offset;
    uint32_t name_length;
    uint64_t extensions = VERSION_2_LENGTH;

    if (read_at(fd, fixed, VERSION_2_LENGTH, 0, err) < 0)
        return -1;
    if (be32(fixed) != MAGIC)
        return error_set(err, "is not a qcow2 image");
    if (be32(fixed + 4) != 2 && be32(fixed + 4) != 3)
        return error_set(err, "is a qcow2 image of an unknown version, %u", be32(fixed + 4));
    if (be32(fixed + 4) == 3) {
        if (read_at(fd, fixed, VERSION_3_LENGTH, 0, err) < 0)
            return -1;
        header->external_data = (be64(fixed + 72) & INCOMPATIBLE_DATA_FILE) != 0;
        extensions = be32(fixed + 100);
    }
    header->size = be64(fixed + 24);
    name_offset = be64(fixed + 8);
    name_length = be32(fixed + 16);
    if (name_offset == 0)
        return 0;
    if (name_length > BACKING_NAME_MAX)
        return error_set(err, "the qcow2 header's backing file name is too long");
    header->backing_file = read_text(fd, name_length, name_offset, err);
    if (!header->backing_file)
        return -1;
    return read_backing_format(fd, extensions, header, err);
}

int qcow2_header_read(int fd, struct qcow2_header *header, struct error **err)
{
    *header = (struct qcow2_header){ 0 };
    if (read_fields(fd, header, err) < 0) {
        qcow2_header_free(header);
        return -1;
    }
    return 0;
}

void qcow2_header_free(struct qcow2_header *header)
{
    free(header->backing_file);
    free(header->backing_format);
    *header = (struct qcow2_header){ 0 };
}

/* A colon before any slash makes QEMU read a protocol: json:, nbd:, fd: … */
static bool is_plain_file(const char *name)
{
    return name[strcspn(name, ":/")] != ':';
}

/* A relative name is relative to the image that holds it, as QEMU takes it. */
static char *resolve(const char *image, const char *backing)
{
    const char *slash = strrchr(image, '/');
    char *path;

    if (backing[0] == '/' || !slash)
        return strdup(backing);
    if (asprintf(&path, "%.*s/%s", (int)(slash - image), image, backing) < 0)
        return NULL;
    return path;
}

static int check_link(const char *path, struct qcow2_header *header, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return error_set_errno(err, errno, "%s", path);
    if (qcow2_header_read(fd, header, err) < 0)
        return error_prefix(err, "%s", path);
    if (header->external_data)
        return error_set(err, "%s: keeps its data in another file, which is not supported", path);
    if (!header->backing_file)
        return 0;
    if (rbd_is_place(header->backing_file) && header->backing_format &&
        strcmp(header->backing_format, "raw") == 0)
        return 0;
    if (!is_plain_file(header->backing_file))
        return error_set(err, "%s: its backing file '%s' is not a plain file", path,
                         header->backing_file);
    if (!header->backing_format)
        return error_set(err,
                         "%s: names no format for its backing file, and formats are never "
                         "guessed; `qemu-img rebase -u -F FORMAT` writes it",
                         path);
    if (strcmp(header->backing_format, "raw") != 0 && strcmp(header->backing_format, "qcow2") != 0)
        return error_set(err, "%s: its backing file has format '%s', not raw or qcow2", path,
                         header->backing_format);
    return 0;
}

int qcow2_chain_check(const char *path, uint64_t *size, struct error **err)
{
    CLEANUP_FREE char *image = strdup(path);

    for (int depth = 0; depth < CHAIN_MAX; depth++) {
        CLEANUP(qcow2_header_free) struct qcow2_header header = { 0 };
        char *next;

        if (!image)
            return error_set_errno(err, ENOMEM, "%s", path);
        if (check_link(image, &header, err) < 0)
            return -1;
        if (depth == 0)
            *size = header.size;
        if (!header.backing_file || strcmp(header.backing_format, "qcow2") != 0)
            return 0;
        next = resolve(image, header.backing_file);
        free(image);
        image = next;
    }
    return error_set(err, "%s: its backing chain is longer than %d images", path, CHAIN_MAX);
}
