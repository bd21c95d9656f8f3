/* Change maps: load, sort, merge, look up; see changemap.h. The forms of the
 * file are in changemap-text.c and changemap-json.c. */
#include "changemap.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

#include "changemap-reader.h"

bool reader_fill(struct reader *reader)
{
    ssize_t n;

    do
        n = read(reader->fd, reader->buffer, sizeof reader->buffer);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        reader->errnum = errno;
    reader->pos = 0;
    reader->len = n > 0 ? (size_t)n : 0;
    return n > 0;
}

int reader_fail(const struct reader *reader, uint64_t line, struct error **err, const char *fmt,
                ...)
{
    CLEANUP_FREE char *text = NULL;
    va_list args;
    int r;

    va_start(args, fmt);
    r = vasprintf(&text, fmt, args);
    va_end(args);
    if (r < 0)
        text = NULL;
    return error_set(err, "%s: line %" PRIu64 ": %s", reader->map->source, line,
                     text ? text : "cannot be read");
}

static int reader_grow(struct reader *reader, struct error **err)
{
    size_t capacity = reader->capacity ? reader->capacity * 2 : 1024;
    struct range *ranges = reallocarray(reader->map->ranges, capacity, sizeof *ranges);

    if (!ranges)
        return error_set_errno(err, errno, "%s: %zu ranges", reader->map->source,
                               reader->map->count);
    reader->map->ranges = ranges;
    reader->capacity = capacity;
    return 0;
}

int reader_add(struct reader *reader, uint64_t offset, uint64_t length, uint64_t line,
               struct error **err)
{
    struct changemap *map = reader->map;
    struct range *last = map->count ? &map->ranges[map->count - 1] : NULL;

    if (offset > INT64_MAX || length > INT64_MAX - offset)
        return reader_fail(reader, line, err,
                           "offset %" PRIu64 " and length %" PRIu64
                           " end past the largest disk there can be",
                           offset, length);
    if (length == 0)
        return 0;
    if (offset + length > map->end) {
        map->end = offset + length;
        map->end_line = line;
    }
    if (last && offset >= last->offset && offset <= range_end(*last)) {
        if (offset + length > range_end(*last))
            last->length = offset + length - last->offset;
        return 0;
    }
    if (last && offset < last->offset)
        reader->sorted = false;
    if (map->count == reader->capacity && reader_grow(reader, err) < 0)
        return -1;
    map->ranges[map->count++] = (struct range){ offset, length };
    return 0;
}

/* Sort by offset, in place: radix exchange on one bit of the offset, then on the
 * next lower one in each half. The time is at most 63 passes whatever the input,
 * and no second array is needed (qsort would take one). */
static void sort_ranges(struct range *ranges, size_t count, uint64_t bit)
{
    while (count > 1 && bit) {
        size_t low = 0;
        size_t high = count;

        while (low < high) {
            if ((ranges[low].offset & bit) == 0) {
                low++;
            } else {
                struct range swap = ranges[--high];

                ranges[high] = ranges[low];
                ranges[low] = swap;
            }
        }
        bit >>= 1;
        sort_ranges(ranges, low, bit);
        ranges += low;
        count -= low;
    }
}

/* Join what touches or overlaps; the ranges are sorted. */
static void merge_ranges(struct changemap *map)
{
    size_t kept = 0;

    for (size_t i = 1; i < map->count; i++) {
        struct range *last = &map->ranges[kept];
        struct range next = map->ranges[i];

        if (next.offset > range_end(*last))
            map->ranges[++kept] = next;
        else if (range_end(next) > range_end(*last))
            last->length = range_end(next) - last->offset;
    }
    map->count = map->count ? kept + 1 : 0;
}

static void finish(struct reader *reader)
{
    struct changemap *map = reader->map;
    struct range *shrunk;

    if (!reader->sorted) {
        sort_ranges(map->ranges, map->count, UINT64_C(1) << 62);
        merge_ranges(map);
    }
    /* Keeping the larger array is no failure. */
    shrunk = map->count ? reallocarray(map->ranges, map->count, sizeof *shrunk) : NULL;
    if (shrunk)
        map->ranges = shrunk;
}

/* Open a path, or take the descriptor of "fd:N". */
static int open_source(const char *source, struct error **err)
{
    char *end;
    long number;
    int fd;

    if (strncmp(source, "fd:", 3) != 0) {
        fd = open(source, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return error_set_errno(err, errno, "%s", source);
        return fd;
    }
    errno = 0;
    number = strtol(source + 3, &end, 10);
    if (errno || end == source + 3 || *end || number <= STDERR_FILENO || number > INT_MAX)
        return error_set_kind(err, ERROR_USAGE,
                              "%s: expected fd:N, the number of an open file descriptor above 2",
                              source);
    if (fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0)
        return error_set_errno(err, errno, "%s", source);
    return (int)number;
}

/* A byte order mark, then white space: nothing that says which form follows. */
static int skip_to_content(struct reader *reader)
{
    static const unsigned char mark[] = { 0xEF, 0xBB, 0xBF };
    int c;

    for (size_t i = 0; i < sizeof mark && reader_peek(reader) == mark[i]; i++)
        reader_skip(reader);
    while ((c = reader_peek(reader)) == ' ' || c == '\t' || c == '\r' || c == '\n')
        reader_skip(reader);
    return c;
}

static int read_source(struct reader *reader, struct error **err)
{
    int first = skip_to_content(reader);

    if (first == '[' || first == '{')
        return changemap_read_json(reader, err);
    if (first == READER_END)
        return reader_fail(reader, reader->line, err,
                           "the file is empty, perhaps truncated; a map without changes is [] or "
                           "has a # comment");
    return changemap_read_text(reader, err);
}

int changemap_load(const char *source, struct changemap *map, struct error **err)
{
    CLEANUP_CHANGEMAP struct changemap loaded = CHANGEMAP_INIT;
    CLEANUP_CLOSE int fd = -1;
    struct reader reader = { .line = 1, .map = &loaded, .sorted = true };
    int r;

    *map = (struct changemap)CHANGEMAP_INIT;
    fd = open_source(source, err);
    if (fd < 0)
        return -1;
    loaded.source = strdup(source);
    if (!loaded.source)
        return error_set_errno(err, errno, "%s", source);

    reader.fd = fd;
    r = read_source(&reader, err);
    if (reader.errnum) {
        error_clear(err);
        return error_set_errno(err, reader.errnum, "%s", source);
    }
    if (r < 0)
        return -1;
    finish(&reader);
    *map = loaded;
    loaded = (struct changemap)CHANGEMAP_INIT;
    return 0;
}

int changemap_check_size(const struct changemap *map, uint64_t size, struct error **err)
{
    if (map->covered < size)
        return error_set(err,
                         "%s: the changed areas are those of the first %" PRIu64
                         " bytes of a disk of %" PRIu64 ": query on from there",
                         map->source, map->covered, size);
    if (map->end <= size)
        return 0;
    return error_set(err,
                     "%s: line %" PRIu64 ": the range ends at %" PRIu64
                     ", past the end of the disk, which has %" PRIu64 " bytes",
                     map->source, map->end_line, map->end, size);
}

size_t changemap_find(const struct changemap *map, uint64_t offset)
{
    size_t low = 0;
    size_t high = map->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (range_end(map->ranges[middle]) <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t changemap_bytes(const struct changemap *map)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < map->count; i++)
        bytes += map->ranges[i].length;
    return bytes;
}

void changemap_free(struct changemap *map)
{
    free(map->ranges);
    free(map->source);
    *map = (struct changemap)CHANGEMAP_INIT;
}
