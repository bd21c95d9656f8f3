/* vmferry job log: the lines of one job, from the store. What comes in: a job's number. What
 * goes out: its lines in the order of their times, and with --follow those to come until the
 * job is at its end. */
#include "commands/job-log.h"

#include <string.h>

#include "commands/context.h"
#include "commands/job.h"
#include "commands/options.h"
#include "commands/watch.h"
#include "escape.h"
#include "log/log.h"
#include "table.h"

#define PAGE_LINES 500
#define FOLLOW_US  500000
/* Hosts differ in their clocks, and ids are no clock: who follows looks back so far. */
#define LOOK_BACK_MS 10000

const char job_log_help[] =
    "usage: vmferry job log JOB [--follow] [--level=LEVEL] [--json]\n"
    "\n"
    "What a job said, from the store.\n"
    "\n"
    "  --follow        wait for more, until the job is at its end\n"
    "  --level=LEVEL   of this level and above: error|warning|notice|info|debug\n"
    "  --json          one JSON object a line, as --log-json has them\n"
    "  --state=DIR     state directory\n";

struct arguments {
    struct common_options common;
    bool follow;
    enum log_level level;
};

struct seen {
    int64_t id;
    int64_t time_ms;
};

struct reader {
    struct store *store;
    const struct arguments *arguments;
    int64_t job_id;
    char vm[STORE_NAME];
    int64_t from_ms;   /* lines before this time are printed; 0: none yet */
    struct seen *seen; /* and these since */
    size_t seen_count, seen_room;
};

static void free_reader(struct reader *reader)
{
    free(reader->seen);
}

static int parse(int argc, char *argv[], struct arguments *arguments, struct error **err)
{
    static const struct option options[] = { { "follow", no_argument, NULL, 'f' },
                                             { "level", required_argument, NULL, 'l' },
                                             COMMON_OPTIONS };
    int c;

    arguments->level = LEVEL_DEBUG;
    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'f') {
            arguments->follow = true;
        } else if (c == 'l') {
            if (log_level_find(optarg, &arguments->level) < 0)
                return error_set_kind(err, ERROR_USAGE,
                                      "--level=%s: say error, warning, notice, info or debug",
                                      optarg);
        } else if (common_option(c, argv, &arguments->common, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* One that is not there may still have lines. */
static int find_job(struct reader *reader, bool *there, bool *open, struct error **err)
{
    CLEANUP_ERROR struct error *gone = NULL;
    struct store_job job;
    struct store_vm vm;

    *there = *open = false;
    if (store_job_get(reader->store, reader->job_id, &job, &gone) < 0)
        return gone->errnum == ENOENT ? 0 : error_move(err, &gone);
    *there = true;
    *open = strcmp(job.status, "running") == 0 || strcmp(job.status, "queued") == 0;
    if (store_vm_get(reader->store, job.vm_id, &vm, err) < 0)
        return -1;
    strcpy(reader->vm, vm.name);
    return 0;
}

static void print_line(const struct reader *reader, const struct store_log_line *stored,
                       enum log_level level)
{
    struct log_line line = { .time_ms = stored->created_ms,
                             .level = level,
                             .part = stored->part,
                             .job = stored->job_id,
                             .vm = reader->vm,
                             .text = stored->message };
    char time[TIME_TEXT], disk[24] = "";

    if (stored->key >= 0)
        snprintf(disk, sizeof disk, "disk-%d", stored->key);
    line.disk = disk;
    if (reader->arguments->common.json) {
        log_print_json(stdout, &line);
        return;
    }
    printf("%s  %-7s  %-8s  ", time_text(time, stored->created_ms), stored->level, stored->part);
    if (disk[0])
        printf("%s: ", disk);
    escape_terminal(stdout, stored->message);
    putchar('\n');
}

static bool was_seen(const struct reader *reader, int64_t id)
{
    for (size_t i = 0; i < reader->seen_count; i++) {
        if (reader->seen[i].id == id)
            return true;
    }
    return false;
}

static int remember(struct reader *reader, const struct store_log_line *line, struct error **err)
{
    if (reader->seen_count == reader->seen_room) {
        size_t room = reader->seen_room ? reader->seen_room * 2 : 64;
        struct seen *bigger = reallocarray(reader->seen, room, sizeof *bigger);

        if (!bigger)
            return error_set_errno(err, ENOMEM, "reading the log");
        reader->seen = bigger;
        reader->seen_room = room;
    }
    reader->seen[reader->seen_count++] =
        (struct seen){ .id = line->id, .time_ms = line->created_ms };
    return 0;
}

static void forget_old(struct reader *reader)
{
    size_t kept = 0;

    for (size_t i = 0; i < reader->seen_count; i++) {
        if (reader->seen[i].time_ms >= reader->from_ms)
            reader->seen[kept++] = reader->seen[i];
    }
    reader->seen_count = kept;
}

static int show_line(struct reader *reader, const struct store_log_line *line, struct error **err)
{
    enum log_level level = LEVEL_INFO;

    log_level_find(line->level, &level);
    if (reader->from_ms > 0 && was_seen(reader, line->id))
        return 0;
    if (level <= reader->arguments->level)
        print_line(reader, line, level);
    return reader->arguments->follow ? remember(reader, line, err) : 0;
}

/* All that is there now, page by page. */
static int show_new(struct reader *reader, struct error **err)
{
    int64_t after_ms = reader->from_ms, after_id = 0;
    size_t count;

    do {
        CLEANUP_FREE struct store_log_line *lines = NULL;

        if (store_job_log(reader->store, reader->job_id, after_ms, after_id, PAGE_LINES, &lines,
                          &count, err) < 0)
            return -1;
        for (size_t i = 0; i < count; i++) {
            if (show_line(reader, &lines[i], err) < 0)
                return -1;
        }
        if (count > 0) {
            after_ms = lines[count - 1].created_ms;
            after_id = lines[count - 1].id;
        }
    } while (count == PAGE_LINES);
    if (after_ms > LOOK_BACK_MS)
        reader->from_ms = after_ms - LOOK_BACK_MS;
    forget_old(reader);
    return fflush(stdout) == 0 ? 0 : error_set_errno(err, errno, "writing the log");
}

/* The job's last lines come after its end: they are looked for once more. */
static int follow(struct reader *reader, struct error **err)
{
    atomic_int *cancel = cancel_on_signals();
    bool there, open = true;

    while (open && !*cancel) {
        usleep(FOLLOW_US);
        if (find_job(reader, &there, &open, err) < 0 || show_new(reader, err) < 0)
            return -1;
    }
    usleep(FOLLOW_US);
    return show_new(reader, err);
}

static int show_log(struct reader *reader, struct error **err)
{
    bool there, open;

    if (find_job(reader, &there, &open, err) < 0 || show_new(reader, err) < 0)
        return -1;
    if (!there && reader->from_ms == 0)
        return error_set(err, "there is no job %lld", (long long)reader->job_id);
    return reader->arguments->follow && open ? follow(reader, err) : 0;
}

int job_log(int argc, char *argv[], struct error **err)
{
    CLEANUP_CONTEXT struct context context = { 0 };
    struct arguments arguments = { 0 };
    CLEANUP(free_reader) struct reader reader = { .arguments = &arguments };

    if (parse(argc, argv, &arguments, err) < 0)
        return -1;
    if (arguments.common.help)
        return print_help(job_log_help);
    if (expect_arguments(argc, 1, "vmferry job log JOB [OPTIONS]", err) < 0 ||
        parse_job(argv[optind], &reader.job_id, err) < 0 ||
        context_open(arguments.common.state, &context, err) < 0)
        return -1;
    reader.store = context.store;
    return show_log(&reader, err);
}
