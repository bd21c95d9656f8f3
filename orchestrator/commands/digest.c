/* vmferry digest: the digest of a disk, or where two disks differ. */
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "ends.h"
#include "options.h"
#include "size.h"
#include "watch.h"

static const char usage[] =
    "usage: vmferry digest [OPTIONS] DISK\n"
    "       vmferry digest [OPTIONS] --compare A B\n"
    "\n"
    "  DISK, A, B            an NBD URI, a file or block device, [ nbdkit ... ]; A and B\n"
    "                        also leaves:FILE\n"
    "  --leaves=FILE         keep the digests of all 64 KiB blocks in FILE\n"
    "  --compare             print the ranges in which A and B differ, a change map;\n"
    "                        exit status 1 when they do\n"
    "  --connections=N, --requests=N, --request-size=BYTES\n"
    "                        how to read, see vmferry-copy(1)\n"
    "  --json                the result for programs\n"
    "  --progress=auto|json|none\n";

struct arguments {
    struct copy_options copy;
    char *disks[2]; /* the caller frees them, and… */
    char *shown[2]; /* …how they are shown */
    const char *leaves;
    enum bar_style progress;
    bool compare;
    bool json;
};

/* A disk, or a leaves file that stands for one. */
struct side {
    const char *name;
    const char *shown; /* without a lease */
    const struct copy_options *options;
    struct watch watch;
    int leaves_fd;
    bool is_disk;  /* else `size` is a guess, and there is no digest */
    uint64_t size; /* bytes */
    struct copy_result result;
    struct error *err;
    bool failed_first;
};

static int parse_unsigned(const char *option, const char *text, unsigned *value, struct error **err)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number == 0 || number > 1024)
        return error_set_kind(err, ERROR_USAGE, "--%s=%s: say a number from 1 to 1024", option,
                              text);
    *value = number;
    return 0;
}

static int parse_option(int c, struct arguments *args, struct error **err)
{
    const char *wrong;

    switch (c) {
    case 'l':
        args->leaves = optarg;
        return 0;
    case 'c':
        args->compare = true;
        return 0;
    case 'j':
        args->json = true;
        return 0;
    case 'p':
        return parse_bar_style(optarg, &args->progress, err);
    case 'n':
        return parse_unsigned("connections", optarg, &args->copy.connections, err);
    case 'r':
        return parse_unsigned("requests", optarg, &args->copy.requests, err);
    case 's':
        wrong = size_parse(optarg, &args->copy.request_size);
        if (wrong)
            return error_set_kind(err, ERROR_USAGE, "--request-size: '%s' %s", optarg, wrong);
        return 0;
    default:
        return 0;
    }
}

/* Returns 1 after --help. */
static int parse_arguments(int argc, char *argv[], struct arguments *args, struct error **err)
{
    static const struct option options[] = {
        { "leaves", required_argument, NULL, 'l' },
        { "compare", no_argument, NULL, 'c' },
        { "connections", required_argument, NULL, 'n' },
        { "requests", required_argument, NULL, 'r' },
        { "request-size", required_argument, NULL, 's' },
        { "json", no_argument, NULL, 'j' },
        { "progress", required_argument, NULL, 'p' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    struct ends ends = { 0 };
    int c, count = 0;

    opterr = 0;
    while ((c = ends_option(&ends, argc, argv, options)) != -1 || optind < argc) {
        if (c == 'h') {
            fputs(usage, stdout);
            return 1;
        }
        if (c == '?' || c == ':')
            return wrong_option(c, argv, err);
        if (c != -1 && parse_option(c, args, err) < 0)
            return -1;
        if (c != -1)
            continue;
        if (count == 2)
            return error_set_kind(err, ERROR_USAGE, "'%s' is too much", argv[optind]);
        args->disks[count] = ends_take(argc, argv, err);
        if (!args->disks[count])
            return -1;
        args->shown[count] = copy_shown_name(args->disks[count]);
        if (!args->shown[count++])
            return error_set_errno(err, ENOMEM, "digest");
    }
    if (count != (args->compare ? 2 : 1))
        return error_set_kind(err, ERROR_USAGE,
                              args->compare ? "--compare wants two disks, A and B"
                                            : "say which disk; `vmferry digest --help` says more");
    if (args->compare && args->leaves)
        return error_set_kind(err, ERROR_USAGE, "--leaves does not go with --compare");
    return 0;
}

/* A file of our own for the leaves, gone when it is closed. */
static int temporary_leaves(struct error **err)
{
    const char *dir = getenv("TMPDIR");
    CLEANUP_FREE char *name = NULL;
    int fd;

    if (asprintf(&name, "%s/vmferry-leaves.XXXXXX", dir && *dir ? dir : "/var/tmp") < 0)
        return error_set_errno(err, ENOMEM, "digest");
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "%s", name);
    unlink(name);
    return fd;
}

static int open_leaves(struct side *side, const char *path, struct error **err)
{
    struct stat st;

    side->leaves_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* it may be a FIFO */
    if (side->leaves_fd < 0 || fstat(side->leaves_fd, &st) < 0)
        return error_set_errno(err, errno, "%s", path);
    if (!S_ISREG(st.st_mode) || st.st_size % sizeof(struct digest))
        return error_set_kind(err, ERROR_USAGE, "%s is not a leaves file", path);
    side->size = (uint64_t)st.st_size / sizeof(struct digest) * DIGEST_BLOCK;
    return 0;
}

static int digest_side(struct side *side, struct error **err)
{
    struct copy_options options = *side->options;
    char leaves[32];

    if (strncmp(side->name, "leaves:", 7) == 0)
        return open_leaves(side, side->name + 7, err);
    side->is_disk = true;
    side->leaves_fd = temporary_leaves(err);
    if (side->leaves_fd < 0)
        return -1;
    snprintf(leaves, sizeof leaves, "/proc/self/fd/%d", side->leaves_fd);
    options.progress = watch_progress;
    options.opaque = &side->watch;
    if (copy_digest(side->name, leaves, &options, &side->result, err) < 0) {
        watch_finish(&side->watch, PROGRESS_FAILED);
        return -1;
    }
    watch_finish(&side->watch, PROGRESS_COMPLETED);
    side->size = side->result.size;
    return 0;
}

static void *digest_thread(void *opaque)
{
    struct side *side = opaque;

    /* The other side then need not go on. */
    if (digest_side(side, &side->err) < 0)
        side->failed_first = atomic_exchange(side->options->cancel, SIGTERM) == 0;
    return NULL;
}

/* Both at the same time: each waits for another server. */
static int digest_both(struct side sides[2], struct error **err)
{
    struct error **first;
    pthread_t other;
    int errnum = pthread_create(&other, NULL, digest_thread, &sides[1]);

    if (errnum)
        return error_set_errno(err, errnum, "digest");
    digest_thread(&sides[0]);
    pthread_join(other, NULL);
    first = sides[1].failed_first || !sides[0].err ? &sides[1].err : &sides[0].err;
    if (*first)
        error_move(err, first);
    error_clear(&sides[0].err);
    error_clear(&sides[1].err);
    return *err ? -1 : 0;
}

/* A leaves file knows its disk's size only to the block, and may leave out zeroes
 * at the end: it takes the other's size when that can be. */
static void guess_size(struct side *side, const struct side *other)
{
    if (!side->is_disk && side->size < other->size + DIGEST_BLOCK)
        side->size = other->size;
}

struct report {
    bool json;
    uint64_t ranges, bytes;
};

static void print_range(void *opaque, uint64_t offset, uint64_t length)
{
    struct report *report = opaque;

    if (report->json)
        printf("%s{\"start\": %" PRIu64 ", \"length\": %" PRIu64 "}", report->ranges ? ", " : "",
               offset, length);
    else
        printf("%" PRIu64 " %" PRIu64 "\n", offset, length);
    report->ranges++;
    report->bytes += length;
}

static struct json_object *describe(const struct side *side)
{
    struct json_object *json = json_object_new_object();
    char text[DIGEST_TEXT];

    json_object_object_add(json, "disk", json_object_new_string(side->shown));
    json_object_object_add(json, "size", json_object_new_uint64(side->size));
    if (side->is_disk) {
        digest_to_text(&side->result.digest, text);
        json_object_object_add(json, "digest", json_object_new_string(text));
        json_object_object_add(json, "bytes_read", json_object_new_uint64(side->result.bytes_read));
        json_object_object_add(json, "seconds", json_object_new_double(side->result.seconds));
    }
    return json;
}

static void print_side_json(const char *key, const struct side *side)
{
    struct json_object *json = describe(side);

    printf("\"%s\": %s, ", key, json_object_to_json_string(json));
    json_object_put(json);
}

static void print_side_text(const struct side *side)
{
    char text[DIGEST_TEXT] = "leaves";

    if (side->is_disk)
        digest_to_text(&side->result.digest, text);
    printf("# %s %" PRIu64 " ", text, side->size);
    for (const char *p = side->shown; *p; p++) /* a new line would begin a range */
        putchar(*p == '\n' || *p == '\r' ? '?' : *p);
    putchar('\n');
}

static int print_difference(struct side sides[2], bool json, struct error **err)
{
    struct report report = { .json = json };
    int r;

    if (json) {
        printf("{");
        print_side_json("a", &sides[0]);
        print_side_json("b", &sides[1]);
        printf("\"changedArea\": [");
    } else {
        print_side_text(&sides[0]);
        print_side_text(&sides[1]);
    }
    r = digest_diff(sides[0].leaves_fd, sides[0].size, sides[1].leaves_fd, sides[1].size,
                    print_range, &report, err);
    if (r == 0 && json)
        printf("], \"ranges\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"equal\": %s}\n",
               report.ranges, report.bytes, report.ranges ? "false" : "true");
    if (r == 0 && report.ranges)
        r = error_set(err, "%s and %s differ in %" PRIu64 " range%s, %" PRIu64 " bytes",
                      sides[0].shown, sides[1].shown, report.ranges, report.ranges == 1 ? "" : "s",
                      report.bytes);
    return r;
}

static int compare_disks(const struct arguments *args, struct error **err)
{
    struct side sides[2] = {
        { .name = args->disks[0],
          .shown = args->shown[0],
          .options = &args->copy,
          .leaves_fd = -1 },
        { .name = args->disks[1],
          .shown = args->shown[1],
          .options = &args->copy,
          .leaves_fd = -1 },
    };
    struct bar *bar = bar_open(stderr, args->progress);
    int r;

    for (unsigned i = 0; i < 2; i++)
        watch_init(&sides[i].watch, bar, i, sides[i].shown, "");
    r = digest_both(sides, err);
    bar_close(bar);
    signal(SIGPIPE, SIG_DFL); /* many lines, of which somebody may want the first */
    if (r == 0) {
        guess_size(&sides[0], &sides[1]);
        guess_size(&sides[1], &sides[0]);
        r = print_difference(sides, args->json, err);
    }
    cleanup_close(&sides[0].leaves_fd);
    cleanup_close(&sides[1].leaves_fd);
    return r;
}

static int digest_disk(const struct arguments *args, struct error **err)
{
    struct copy_options options = args->copy;
    struct side side = { .name = args->disks[0], .shown = args->shown[0], .is_disk = true };
    struct bar *bar = bar_open(stderr, args->progress);
    int r;

    watch_init(&side.watch, bar, 0, side.shown, "");
    options.progress = watch_progress;
    options.opaque = &side.watch;
    r = copy_digest(side.name, args->leaves, &options, &side.result, err);
    watch_finish(&side.watch, r < 0 ? PROGRESS_FAILED : PROGRESS_COMPLETED);
    bar_close(bar);
    if (r < 0)
        return -1;
    side.size = side.result.size;
    if (args->json) {
        struct json_object *json = describe(&side);

        puts(json_object_to_json_string(json));
        json_object_put(json);
    } else {
        char text[DIGEST_TEXT];

        digest_to_text(&side.result.digest, text);
        printf("%s  %s\n", text, side.shown);
    }
    return 0;
}

int command_digest(int argc, char *argv[], struct error **err)
{
    struct arguments args = { 0 };
    int r = parse_arguments(argc, argv, &args, err);

    if (r == 0) {
        args.copy.cancel = cancel_on_signals();
        signal(SIGPIPE, SIG_IGN); /* as in copy.c */
        r = args.compare ? compare_disks(&args, err) : digest_disk(&args, err);
    }
    for (size_t i = 0; i < 2; i++) {
        free(args.disks[i]);
        free(args.shown[i]);
    }
    if (r > 0)
        return 0;
    if (fflush(stdout) == EOF && r == 0)
        return error_set_errno(err, errno, "writing the result");
    return r;
}
