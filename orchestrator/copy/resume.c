/* What an earlier run left, and what this one leaves to a later one: the journal of what
 * is durable, and the leaves of the digest. What comes in: a run whose ends are open.
 * What goes out: both files, open, and sure to belong to this very copy. It never moves
 * data. */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "copy/run.h"

static int open_temporary(struct run *run, struct error **err)
{
    const char *directory = getenv("TMPDIR");
    int fd;

    if (!directory || !*directory)
        directory = "/var/tmp";
    fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, errno, "a temporary file in %s", directory);
    if (asprintf(&run->leaves_name, "a temporary file in %s", directory) < 0)
        run->leaves_name = NULL;
    return fd;
}

/* Beside a journal the leaves need a name, as they have to outlive us too. */
static char *leaves_path(const struct run *run)
{
    const struct copy_options *options = run->options;
    char *path = NULL;

    if (options->leaves)
        return strdup(options->leaves);
    if (options->journal && asprintf(&path, "%s.leaves", options->journal) < 0)
        return NULL;
    return path;
}

/* Leaves of another disk, or of a copy that did not finish, would make a wrong digest, or have
 * blocks left alone that differ. Jobs, which have a key, know the digest that theirs must have. */
static int check_leaves_size(const struct run *run, const char *path, struct error **err)
{
    uint64_t wanted = digest_leaves_size(run->src->size);
    struct stat st;

    if (run->options->journal_key)
        return 0;
    if (fstat(run->leaves_fd, &st) < 0)
        return error_set_errno(err, errno, "the leaves file %s", path);
    if ((uint64_t)st.st_size == wanted)
        return 0;
    return error_set_kind(
        err, ERROR_USAGE,
        "the leaves file %s has %jd bytes, and that of a disk of this size has %" PRIu64
        ": it is another disk's, or of a copy that did not finish; a full copy with "
        "--leaves makes it anew",
        path, (intmax_t)st.st_size, wanted);
}

static bool is_end(const struct end *end, const struct stat *st)
{
    return end->identity[1] == st->st_ino && end->identity[0] == st->st_dev;
}

/* What is written beside the copy must not be written into one of its disks. */
static int check_is_no_disk(const struct run *run, const char *path, struct error **err)
{
    struct stat st;

    if (stat(path, &st) < 0 || !(is_end(run->src, &st) || is_end(run->dst, &st)))
        return 0;
    return error_set_kind(err, ERROR_USAGE, "%s is one of the disks; name another file", path);
}

/* Each durable range has its leaves: they were synced before the journal named it. As above, this
 * is not for jobs, whose disks may have been grown by zeroes that are there already. */
static int check_leaves_resumed(const struct run *run, const char *path, struct error **err)
{
    const struct changemap *durable = &run->durable;
    struct stat st;

    if (run->options->journal_key)
        return 0;
    if (fstat(run->leaves_fd, &st) < 0)
        return error_set_errno(err, errno, "the leaves file %s", path);
    if ((uint64_t)st.st_size >= digest_leaves_size(range_end(durable->ranges[durable->count - 1])))
        return 0;
    return error_set_kind(err, ERROR_USAGE,
                          "the leaves file %s is cut off: leaves of what the journal %s calls "
                          "durable are not there; remove the journal to start afresh",
                          path, run->options->journal);
}

/* Until the last leaf is there the file is a byte too long: see check_leaves_size(). */
static int start_leaves(const struct run *run, const char *path, struct error **err)
{
    uint64_t size = run->options->leaves ? digest_leaves_size(run->src->size) + 1 : 0;

    if (ftruncate(run->leaves_fd, 0) < 0 || ftruncate(run->leaves_fd, (off_t)size) < 0)
        return error_set_errno(err, errno, "emptying the leaves file %s", path);
    return 0;
}

int run_open_leaves(struct run *run, struct error **err)
{
    const struct copy_options *options = run->options;
    CLEANUP_FREE char *path = leaves_path(run);
    bool describes_destination = options->leaves && (run_is_delta(run) || options->compare);
    /* The leaves of what an earlier run did are nowhere else. */
    bool must_exist = describes_destination || run->durable.count;

    if (!run->make_leaves)
        return 0;
    if (!path) {
        run->leaves_fd = open_temporary(run, err);
        return run->leaves_fd < 0 ? -1 : 0;
    }
    if (asprintf(&run->leaves_name, "the leaves file %s", path) < 0)
        run->leaves_name = NULL;
    if (check_is_no_disk(run, path, err) < 0)
        return error_prefix(err, "the leaves file");
    if (options->journal && strcmp(path, options->journal) == 0)
        return error_set_kind(err, ERROR_USAGE, "%s cannot be both journal and leaves file", path);
    run->leaves_fd = open(path, O_RDWR | O_CLOEXEC | (must_exist ? 0 : O_CREAT), 0666);
    if (run->leaves_fd < 0 && errno == ENOENT && must_exist && !describes_destination)
        return error_set_kind(err, ERROR_USAGE,
                              "the leaves file %s is missing, which belongs to the journal %s; "
                              "remove the journal to start afresh",
                              path, options->journal);
    if (run->leaves_fd < 0)
        return error_set_errno(err, errno, "opening the leaves file %s", path);
    if (describes_destination && check_leaves_size(run, path, err) < 0)
        return -1;
    if (run->durable.count && check_leaves_resumed(run, path, err) < 0)
        return -1;
    return must_exist ? 0 : start_leaves(run, path, err);
}

void run_spoil_leaves(struct run *run, const struct error *why)
{
    off_t size = (off_t)digest_leaves_size(run->src->size) + 1;

    /* Who goes on after a pause verifies again. */
    if (!run->options->leaves || run->options->journal_key || (why && why->kind == ERROR_PAUSED))
        return;
    if (ftruncate(run->leaves_fd, size) < 0)
        return; /* the copy has failed anyway */
}

static void hash_string(XXH3_state_t *state, const char *string)
{
    XXH3_128bits_update(state, string ? string : "", string ? strlen(string) + 1 : 1);
}

/* What the journal is of: it must not be used for anything else. */
static struct digest fingerprint(const struct run *run)
{
    const struct copy_options *options = run->options;
    XXH128_canonical_t canonical;
    struct digest digest;
    uint64_t numbers[] = { run->src->size,     run->dst->size,   run->dst->block_min,
                           run->changes.count, options->compare, options->target_zero,
                           run->dst->birth_ns };
    XXH3_state_t *state = XXH3_createState();

    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, numbers, sizeof numbers);
    if (options->journal_key) {
        hash_string(state, options->journal_key);
    } else {
        hash_string(state, run->src_name);
        hash_string(state, run->dst_name);
    }
    /* A key stands for what is copied, wherever its files lie. */
    hash_string(state, options->leaves && options->journal_key ? "leaves" : options->leaves);
    if (run->changes_loaded)
        XXH3_128bits_update(state, run->changes.ranges,
                            run->changes.count * sizeof *run->changes.ranges);
    else
        hash_string(state, options->changes);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    memcpy(digest.bytes, canonical.digest, sizeof digest.bytes);
    return digest;
}

/* The destination has become shorter than what was durable. */
static bool was_cut(const struct run *run)
{
    const struct changemap *durable = &run->durable;

    return durable->count &&
           range_end(durable->ranges[durable->count - 1]) > run->dst->size - run->dst->grown;
}

int run_open_journal(struct run *run, struct error **err)
{
    struct digest of = fingerprint(run);

    if (!run->options->journal && !run->options->verify)
        return 0;
    if (run->options->journal && check_is_no_disk(run, run->options->journal, err) < 0)
        return error_prefix(err, "the journal");
    run->journal = journal_open(run->options->journal, &of, &run->durable, err);
    if (!run->journal)
        return -1;
    if (was_cut(run)) {
        changemap_free(&run->durable);
        if (journal_forget(run->journal, err) < 0)
            return error_prefix(err, "journal %s", run->options->journal);
    }
    for (size_t i = 0; i < run->durable.count; i++)
        run->result->bytes_resumed += run->durable.ranges[i].length;
    return 0;
}
