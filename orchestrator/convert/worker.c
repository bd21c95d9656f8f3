/* The worker of a conversion: looks, decides, converts; see convert.h. */
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "convert/message.h"
#include "convert/view.h"
#include "convert/work.h"
#include "process.h"

#define DIRECTORY    "convert." /* and six letters */
#define LAST_SECONDS 8          /* to end all programs and clean up, then the kernel does it */

void work_log(const struct work *work, const char *text)
{
    CLEANUP_CLOSE int fd = -1;

    if (!*work->request->log)
        return;
    fd = open(work->request->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        dprintf(fd, "%s\n", text);
}

void work_say(const struct work *work, const char *fmt, ...)
{
    char line[CONVERT_TEXT];
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    message_send_line(work->out, line);
    work_log(work, line);
}

/* A program that a signal asked to end is not waited for twice: all of them get it, we clean up
 * behind them, and the alarm ends whatever hangs then. As process 1 of a namespace, which only the
 * kernel's SIGKILL reaches without a handler. */
static volatile sig_atomic_t ending;

static void end_all(int number)
{
    (void)number;
    if (ending)
        return;
    ending = 1;
    alarm(LAST_SECONDS);
    kill(getpid() == 1 ? -1 : 0, SIGTERM);
}

static void end_now(int number)
{
    (void)number;
    _exit(1);
}

static void hear_signals(void)
{
    struct sigaction end = { .sa_handler = end_all };
    struct sigaction now = { .sa_handler = end_now };
    sigset_t unblocked;

    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGALRM, &now, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&unblocked);
    sigprocmask(SIG_SETMASK, &unblocked, NULL);
}

int work_go_on(struct error **err)
{
    return ending ? error_set(err, "the conversion was told to end") : 0;
}

int work_run(const struct work *work, const char *const argv[], int timeout_ms, struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    CLEANUP_CLOSE int fd = -1;
    int status;
    pid_t pid;

    fd = *work->request->log
             ? open(work->request->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)
             : open("/dev/null", O_WRONLY | O_CLOEXEC);
    options.stdout_fd = options.stderr_fd = fd;
    options.die_with_parent = true;
    pid = process_start(argv, &options, err);
    if (pid < 0)
        return -1;
    if (process_wait(pid, timeout_ms, &status, err) < 0) {
        process_stop(pid, 0);
        return error_prefix(err, "%s", argv[0]);
    }
    if (status != 0)
        return error_set(err, "%s failed%s%s", argv[0], *work->request->log ? ", see " : "",
                         work->request->log);
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void remove_directory(struct work *work)
{
    if (work->directory[0])
        remove_tree(work->directory);
}

void convert_sweep(const char *directory)
{
    char pattern[PATH_MAX + 32];
    glob_t found;

    snprintf(pattern, sizeof pattern, "%s/" DIRECTORY "??????", directory);
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            remove_tree(found.gl_pathv[i]);
        globfree(&found);
    }
}

static int make_directory(struct work *work, struct error **err)
{
    int length = snprintf(work->directory, sizeof work->directory, "%s/" DIRECTORY "XXXXXX",
                          work->request->directory);

    if (length >= (int)sizeof work->directory || !mkdtemp(work->directory)) {
        work->directory[0] = '\0';
        return error_set_errno(err, errno, "a directory in %s", work->request->directory);
    }
    return 0;
}

/* All disks, read-only, closed again: a conversion wants them for itself. */
static int look(const struct work *work, struct look *found, struct error **err)
{
    const struct convert_request *request = work->request;
    CLEANUP_RAW_VIEW struct view view = { .pid = -1 };
    CLEANUP_FILES struct guest_files files = { 0 };
    CLEANUP_FREE struct view_window *windows = calloc(request->disk_count + 1, sizeof *windows);

    if (!windows)
        return error_set_errno(err, ENOMEM, "looking into the disks");
    for (size_t i = 0; i < request->disk_count; i++)
        windows[i].disk = i;
    if (view_open(request->disks, request->disk_count, windows, request->disk_count, false,
                  work->directory, "look", &view, err) < 0 ||
        files_open((const char(*)[PATH_MAX])view.paths, view.count, work->directory, &files, err) <
            0)
        return -1;
    return look_disks(&files, request->bus, found, err);
}

/* By virt-v2v all can be looked into: so who may not look cheaply says "not known". */
static void look_or_not(const struct work *work, struct look *found)
{
    CLEANUP_ERROR struct error *err = NULL;

    if (look(work, found, &err) == 0)
        return;
    *found = (struct look){ .answer = LOOK_UNKNOWN };
    snprintf(found->why, sizeof found->why, "it can't be told cheaply: %s", error_message(err));
}

/* A guest that nobody can look into is not refused because of that: whether it boots will be seen.
 */
static bool may_go_without(const struct work *work, struct convert_result *result)
{
    CLEANUP_ERROR struct error *missing = NULL;

    if (work->look->answer != LOOK_UNKNOWN || strcmp(work->request->engine, "auto") != 0 ||
        engine_v2v_check(work, &missing) == 0)
        return false;
    result->needed = false;
    snprintf(result->why, sizeof result->why,
             "not known (%.300s), and virt-v2v is not here to find out", work->look->why);
    work_say(work, "whether it needs a conversion is %.400s: it is left as it is", result->why);
    return true;
}

static int convert(const struct work *work, struct convert_result *result, struct error **err)
{
    bool native = strcmp(work->request->engine, "native") == 0;

    if (work_go_on(err) < 0)
        return -1;
    if (may_go_without(work, result))
        return 0;
    if ((native ? engine_native_check : engine_v2v_check)(work, err) < 0)
        return -1;
    strcpy(result->engine, native ? "native" : "v2v");
    return (native ? engine_native : engine_v2v)(work, err);
}

static int decide(struct work *work, struct convert_result *result, struct error **err)
{
    struct look found;

    look_or_not(work, &found);
    work->look = &found;
    result->needed = found.answer != LOOK_READY;
    snprintf(result->why, sizeof result->why, "%s", found.why);
    snprintf(result->os, sizeof result->os, "%s", found.os);
    strcpy(result->engine, "none");
    work_log(work, found.why);
    if (!result->needed)
        return 0;
    if (found.blocker[0])
        return error_set_kind(err, ERROR_USAGE, "%s must be converted (%s), but can't be: %s",
                              work->request->name, found.why, found.blocker);
    if (work->request->only_look)
        return 0;
    return convert(work, result, err);
}

int convert_worker(FILE *in, FILE *out, struct error **err)
{
    CLEANUP(message_free_order) struct convert_order order = { 0 };
    CLEANUP(remove_directory) struct work work = { .out = out };
    struct convert_result result = { 0 };

    hear_signals();
    umask(077);
    if (message_read_request(in, &order, err) < 0)
        return -1;
    work.request = &order.request;
    if (make_directory(&work, err) < 0 || decide(&work, &result, err) < 0) {
        message_send_error(out, *err);
        work_log(&work, error_message(*err));
        return -1;
    }
    message_send_result(out, &result);
    return 0;
}
