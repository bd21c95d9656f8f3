/* vmferry copy: one disk from one place to another. */
#include <inttypes.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "ends.h"
#include "human.h"
#include "options.h"
#include "size.h"
#include "watch.h"

static const char usage[] =
    "usage: vmferry copy [OPTIONS] SRC DST\n"
    "\n"
    "  SRC, DST              an NBD URI, a file or block device, null:, or a server to\n"
    "                        start: [ nbdkit ... ]\n"
    "  --changes=FILE|qemu:dirty-bitmap:NAME|base:allocation-hole\n"
    "                        move only what changed\n"
    "  --target-zero         DST reads as zeroes: do not write them (first copy only)\n"
    "  --compare             move only what differs from the leaves file\n"
    "  --leaves=FILE         keep the digests of all 64 KiB blocks in FILE\n"
    "  --digest              print the digest of the disk\n"
    "  --verify              read again what was written, and compare\n"
    "  --resume=JOURNAL      keep a journal, and go on where it says\n"
    "  --flush=BYTES         flush DST, and note it in the journal, after so many\n"
    "  --rate=BYTES|@FILE    bytes a second at most; FILE is read again when it changes\n"
    "  --connections=N, --requests=N, --request-size=BYTES\n"
    "                        instead of what is chosen\n"
    "  --retries=N           of one range before giving up (12)\n"
    "  --timeout=SECONDS     without an answer a connection counts as lost (60)\n"
    "  --progress=auto|json|none\n"
    "  --json                the result for programs\n";

/* --rate: a number, or @FILE that holds one and is read again when it changes. */
struct rate {
    atomic_uint_fast64_t bytes; /* a second; 0: unlimited */
    const char *path;           /* NULL: no file */
    struct timespec read_at;    /* the file's time when it was read */
};

struct arguments {
    struct copy_options copy;
    struct rate rate;
    enum bar_style progress;
    bool json;
    char *src;
    char *dst;
};

static int parse_number(const char *option, unsigned limit, unsigned *value, struct error **err)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(optarg, &end, 10);
    if (*optarg < '0' || *optarg > '9' || *end || errno || number == 0 || number > limit)
        return error_set_kind(err, ERROR_USAGE, "--%s=%s: say a number from 1 to %u", option,
                              optarg, limit);
    *value = (unsigned)number;
    return 0;
}

static int parse_bytes(const char *option, const char *text, uint64_t *value, struct error **err)
{
    const char *wrong = size_parse(text, value);

    if (wrong)
        return error_set_kind(err, ERROR_USAGE, "--%s: '%s' %s", option, text, wrong);
    return 0;
}

static int read_rate(struct rate *rate, struct error **err)
{
    CLEANUP_FCLOSE FILE *file = fopen(rate->path, "re");
    char word[64] = "";
    uint64_t bytes;
    struct stat st;

    if (!file || fstat(fileno(file), &st) < 0 || (fscanf(file, "%63s", word) != 1 && ferror(file)))
        return error_set_errno(err, errno, "--rate=@%s", rate->path);
    rate->read_at = st.st_mtim;
    if (parse_bytes("rate", word, &bytes, err) < 0)
        return error_prefix(err, "%s", rate->path);
    atomic_store(&rate->bytes, bytes);
    return 0;
}

static int parse_rate(struct rate *rate, struct error **err)
{
    uint64_t bytes;

    if (optarg[0] == '@') {
        rate->path = optarg + 1;
        return read_rate(rate, err);
    }
    rate->path = NULL;
    if (parse_bytes("rate", optarg, &bytes, err) < 0)
        return -1;
    atomic_store(&rate->bytes, bytes);
    return 0;
}

static int parse_option(int c, struct arguments *args, struct error **err)
{
    struct copy_options *copy = &args->copy;
    unsigned number;

    switch (c) {
    case 'C':
        copy->changes = optarg;
        return 0;
    case 'z':
        copy->target_zero = true;
        return 0;
    case 'c':
        copy->compare = true;
        return 0;
    case 'l':
        copy->leaves = optarg;
        return 0;
    case 'd':
        copy->digest = true;
        return 0;
    case 'v':
        copy->verify = true;
        return 0;
    case 'J':
        copy->journal = optarg;
        return 0;
    case 'f':
        return parse_bytes("flush", optarg, &copy->flush_bytes, err);
    case 'R':
        return parse_rate(&args->rate, err);
    case 'n':
        return parse_number("connections", 64, &copy->connections, err);
    case 'r':
        return parse_number("requests", 1024, &copy->requests, err);
    case 's':
        return parse_bytes("request-size", optarg, &copy->request_size, err);
    case 't':
        return parse_number("retries", 1000, &copy->retries, err);
    case 'T':
        if (parse_number("timeout", 86400, &number, err) < 0)
            return -1;
        copy->timeout_s = (int)number;
        return 0;
    case 'p':
        return parse_bar_style(optarg, &args->progress, err);
    case 'j':
        args->json = true;
        return 0;
    default:
        return 0;
    }
}

/* Returns 1 after --help. */
static int parse_arguments(int argc, char *argv[], struct arguments *args, struct error **err)
{
    static const struct option options[] = {
        { "changes", required_argument, NULL, 'C' },
        { "target-zero", no_argument, NULL, 'z' },
        { "compare", no_argument, NULL, 'c' },
        { "leaves", required_argument, NULL, 'l' },
        { "digest", no_argument, NULL, 'd' },
        { "verify", no_argument, NULL, 'v' },
        { "resume", required_argument, NULL, 'J' },
        { "flush", required_argument, NULL, 'f' },
        { "rate", required_argument, NULL, 'R' },
        { "connections", required_argument, NULL, 'n' },
        { "requests", required_argument, NULL, 'r' },
        { "request-size", required_argument, NULL, 's' },
        { "retries", required_argument, NULL, 't' },
        { "timeout", required_argument, NULL, 'T' },
        { "progress", optional_argument, NULL, 'p' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    char **places[] = { &args->src, &args->dst };
    size_t count = 0;
    struct ends ends = { 0 };
    int c;

    opterr = 0;
    while ((c = ends_option(&ends, argc, argv, options)) != -1 || optind < argc) {
        if (c == 'h') {
            fputs(usage, stdout);
            return 1;
        }
        if (c == '?' || c == ':')
            return wrong_option(c, argv, err);
        if (c == 'p' && !optarg)
            continue; /* a bar is what there is anyway */
        if (c != -1) {
            if (parse_option(c, args, err) < 0)
                return -1;
        } else if (count == 2) {
            return error_set_kind(err, ERROR_USAGE, "'%s' is too much: SRC and DST are all",
                                  argv[optind]);
        } else {
            *places[count] = ends_take(argc, argv, err);
            if (!*places[count++])
                return -1;
        }
    }
    if (count < 2)
        return error_set_kind(err, ERROR_USAGE,
                              "say a source and a destination; `vmferry copy --help` says more");
    return 0;
}

static void add_name(struct json_object *json, const char *key, const char *name)
{
    CLEANUP_FREE char *shown = copy_shown_name(name);

    json_object_object_add(json, key, shown ? json_object_new_string(shown) : NULL);
}

static void print_json_result(const struct arguments *args, const struct copy_result *result)
{
    struct json_object *json = json_object_new_object();
    char text[DIGEST_TEXT];

    add_name(json, "source", args->src);
    add_name(json, "destination", args->dst);
    json_object_object_add(json, "size", json_object_new_uint64(result->size));
    json_object_object_add(json, "bytes_total", json_object_new_uint64(result->bytes_total));
    json_object_object_add(json, "bytes_read", json_object_new_uint64(result->bytes_read));
    json_object_object_add(json, "bytes_written", json_object_new_uint64(result->bytes_written));
    json_object_object_add(json, "bytes_zeroed", json_object_new_uint64(result->bytes_zeroed));
    json_object_object_add(json, "bytes_same", json_object_new_uint64(result->bytes_same));
    json_object_object_add(json, "bytes_resumed", json_object_new_uint64(result->bytes_resumed));
    json_object_object_add(json, "bytes_verified", json_object_new_uint64(result->bytes_verified));
    json_object_object_add(json, "reconnects", json_object_new_uint64(result->reconnects));
    json_object_object_add(json, "seconds", json_object_new_double(result->seconds));
    if (result->has_digest) {
        digest_to_text(&result->digest, text);
        json_object_object_add(json, "digest", json_object_new_string(text));
    }
    puts(json_object_to_json_string_ext(json,
                                        JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(json);
}

static void print_result(const struct arguments *args, const struct copy_result *result)
{
    char text[DIGEST_TEXT];

    if (args->json) {
        print_json_result(args, result);
    } else if (result->has_digest) {
        digest_to_text(&result->digest, text);
        printf("%s\n", text);
    }
}

/* It is complete: the next copy starts afresh. The leaves beside the journal were
 * made for it alone, unless somebody wants to keep some. */
static void forget_journal(const struct copy_options *copy)
{
    CLEANUP_FREE char *leaves = NULL;

    if (!copy->journal)
        return;
    unlink(copy->journal);
    if (!copy->leaves && asprintf(&leaves, "%s.leaves", copy->journal) > 0)
        unlink(leaves);
}

struct show {
    struct watch watch;
    struct rate *rate;
};

/* A file that has vanished or makes no sense leaves the rate as it is. What is no regular one
 * could make the copy wait for somebody at its other end. */
static void reread_rate(struct show *show)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct rate *rate = show->rate;
    struct stat st;

    if (!rate->path || stat(rate->path, &st) < 0 || !S_ISREG(st.st_mode) ||
        (st.st_mtim.tv_sec == rate->read_at.tv_sec && st.st_mtim.tv_nsec == rate->read_at.tv_nsec))
        return;
    rate->read_at = st.st_mtim;
    if (read_rate(rate, &err) < 0)
        bar_message(show->watch.bar, "the rate stays as it is: %s", error_message(err));
}

static void on_progress(void *opaque, const struct copy_progress *now)
{
    struct show *show = opaque;

    reread_rate(show);
    watch_progress(&show->watch, now);
}

static int copy(struct arguments *args, struct error **err)
{
    const char *sync_type = args->copy.compare   ? "resync"
                            : args->copy.changes ? "incremental"
                                                 : "initial";
    struct show show = { .rate = &args->rate };
    struct copy_result result;
    struct bar *bar = bar_open(stderr, args->progress);
    int r;

    watch_init(&show.watch, bar, 0, "", sync_type);
    args->copy.rate = &args->rate.bytes;
    args->copy.progress = on_progress;
    args->copy.opaque = &show;
    args->copy.cancel = cancel_on_signals();
    signal(SIGPIPE, SIG_IGN); /* who follows the progress may go; the copy goes on */
    r = copy_disk(args->src, args->dst, &args->copy, &result, err);
    watch_finish(&show.watch, r == 0                         ? PROGRESS_COMPLETED
                              : (*err)->kind == ERROR_PAUSED ? PROGRESS_PAUSED
                                                             : PROGRESS_FAILED);
    bar_close(bar);
    if (r < 0)
        return -1;
    forget_journal(&args->copy);
    print_result(args, &result);
    if (fflush(stdout) == EOF)
        return error_set_errno(err, errno, "writing the result");
    return 0;
}

int command_copy(int argc, char *argv[], struct error **err)
{
    struct arguments args = { 0 };
    int r = parse_arguments(argc, argv, &args, err);

    if (r == 0)
        r = copy(&args, err);
    free(args.src);
    free(args.dst);
    return r < 0 ? -1 : 0;
}
