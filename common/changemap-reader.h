/* How the text and the JSON form of a change map read their source: a byte at a
 * time from a fixed buffer, so that memory does not grow with the file. Private
 * to changemap*.c. */
#ifndef VMFERRY_CHANGEMAP_READER_H
#define VMFERRY_CHANGEMAP_READER_H

#include <stdbool.h>

#include "changemap.h"

#define READER_END (-1)

struct reader {
    int fd;
    uint64_t line; /* of the next byte, from 1 */
    size_t pos, len;
    int errnum; /* why reading stopped before the end, or 0 */
    /* What has been read so far. */
    struct changemap *map;
    size_t capacity; /* of map->ranges */
    bool sorted;
    unsigned char buffer[65536];
};

/* Read more; false at the end, and when reading failed (then errnum is set). */
bool reader_fill(struct reader *reader);

/* The next byte, which stays; or READER_END. */
static inline int reader_peek(struct reader *reader)
{
    if (reader->pos == reader->len && !reader_fill(reader))
        return READER_END;
    return reader->buffer[reader->pos];
}

/* Pass over the byte that reader_peek() has just shown. */
static inline void reader_skip(struct reader *reader)
{
    reader->line += reader->buffer[reader->pos++] == '\n';
}

/* An error that names the line. Returns -1. */
int reader_fail(const struct reader *reader, uint64_t line, struct error **err, const char *fmt,
                ...) __attribute__((format(printf, 4, 5)));

/* Put one range, found at `line`, into the map. Length 0 is no range. */
int reader_add(struct reader *reader, uint64_t offset, uint64_t length, uint64_t line,
               struct error **err);

/* The two forms. They read to the end of the source. A failed read looks like
 * the end to them; the caller looks at errnum first. */
int changemap_read_text(struct reader *reader, struct error **err);
int changemap_read_json(struct reader *reader, struct error **err);

#endif
