/* The journal; see journal.h. */
#include "copy/journal.h"

#include <endian.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <xxhash.h>

static const char magic[24] = "vmferry copy journal 1\n";

struct header {
    char magic[24];
    struct digest fingerprint;
    uint64_t checksum; /* of what is before it */
};

struct record {
    uint64_t offset;
    uint64_t length;
    uint32_t kind;
    uint32_t checksum; /* of what is before it, seeded with the fingerprint */
};

struct journal {
    int fd;
    char *path; /* NULL: nameless */
    uint64_t seed;
    uint64_t end; /* bytes; where the next record goes */
    struct record *batch;
    size_t batch_capacity;
};

static uint64_t fingerprint_seed(const struct digest *fingerprint)
{
    return XXH3_64bits(fingerprint, sizeof *fingerprint);
}

static uint32_t record_checksum(const struct journal *journal, const struct record *record)
{
    return (uint32_t)XXH3_64bits_withSeed(record, offsetof(struct record, checksum), journal->seed);
}

static struct header make_header(const struct digest *fingerprint)
{
    struct header header = { .fingerprint = *fingerprint };

    memcpy(header.magic, magic, sizeof magic);
    header.checksum = htole64(XXH3_64bits(&header, offsetof(struct header, checksum)));
    return header;
}

static int write_at(int fd, const void *data, size_t length, uint64_t offset)
{
    size_t done = 0;

    while (done < length) {
        ssize_t n = pwrite(fd, (const char *)data + done, length - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct range *x = a;
    const struct range *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void sort_and_merge(struct changemap *map)
{
    size_t out = 0;

    if (map->count == 0)
        return;
    qsort(map->ranges, map->count, sizeof *map->ranges, by_offset);
    for (size_t i = 0; i < map->count; i++) {
        struct range *last = out ? &map->ranges[out - 1] : NULL;

        if (!last || map->ranges[i].offset > range_end(*last))
            map->ranges[out++] = map->ranges[i];
        else if (range_end(map->ranges[i]) > range_end(*last))
            last->length = range_end(map->ranges[i]) - last->offset;
    }
    map->count = out;
}

/* Add a range; records mostly continue one another. */
static int add_range(struct changemap *map, size_t *capacity, struct range range)
{
    if (map->count && range_end(map->ranges[map->count - 1]) == range.offset) {
        map->ranges[map->count - 1].length += range.length;
        return 0;
    }
    if (map->count == *capacity) {
        size_t wanted = *capacity ? 2 * *capacity : 1024;
        struct range *grown = realloc(map->ranges, wanted * sizeof *grown);

        if (!grown)
            return -1;
        map->ranges = grown;
        *capacity = wanted;
    }
    map->ranges[map->count++] = range;
    return 0;
}

int journal_read(struct journal *journal, bool written, struct changemap *ranges,
                 struct error **err)
{
    struct record records[512];
    size_t capacity = 0;
    uint64_t offset = sizeof(struct header);
    bool torn = false;

    *ranges = (struct changemap)CHANGEMAP_INIT;
    while (!torn) {
        ssize_t n = pread(journal->fd, records, sizeof records, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            changemap_free(ranges);
            return error_set_errno(err, errno, "reading the journal");
        }
        torn = (size_t)n < sizeof records;
        for (size_t i = 0; i < (size_t)n / sizeof *records; i++) {
            struct range range = { le64toh(records[i].offset), le64toh(records[i].length) };

            if (record_checksum(journal, &records[i]) != le32toh(records[i].checksum)) {
                torn = true;
                break;
            }
            offset += sizeof *records;
            if (written && le32toh(records[i].kind) == JOURNAL_SAME)
                continue;
            if (add_range(ranges, &capacity, range) < 0) {
                changemap_free(ranges);
                return error_set_errno(err, ENOMEM, "reading the journal");
            }
        }
    }
    journal->end = offset;
    sort_and_merge(ranges);
    return 0;
}

static int start_afresh(struct journal *journal, const struct digest *fingerprint,
                        struct error **err)
{
    struct header header = make_header(fingerprint);

    if (ftruncate(journal->fd, 0) < 0 || write_at(journal->fd, &header, sizeof header, 0) < 0 ||
        fsync(journal->fd) < 0)
        return error_set_errno(err, errno, "writing");
    journal->end = sizeof header;
    return 0;
}

int journal_forget(struct journal *journal, struct error **err)
{
    if (ftruncate(journal->fd, sizeof(struct header)) < 0 || fsync(journal->fd) < 0)
        return error_set_errno(err, errno, "writing");
    journal->end = sizeof(struct header);
    return 0;
}

static int read_header(struct journal *journal, const struct digest *fingerprint,
                       struct changemap *durable, struct error **err)
{
    struct header wanted = make_header(fingerprint);
    struct header header = { 0 };
    struct stat st;
    ssize_t n = pread(journal->fd, &header, sizeof header, 0);

    if (n < 0 || fstat(journal->fd, &st) < 0)
        return error_set_errno(err, errno, "reading");
    /* A crash while it was made: nothing was copied yet. */
    if (st.st_size == 0 || (n < (ssize_t)sizeof header && memcmp(&header, &wanted, (size_t)n) == 0))
        return start_afresh(journal, fingerprint, err);
    if (memcmp(header.magic, magic, sizeof magic) != 0)
        return error_set_kind(err, ERROR_USAGE,
                              "this is no journal of vmferry copy; name another file");
    if (memcmp(&header, &wanted, sizeof header) != 0)
        return error_set_kind(err, ERROR_USAGE,
                              "this is the journal of another copy (other source, destination, "
                              "size, change map or options); remove it to start afresh");
    if (journal_read(journal, false, durable, err) < 0)
        return -1;
    if (ftruncate(journal->fd, (off_t)journal->end) < 0)
        return error_set_errno(err, errno, "cutting off a torn record");
    return 0;
}

static int open_file(struct journal *journal, const char *path, struct error **err)
{
    const char *directory = getenv("TMPDIR");

    if (!path) {
        if (!directory || !*directory)
            directory = "/var/tmp";
        journal->fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (journal->fd < 0)
            return error_set_errno(err, errno, "a temporary file in %s", directory);
        return 0;
    }
    journal->path = strdup(path);
    journal->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (!journal->path || journal->fd < 0)
        return error_set_errno(err, errno, "opening");
    if (flock(journal->fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, "another copy is using it");
    return 0;
}

struct journal *journal_open(const char *path, const struct digest *fingerprint,
                             struct changemap *durable, struct error **err)
{
    struct journal *journal = calloc(1, sizeof *journal);

    *durable = (struct changemap)CHANGEMAP_INIT;
    if (!journal) {
        error_set_errno(err, ENOMEM, "opening the journal");
        return NULL;
    }
    journal->fd = -1;
    journal->seed = fingerprint_seed(fingerprint);
    if (open_file(journal, path, err) < 0 || (path ? read_header(journal, fingerprint, durable, err)
                                                   : start_afresh(journal, fingerprint, err)) < 0) {
        error_prefix(err, "journal%s%s", path ? " " : "", path ? path : "");
        journal_close(journal);
        return NULL;
    }
    return journal;
}

int journal_add(struct journal *journal, const struct journal_range *ranges, size_t count,
                struct error **err)
{
    if (count > journal->batch_capacity) {
        struct record *grown = realloc(journal->batch, count * sizeof *grown);

        if (!grown)
            return error_set_errno(err, ENOMEM, "writing the journal");
        journal->batch = grown;
        journal->batch_capacity = count;
    }
    for (size_t i = 0; i < count; i++) {
        struct record *record = &journal->batch[i];

        *record = (struct record){ .offset = htole64(ranges[i].offset),
                                   .length = htole64(ranges[i].length),
                                   .kind = htole32(ranges[i].kind) };
        record->checksum = htole32(record_checksum(journal, record));
    }
    if (write_at(journal->fd, journal->batch, count * sizeof *journal->batch, journal->end) < 0 ||
        (journal->path && fdatasync(journal->fd) < 0))
        return error_set_errno(err, errno, "writing the journal %s",
                               journal->path ? journal->path : "(a temporary file)");
    journal->end += count * sizeof *journal->batch;
    return 0;
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    if (journal->fd >= 0)
        close(journal->fd);
    free(journal->path);
    free(journal->batch);
    free(journal);
}
