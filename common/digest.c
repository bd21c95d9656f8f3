/* The digest of a disk; see digest.h for what is hashed.
 *
 * In: a leaves file, which may be as sparse as the disk. Out: the root. The tree
 * is folded left to right, one open node a level, so memory is O(levels × fanout)
 * and holes are never read. Never reads the disk itself. */
#include "digest.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h> /* the widest vectors of this CPU, chosen at run time */
#endif

#define LEAF sizeof(struct digest)

/* 256^8 leaves of 64 KiB are more than any disk has. */
#define MAX_LEVELS 9

static const char digest_label[16] = { 'v', 'm', 'f', 'e', 'r', 'r', 'y', '-',
                                       'd', 'i', 'g', 'e', 's', 't', '-', '1' };
static const char text_prefix[] = "xxh3-64k:";

/* Where a node of the tree is put together. The children that were not given
 * are zero. */
struct level {
    struct digest children[DIGEST_FANOUT];
    uint64_t index; /* of the node, counted from the left of its level */
    bool open;      /* some child is not zero */
};

struct tree {
    struct level levels[MAX_LEVELS]; /* [0] has leaves for children */
    unsigned depth;                  /* levels in use; the top node closes the last */
    struct digest top;
};

static bool is_zero(const void *data, size_t length)
{
    const uint8_t *p = data;

    /* If the first byte is zero and each equals its successor, all are. */
    return p[0] == 0 && memcmp(p, p + 1, length - 1) == 0;
}

static struct digest hash(const void *data, size_t length)
{
    struct digest digest;
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, length));
    memcpy(digest.bytes, canonical.digest, sizeof digest.bytes);
    return digest;
}

struct digest digest_leaf(const void *block, size_t length)
{
    return is_zero(block, length) ? (struct digest){ 0 } : hash(block, length);
}

static void tree_put(struct tree *tree, unsigned level, uint64_t index,
                     const struct digest *digest);

/* The open node of a level is complete: hand it to the level above. */
static void tree_close(struct tree *tree, unsigned level)
{
    struct level *l = &tree->levels[level];
    struct digest node;

    if (!l->open)
        return;
    node = hash(l->children, sizeof l->children);
    memset(l->children, 0, sizeof l->children);
    l->open = false;
    tree_put(tree, level + 1, l->index, &node);
}

/* Put a digest that is not zero at its place. Indexes of a level only ascend. */
static void tree_put(struct tree *tree, unsigned level, uint64_t index, const struct digest *digest)
{
    struct level *l = &tree->levels[level];

    if (level == tree->depth) {
        tree->top = *digest;
        return;
    }
    if (l->index != index / DIGEST_FANOUT)
        tree_close(tree, level);
    l->index = index / DIGEST_FANOUT;
    l->open = true;
    l->children[index % DIGEST_FANOUT] = *digest;
}

static uint64_t leaves_of(uint64_t size)
{
    return size / DIGEST_BLOCK + (size % DIGEST_BLOCK != 0);
}

uint64_t digest_leaves_size(uint64_t size)
{
    return leaves_of(size) * LEAF;
}

static unsigned tree_depth(uint64_t leaves)
{
    unsigned depth = 0;

    for (; leaves > 1; leaves = (leaves - 1) / DIGEST_FANOUT + 1)
        depth++;
    return depth;
}

/* Put the leaves that the file has in [offset, end) into the tree. */
static int put_leaves(struct tree *tree, int fd, uint64_t offset, uint64_t end, struct error **err)
{
    struct digest leaves[1024];

    while (offset < end) {
        size_t want = end - offset < sizeof leaves ? end - offset : sizeof leaves;
        ssize_t got = pread(fd, leaves, want, offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set_errno(err, errno, "reading the leaves at byte %" PRIu64, offset);
        if (got == 0)
            return 0;
        if (got % LEAF)
            return error_set(err, "the leaves file ends inside a leaf, at byte %" PRIu64,
                             offset + got);
        for (size_t i = 0; i < got / LEAF; i++) {
            if (!is_zero(&leaves[i], LEAF))
                tree_put(tree, 0, offset / LEAF + i, &leaves[i]);
        }
        offset += got;
    }
    return 0;
}

/* The next data of the file in [*start, end), rounded out to whole leaves.
 * Returns 1, or 0 when there is no more. A file system that cannot tell says
 * that all is data. */
static int next_data(int fd, uint64_t *start, uint64_t *stop, uint64_t end, struct error **err)
{
    off_t data, hole;

    if (*start >= end)
        return 0;
    data = lseek(fd, *start, SEEK_DATA);
    if (data < 0 && errno == ENXIO)
        return 0;
    hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
    if (data < 0 || hole < 0) {
        if (errno != EINVAL && errno != EOPNOTSUPP)
            return error_set_errno(err, errno, "looking for data in the leaves file");
        *stop = end;
        return 1;
    }
    if ((uint64_t)data >= end)
        return 0;
    *start = data - data % LEAF;
    *stop = hole + (LEAF - hole % LEAF) % LEAF;
    if (*stop > end)
        *stop = end;
    return 1;
}

int digest_root(int leaves_fd, uint64_t size, struct digest *root, struct error **err)
{
    uint64_t leaves = leaves_of(size);
    uint64_t end = leaves * LEAF, start = 0, stop = 0;
    struct {
        char label[16];
        uint64_t size_le;
        struct digest top;
    } covered;
    CLEANUP_FREE struct tree *tree = calloc(1, sizeof *tree);
    int more;

    if (!tree)
        return error_set_errno(err, errno, "digest");
    tree->depth = tree_depth(leaves);
    while ((more = next_data(leaves_fd, &start, &stop, end, err)) > 0) {
        if (put_leaves(tree, leaves_fd, start, stop, err) < 0)
            return -1;
        start = stop;
    }
    if (more < 0)
        return -1;
    for (unsigned i = 0; i < tree->depth; i++)
        tree_close(tree, i);

    memcpy(covered.label, digest_label, sizeof covered.label);
    covered.size_le = htole64(size);
    covered.top = tree->top;
    *root = hash(&covered, sizeof covered);
    return 0;
}

/* Exactly `length` bytes; what the file does not have is zero. */
static int read_leaves(int fd, void *buf, size_t length, uint64_t offset, struct error **err)
{
    size_t done = 0;

    while (done < length) {
        ssize_t got = pread(fd, (char *)buf + done, length - done, offset + done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set_errno(err, errno, "reading the leaves at byte %" PRIu64, offset);
        if (got == 0)
            break;
        done += got;
    }
    memset((char *)buf + done, 0, length - done);
    return 0;
}

/* The run of differing blocks that is being put together. */
struct run {
    uint64_t offset, length;
    void (*differs)(void *opaque, uint64_t offset, uint64_t length);
    void *opaque;
};

static void run_add(struct run *run, uint64_t offset, uint64_t length)
{
    if (run->offset + run->length != offset) {
        if (run->length)
            run->differs(run->opaque, run->offset, run->length);
        run->offset = offset;
        run->length = 0;
    }
    run->length += length;
}

/* The start of the next data of either file; `end` when there is none. */
static int next_of_both(int a_fd, int b_fd, uint64_t *at, uint64_t end, struct error **err)
{
    uint64_t a = *at, b = *at, stop;
    int a_more = next_data(a_fd, &a, &stop, end, err);
    int b_more = a_more < 0 ? -1 : next_data(b_fd, &b, &stop, end, err);

    if (b_more < 0)
        return -1;
    if (!a_more)
        a = end;
    if (!b_more)
        b = end;
    *at = a < b ? a : b;
    return 0;
}

int digest_diff(int a_fd, uint64_t a_size, int b_fd, uint64_t b_size,
                void (*differs)(void *opaque, uint64_t offset, uint64_t length), void *opaque,
                struct error **err)
{
    uint64_t shorter = a_size < b_size ? a_size : b_size;
    uint64_t longer = a_size < b_size ? b_size : a_size;
    uint64_t common = shorter == longer ? leaves_of(longer) : shorter / DIGEST_BLOCK;
    uint64_t end = common * LEAF, at = 0;
    struct run run = { .differs = differs, .opaque = opaque };
    struct digest a[1024], b[1024];

    while (at < end) {
        size_t length;

        if (next_of_both(a_fd, b_fd, &at, end, err) < 0)
            return -1;
        length = end - at < sizeof a ? end - at : sizeof a;
        if (read_leaves(a_fd, a, length, at, err) < 0 || read_leaves(b_fd, b, length, at, err) < 0)
            return -1;
        for (size_t i = 0; i < length / LEAF; i++) {
            uint64_t block = (at / LEAF + i) * DIGEST_BLOCK;

            if (!digest_equal(&a[i], &b[i]))
                run_add(&run, block, longer - block < DIGEST_BLOCK ? longer - block : DIGEST_BLOCK);
        }
        at += length;
    }
    if (shorter != longer)
        run_add(&run, common * DIGEST_BLOCK, longer - common * DIGEST_BLOCK);
    if (run.length)
        differs(opaque, run.offset, run.length);
    return 0;
}

void digest_to_text(const struct digest *digest, char text[DIGEST_TEXT])
{
    char *p = stpcpy(text, text_prefix);

    for (size_t i = 0; i < sizeof digest->bytes; i++)
        p += sprintf(p, "%02x", digest->bytes[i]);
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *p = c ? strchr(digits, c) : NULL;

    return p ? (int)(p - digits) : -1;
}

int digest_from_text(const char *text, struct digest *digest, struct error **err)
{
    const char *hex = text + strlen(text_prefix);

    if (strncmp(text, text_prefix, strlen(text_prefix)) != 0 ||
        strlen(hex) != 2 * sizeof digest->bytes)
        goto bad;
    for (size_t i = 0; i < sizeof digest->bytes; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

        if (high < 0 || low < 0)
            goto bad;
        digest->bytes[i] = high << 4 | low;
    }
    return 0;
bad:
    return error_set_kind(err, ERROR_USAGE, "'%s' is not a digest: expected %s and 32 hex digits",
                          text, text_prefix);
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
