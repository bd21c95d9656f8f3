/* Calling a hook; see hook.h. It has a process group of its own, and what is left of that when its
 * time is over is killed. What it starts for later (a server) has to leave the group, as
 * daemons do. */
#include "source/nbd/hook.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>

#include "process.h"

#define LOOK_MS    100
#define GRACE_MS   5000
#define OUTPUT_MAX ((off_t)65536)

static unsigned limit_of(const struct nbd_options *options, const char *verb)
{
    static const struct {
        const char *verb;
        unsigned seconds;
    } limits[] = { { "begin", 600 }, { "state", 60 }, { "shutdown", 120 } };

    if (options->limit_s)
        return options->limit_s;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (strcmp(limits[i].verb, verb) == 0)
            return limits[i].seconds;
    }
    return 300;
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The whole group: a shell's children outlive it. */
static void end_group(pid_t pid)
{
    CLEANUP_ERROR struct error *still = NULL;
    int status;

    kill(-pid, SIGTERM);
    if (process_wait(pid, GRACE_MS, &status, &still) < 0) {
        kill(-pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    kill(-pid, SIGKILL);
}

static int wait_for(pid_t pid, unsigned limit_s, const atomic_int *cancel, int *status,
                    struct error **err)
{
    int64_t deadline_ms = now_ms() + (int64_t)limit_s * 1000;

    for (;;) {
        CLEANUP_ERROR struct error *still = NULL;

        if (process_wait(pid, LOOK_MS, status, &still) == 0)
            return 0;
        if (still->errnum != ETIMEDOUT) {
            end_group(pid);
            return error_move(err, &still);
        }
        if (cancel && atomic_load(cancel)) {
            end_group(pid);
            return error_set_kind(err, ERROR_PAUSED, "stopped on request");
        }
        if (now_ms() > deadline_ms) {
            end_group(pid);
            error_set(err, "it did not end within %u s, and was killed", limit_s);
            (*err)->errnum = ETIMEDOUT;
            return -1;
        }
    }
}

/* What was written to a file in memory, its end when it is long. */
static char *read_back(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > OUTPUT_MAX ? size - OUTPUT_MAX : 0;
    char *text = calloc((size_t)(size - from) + 1, 1);

    if (text && pread(fd, text, (size_t)(size - from), from) < 0)
        text[0] = '\0';
    return text;
}

static void strip(char *text)
{
    size_t length = strlen(text);

    while (length > 0 && strchr(" \t\r\n", text[length - 1]))
        text[--length] = '\0';
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < ' ' && *c != '\n')
            *c = ' ';
    }
}

static const char *last_line(const char *text)
{
    const char *newline = strrchr(text, '\n');

    return newline ? newline + 1 : text;
}

static void say_lines(const struct source_settings *settings, char *text)
{
    char *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (settings->say)
            settings->say(settings->opaque, line);
    }
}

static int judge(const struct source_settings *settings, int status, int err_fd, struct error **err)
{
    CLEANUP_FREE char *said = read_back(err_fd);

    if (!said)
        return error_set_errno(err, ENOMEM, "reading what it said");
    strip(said);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        say_lines(settings, said);
        return 0;
    }
    if (WIFSIGNALED(status))
        return error_set(err, "killed by signal %d%s%s", WTERMSIG(status), said[0] ? ": " : "",
                         last_line(said));
    error_set(err, "%s%s", last_line(said), said[0] ? "" : "it failed without a word");
    if (WEXITSTATUS(status) == EX_UNAVAILABLE)
        (*err)->errnum = ENOTSUP;
    else
        error_append(err, "exit status %d", WEXITSTATUS(status));
    return -1;
}

/* Its pid, or -1. */
static pid_t start(const struct nbd_options *options, const struct hook_call *call, int out_fd,
                   int err_fd, struct error **err)
{
    CLEANUP_FREE char *file = NULL;
    CLEANUP_FREE char *moment = NULL;
    CLEANUP_FREE char *change_ids = NULL;
    const char *argv[] = { options->hook, call->verb,    call->vm_name, call->uuid,
                           call->more[0], call->more[1], NULL };
    const char *env[] = { NULL, NULL, NULL, NULL };
    struct process_options process = PROCESS_OPTIONS_INIT;

    if (asprintf(&file, "VMFERRY_SOURCE_FILE=%s", call->file) < 0 ||
        asprintf(&moment, "VMFERRY_MOMENT=%s", call->moment ? call->moment : "") < 0 ||
        asprintf(&change_ids, "VMFERRY_CHANGE_IDS=%s", call->change_ids ? call->change_ids : "") <
            0)
        return error_set_errno(err, ENOMEM, "starting it");
    env[0] = file;
    env[1] = moment;
    env[2] = change_ids;
    process.stdout_fd = out_fd;
    process.stderr_fd = err_fd;
    process.env = env;
    process.die_with_parent = true;
    process.own_group = true;
    return process_start(argv, &process, err);
}

/* Into files, not pipes: a server that it leaves running may hold on to them. */
static int call_it(const struct nbd_options *options, const struct source_settings *settings,
                   const struct hook_call *call, char **out, struct error **err)
{
    CLEANUP_CLOSE int out_fd = memfd_create("hook-stdout", MFD_CLOEXEC);
    CLEANUP_CLOSE int err_fd = memfd_create("hook-stderr", MFD_CLOEXEC);
    int status = 0;
    pid_t pid;

    if (out_fd < 0 || err_fd < 0)
        return error_set_errno(err, errno, "memfd_create");
    pid = start(options, call, out_fd, err_fd, err);
    if (pid < 0 || wait_for(pid, limit_of(options, call->verb), call->cancel, &status, err) < 0 ||
        judge(settings, status, err_fd, err) < 0)
        return -1;
    if (out && !(*out = read_back(out_fd)))
        return error_set_errno(err, ENOMEM, "reading its answer");
    if (out)
        strip(*out);
    return 0;
}

int hook_run(const struct nbd_options *options, const struct source_settings *settings,
             const struct hook_call *call, char **out, struct error **err)
{
    if (out)
        *out = NULL;
    return call_it(options, settings, call, out, err) < 0
               ? error_prefix(err, "hook %s, %s of VM %s", options->hook, call->verb, call->vm_name)
               : 0;
}
