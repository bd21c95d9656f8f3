/* The loop that many migration tools have: read a piece, wait, write it, wait.
 *
 *     sync-copy [-a AREAS] PIECE SRC DST
 *
 * SRC and DST are NBD URIs or local files, DST also "null:". PIECE is in bytes,
 * at most 64 MiB. AREAS has a line "offset length" for each range that changed;
 * without it the whole disk is copied. It never asks for block status. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct end {
    const char *name;
    struct nbd_handle *nbd; /* NULL: a file */
    int fd;                 /* -1: null */
};

static void fail(const char *name)
{
    const char *why = nbd_get_error();

    fprintf(stderr, "sync-copy: %s: %s\n", name, why ? why : strerror(errno));
    exit(1);
}

static struct end end_open(const char *name, int flags)
{
    struct end end = { .name = name, .fd = -1 };

    if (strcmp(name, "null:") == 0)
        return end;
    if (strncmp(name, "nbd", 3) != 0 || !strstr(name, "://")) {
        end.fd = open(name, flags | O_CLOEXEC, 0600);
        if (end.fd < 0)
            fail(name);
        return end;
    }
    end.nbd = nbd_create();
    if (!end.nbd || nbd_set_uri_allow_local_file(end.nbd, true) < 0 ||
        nbd_connect_uri(end.nbd, name) < 0)
        fail(name);
    return end;
}

static uint64_t end_size(const struct end *end)
{
    int64_t size = end->nbd ? nbd_get_size(end->nbd) : lseek(end->fd, 0, SEEK_END);

    if (size < 0)
        fail(end->name);
    return size;
}

static void end_read(const struct end *end, void *buf, size_t length, uint64_t offset)
{
    if (end->nbd) {
        if (nbd_pread(end->nbd, buf, length, offset, 0) < 0)
            fail(end->name);
        return;
    }
    for (char *p = buf; length > 0;) {
        ssize_t n = pread(end->fd, p, length, offset);

        if (n <= 0)
            fail(end->name);
        p += n;
        offset += n;
        length -= n;
    }
}

static void end_write(const struct end *end, const void *buf, size_t length, uint64_t offset)
{
    if (end->nbd) {
        if (nbd_pwrite(end->nbd, buf, length, offset, 0) < 0)
            fail(end->name);
        return;
    }
    if (end->fd < 0)
        return;
    for (const char *p = buf; length > 0;) {
        ssize_t n = pwrite(end->fd, p, length, offset);

        if (n < 0)
            fail(end->name);
        p += n;
        offset += n;
        length -= n;
    }
}

static void end_flush(const struct end *end)
{
    if (end->nbd ? nbd_flush(end->nbd, 0) < 0 : end->fd >= 0 && fdatasync(end->fd) < 0)
        fail(end->name);
}

static void end_close(struct end *end)
{
    if (end->nbd)
        nbd_shutdown(end->nbd, 0);
    nbd_close(end->nbd);
    if (end->fd >= 0)
        close(end->fd);
}

static void copy_range(const struct end *src, const struct end *dst, char *buf, size_t piece,
                       uint64_t offset, uint64_t length)
{
    while (length > 0) {
        size_t n = length < piece ? length : piece;

        end_read(src, buf, n, offset);
        end_write(dst, buf, n, offset);
        offset += n;
        length -= n;
    }
}

int main(int argc, char *argv[])
{
    FILE *areas = NULL;
    size_t piece;
    char *buf;

    if (argc > 2 && strcmp(argv[1], "-a") == 0) {
        areas = fopen(argv[2], "r");
        if (!areas)
            fail(argv[2]);
        argc -= 2;
        argv += 2;
    }
    if (argc != 4) {
        fprintf(stderr, "usage: sync-copy [-a AREAS] PIECE SRC DST\n");
        return 2;
    }
    piece = strtoull(argv[1], NULL, 10);
    buf = malloc(piece);
    if (!buf || !piece)
        fail("piece");

    struct end src = end_open(argv[2], O_RDONLY);
    struct end dst = end_open(argv[3], O_WRONLY | O_CREAT);

    if (areas) {
        uint64_t offset, length;

        while (fscanf(areas, "%" SCNu64 " %" SCNu64, &offset, &length) == 2)
            copy_range(&src, &dst, buf, piece, offset, length);
        fclose(areas);
    } else {
        copy_range(&src, &dst, buf, piece, 0, end_size(&src));
    }
    end_flush(&dst);
    end_close(&src);
    end_close(&dst);
    free(buf);
    return 0;
}
