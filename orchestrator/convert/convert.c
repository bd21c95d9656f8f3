/* Conversion, seen from outside: starts the worker, hears it, ends it; see convert.h. */
#include "convert/convert.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "convert/message.h"
#include "process.h"

#define LOOK_MS     200
#define GRACE_MS    10000 /* the worker ends what it started, and removes its files */
#define LINE_LENGTH 16384

struct worker {
    pid_t pid;
    int from;
    char line[LINE_LENGTH];
    size_t length;
};

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Nothing to be found out: an engine that does nothing, disks that need no driver. */
static bool is_idle(const struct convert_request *request, struct convert_result *result)
{
    strcpy(result->engine, "none");
    if (strcmp(request->engine, "none") == 0) {
        strcpy(result->why, "conversion is switched off");
        return true;
    }
    if (strcmp(request->bus, "virtio") != 0 && strcmp(request->bus, "scsi") != 0) {
        snprintf(result->why, sizeof result->why, "its disks are on %s, not on virtio",
                 request->bus);
        return true;
    }
    return false;
}

/* As root, the worker is the first process of its own namespaces: when it ends, the kernel
 * kills what is left in them and drops the mounts. What the host unmounts goes there, too, so
 * that nothing is held. It gets SIGTERM when unshare dies, and that dies with us. */
static pid_t start_process(struct process_options *options, struct error **err)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    const char *const isolated[] = {
        "setpriv",
        "--pdeathsig=KILL",
        "unshare",
        "--mount",
        "--propagation=slave",
        "--pid",
        "--fork",
        "--kill-child=TERM",
        "--net",
        "--ipc",
        "--mount-proc",
        self,
        "virtio-inject",
        "inside",
        NULL,
    };
    const char *const plain[] = { self, "virtio-inject", "inside", NULL };

    if (length < 0)
        return error_set_errno(err, errno, "finding this program");
    self[length] = '\0';
    return process_start(geteuid() == 0 ? isolated : plain, options, err);
}

/* The request as a file, which the worker reads as its stdin. */
static int write_request(const struct convert_request *request, struct error **err)
{
    CLEANUP_CLOSE int fd = memfd_create("request", MFD_CLOEXEC);
    CLEANUP_FCLOSE FILE *out = NULL;
    int copy = fd < 0 ? -1 : dup(fd);

    out = copy < 0 ? NULL : fdopen(copy, "w");
    if (!out) {
        cleanup_close(&copy);
        return error_set_errno(err, errno, "telling the conversion's worker");
    }
    if (message_send_request(out, request, err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return error_set_errno(err, errno, "telling the conversion's worker");
    return steal_fd(fd);
}

static int start(struct worker *worker, const struct convert_request *request, struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    CLEANUP_CLOSE int in = write_request(request, err);
    int out[2];

    if (in < 0)
        return -1;
    if (pipe2(out, O_CLOEXEC) < 0)
        return error_set_errno(err, errno, "pipe");
    options.stdin_fd = in;
    options.stdout_fd = out[1];
    options.die_with_parent = true;
    options.block_sigterm = true; /* until it listens: none is lost */
    options.own_group = true;
    worker->pid = start_process(&options, err);
    close(out[1]);
    worker->from = out[0];
    return worker->pid < 0 ? -1 : 0;
}

/* Until it has closed its end: then all is gone that it made. */
static void await_end(int fd)
{
    struct pollfd end = { .fd = fd, .events = POLLIN };
    double deadline = now_s() + GRACE_MS / 1000.0;
    char buf[512];

    while (fd >= 0 && now_s() < deadline) {
        if (poll(&end, 1, LOOK_MS) > 0 && read(fd, buf, sizeof buf) <= 0)
            return;
    }
}

static void stop(struct worker *worker)
{
    if (worker->pid > 0) {
        if (geteuid() == 0)
            kill(worker->pid, SIGKILL); /* unshare: it would ignore SIGTERM; its child gets that */
        else
            kill(worker->pid, SIGTERM);
        await_end(worker->from);
        process_stop(worker->pid, 0);
    }
    cleanup_close(&worker->from);
}

/* 1: the worker has nothing more to say. */
static int hear_line(const struct convert_request *request, const char *line,
                     struct convert_result *result, bool *done, struct error **err)
{
    char text[CONVERT_TEXT];

    switch (message_parse(line, text, result, err)) {
    case MESSAGE_LINE:
        if (request->say)
            request->say(request->opaque, text);
        return 0;
    case MESSAGE_RESULT:
        *done = true;
        return 0;
    case MESSAGE_ERROR:
        return -1;
    case MESSAGE_NONSENSE:
        break;
    }
    return error_set(err, "the conversion's worker said '%.200s'", line);
}

/* 1: it has closed its end. */
static int hear(struct worker *worker, const struct convert_request *request,
                struct convert_result *result, bool *done, struct error **err)
{
    ssize_t n =
        read(worker->from, worker->line + worker->length, sizeof worker->line - 1 - worker->length);
    char *end;

    if (n <= 0)
        return n < 0 && errno == EINTR ? 0 : 1;
    worker->length += (size_t)n;
    worker->line[worker->length] = '\0';
    while ((end = strchr(worker->line, '\n')) != NULL) {
        *end = '\0';
        if (hear_line(request, worker->line, result, done, err) < 0)
            return -1;
        worker->length -= (size_t)(end + 1 - worker->line);
        memmove(worker->line, end + 1, worker->length + 1);
    }
    if (worker->length == sizeof worker->line - 1)
        return error_set(err, "the conversion's worker says a line without an end");
    return 0;
}

static int listen_to(struct worker *worker, const struct convert_request *request,
                     struct convert_result *result, struct error **err)
{
    unsigned limit = request->timeout_s ? request->timeout_s : CONVERT_TIMEOUT_S;
    double deadline = now_s() + limit;
    bool done = false;
    int r = 0;

    while (r == 0) {
        struct pollfd ready = { .fd = worker->from, .events = POLLIN };

        if (request->cancel && atomic_load(request->cancel))
            return error_set(err, "the conversion was cancelled");
        if (now_s() > deadline)
            return error_set(err, "the conversion took longer than %u s, and was stopped", limit);
        if (poll(&ready, 1, LOOK_MS) > 0)
            r = hear(worker, request, result, &done, err);
    }
    if (r < 0)
        return -1;
    return done ? 0 : error_set(err, "the conversion's worker died");
}

int convert_run(const struct convert_request *request, struct convert_result *result,
                struct error **err)
{
    CLEANUP(stop) struct worker worker = { .pid = -1, .from = -1 };
    double started = now_s();

    *result = (struct convert_result){ 0 };
    if (is_idle(request, result))
        return 0;
    if (start(&worker, request, err) < 0 || listen_to(&worker, request, result, err) < 0)
        return -1;
    result->seconds = now_s() - started;
    return 0;
}
