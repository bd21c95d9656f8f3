/* Walking through an initramfs; see initramfs.h. The format: Documentation of the kernel,
 * driver-api/early-userspace/buffer-format. */
#include "convert/initramfs.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

#include "process.h"

#define HEADER    110
#define NAME_MOST 4096
#define UNPACK_MS 120000
#define BUILTIN   "/modules.builtin"

/* What the kernel unpacks, by its first bytes. */
static const struct packing {
    const char *magic;
    size_t length;
    const char *argv[4];
} packings[] = {
    { "\x1f\x8b", 2, { "gzip", "-dc" } },
    { "\x28\xb5\x2f\xfd", 4, { "zstd", "-dcq" } },
    { "\xfd"
      "7zXZ",
      5,
      { "xz", "-dcq" } },
    { "\x5d\0\0", 3, { "xz", "--format=lzma", "-dcq" } },
    { "\x02\x21\x4c\x18", 4, { "lz4", "-dcq" } },
    { "BZh", 3, { "bzip2", "-dcq" } },
    { "\x89LZO", 4, { "lzop", "-dcq" } },
};

static void note(const char *path, struct initramfs_drivers *drivers)
{
    drivers->pci |= strstr(path, "/virtio_pci.ko") != NULL;
    drivers->blk |= strstr(path, "/virtio_blk.ko") != NULL;
    drivers->scsi |= strstr(path, "/virtio_scsi.ko") != NULL;
}

void initramfs_scan_builtin(FILE *file, struct initramfs_drivers *drivers)
{
    char line[1024];

    while (fgets(line, sizeof line, file))
        note(line, drivers);
}

bool initramfs_can(const struct initramfs_drivers *drivers, const char *bus)
{
    return drivers->pci && (strcmp(bus, "scsi") == 0 ? drivers->scsi : drivers->blk);
}

/* Pipes can't seek. */
static bool skip(FILE *file, size_t bytes)
{
    char buf[65536];

    while (bytes > 0) {
        size_t n = fread(buf, 1, bytes < sizeof buf ? bytes : sizeof buf, file);

        if (n == 0)
            return false;
        bytes -= n;
    }
    return true;
}

static size_t padding(size_t length)
{
    return (4 - length % 4) % 4;
}

/* The 8 hexadecimal digits of field `index` of a header. */
static size_t field(const char *header, unsigned index)
{
    char digits[9] = "";

    memcpy(digits, header + 6 + index * 8, 8);
    return strtoul(digits, NULL, 16);
}

/* The content of a file in the archive. */
static bool pass(FILE *file, const char *name, size_t size, struct initramfs_drivers *drivers)
{
    size_t length = strlen(name);
    bool is_builtin =
        length > strlen(BUILTIN) && strcmp(name + length - strlen(BUILTIN), BUILTIN) == 0;
    CLEANUP_FREE char *content = NULL;
    CLEANUP_FCLOSE FILE *lines = NULL;

    if (!is_builtin || size == 0 || size > (1 << 20))
        return skip(file, size + padding(size));
    content = malloc(size + 4);
    if (!content || fread(content, 1, size + padding(size), file) < size)
        return false;
    lines = fmemopen(content, size, "r");
    if (lines)
        initramfs_scan_builtin(lines, drivers);
    return true;
}

/* One entry behind its magic. 1: it was the last one; -1: the archive is broken off. */
static int walk_entry(FILE *file, const char *magic, struct initramfs_drivers *drivers)
{
    char header[HEADER], name[NAME_MOST];
    size_t length;

    memcpy(header, magic, 6);
    if (fread(header + 6, 1, HEADER - 6, file) < HEADER - 6)
        return -1;
    length = field(header, 11);
    if (length == 0 || length > NAME_MOST || fread(name, 1, length, file) < length)
        return -1;
    name[length - 1] = '\0';
    if (!skip(file, padding(HEADER + length)))
        return -1;
    if (strcmp(name, "TRAILER!!!") == 0)
        return 1;
    note(name, drivers);
    drivers->files++;
    return pass(file, name, field(header, 6), drivers) ? 0 : -1;
}

/* Entries until something else comes, whose first bytes are then in `next`. Returns how many of
 * them there are (0: the end), -1: broken off. */
static int walk_archives(FILE *file, char next[6], struct initramfs_drivers *drivers)
{
    bool ended = true;

    for (;;) {
        int c = fgetc(file), r;
        size_t n;

        if (c == 0)
            continue; /* zeroes stand between archives */
        if (c == EOF)
            return ended ? 0 : -1;
        next[0] = (char)c;
        n = 1 + fread(next + 1, 1, 5, file);
        if (n < 6 || (memcmp(next, "070701", 6) != 0 && memcmp(next, "070702", 6) != 0))
            return (int)n;
        r = walk_entry(file, next, drivers);
        if (r < 0)
            return -1;
        ended = r == 1;
    }
}

static const struct packing *packing_of(const char *next, size_t length)
{
    for (size_t i = 0; i < sizeof packings / sizeof packings[0]; i++) {
        if (length >= packings[i].length &&
            memcmp(next, packings[i].magic, packings[i].length) == 0)
            return &packings[i];
    }
    return NULL;
}

/* The rest of the file from here on, unpacked. */
static int walk_packed(FILE *file, long start, const struct packing *packing,
                       struct initramfs_drivers *drivers, struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    size_t before = drivers->files;
    CLEANUP_FCLOSE FILE *unpacked = NULL;
    int ends[2];
    char next[6];
    pid_t pid;
    int r;

    if (lseek(fileno(file), start, SEEK_SET) < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, errno, "reading an initramfs");
    options.stdin_fd = fileno(file);
    options.stdout_fd = ends[1];
    options.die_with_parent = true;
    pid = process_start(packing->argv, &options, err);
    close(ends[1]);
    unpacked = fdopen(ends[0], "re");
    if (pid < 0 || !unpacked)
        return *err ? -1 : error_set_errno(err, errno, "reading an initramfs");
    r = walk_archives(unpacked, next, drivers);
    process_stop(pid, 0);
    return r < 0 || drivers->files == before
               ? error_set(err, "an initramfs (%s) is broken off", packing->argv[0])
               : 0;
}

int initramfs_scan(FILE *file, struct initramfs_drivers *drivers, struct error **err)
{
    const struct packing *packing;
    char next[6];
    int n = walk_archives(file, next, drivers);

    if (n < 0)
        return error_set(err, "an initramfs is broken off");
    if (n == 0)
        return 0;
    packing = packing_of(next, (size_t)n);
    if (!packing)
        return error_set(err, "an initramfs is packed in a way that is not known");
    return walk_packed(file, ftell(file) - n, packing, drivers, err);
}
