/* Starting other programs; see process.h. */
#include "process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define OUTPUT_MAX   ((size_t)64 << 20)
#define STDERR_KEPT  ((size_t)2048)
#define RUN_GRACE_MS 2000
#define STOP_LOOK_MS 100
#define LOOK_NS      2000000L

#define LISTEN_FD  3 /* where systemd's protocol has the first socket */
#define PID_DIGITS 10

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static size_t count_strings(const char *const *strings)
{
    size_t n = 0;

    while (strings && strings[n])
        n++;
    return n;
}

static bool same_variable(const char *a, const char *b)
{
    size_t length = strcspn(a, "=");

    return strncmp(a, b, length) == 0 && b[length] == '=';
}

/* The environment `own` with `add` over it. Only the array is allocated. */
static const char **merge_environment(const char *const *own, const char *const *add)
{
    size_t n = 0;
    const char **merged = calloc(count_strings(own) + count_strings(add) + 1, sizeof *merged);

    if (!merged)
        return NULL;
    for (size_t i = 0; own && own[i]; i++) {
        bool replaced = false;

        for (size_t j = 0; add && add[j] && !replaced; j++)
            replaced = same_variable(add[j], own[i]);
        if (!replaced)
            merged[n++] = own[i];
    }
    for (size_t j = 0; add && add[j]; j++)
        merged[n++] = add[j];
    return merged;
}

/* Whether the child keeps this descriptor. */
static bool kept(const int *keep_fds, int fd)
{
    for (size_t i = 0; keep_fds && keep_fds[i] >= 0; i++) {
        if (keep_fds[i] == fd)
            return true;
    }
    return false;
}

static bool listening(const struct process_options *options)
{
    return options->listen_fd >= LISTEN_FD;
}

/* From here to exec only async-signal-safe calls: other threads may hold locks. Returns -1
 * with errno: a program must not run with another's stdin. */
static int set_up_descriptors(const struct process_options *options)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int wanted[3] = { options->stdin_fd, options->stdout_fd, options->stderr_fd };
    unsigned first = LISTEN_FD;

    if (wanted[0] < 0)
        wanted[0] = null_fd;
    if (wanted[1] < 0)
        wanted[1] = null_fd;
    if (wanted[2] < 0)
        wanted[2] = STDERR_FILENO;
    /* Lift them out of 0..2 first, so that no dup2 overwrites one still needed. */
    for (int i = 0; i < 3; i++) {
        wanted[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, 3);
        if (wanted[i] < 0)
            return -1;
    }
    for (int i = 0; i < 3; i++)
        dup2(wanted[i], i);
    if (listening(options)) {
        if (options->listen_fd == LISTEN_FD)
            fcntl(LISTEN_FD, F_SETFD, 0);
        else
            dup2(options->listen_fd, LISTEN_FD);
        first = LISTEN_FD + 1;
    }

    for (size_t i = 0; options->keep_fds && options->keep_fds[i] >= 0; i++)
        fcntl(options->keep_fds[i], F_SETFD, 0);
    for (;;) { /* mark all others close-on-exec, in the runs between the kept ones */
        unsigned last = first;
        unsigned limit = 65536;

        while (last < limit && !kept(options->keep_fds, (int)last))
            last++;
        if (last > first)
            syscall(SYS_close_range, first, last >= limit ? ~0U : last - 1, 1U << 2);
        if (last >= limit)
            break;
        first = last + 1;
    }
    return 0;
}

/* LISTEN_PID must be the pid of the program itself, so the child writes it. */
static void write_pid(char *to)
{
    char digits[PID_DIGITS];
    size_t n = 0;

    for (pid_t pid = getpid(); pid > 0; pid /= 10)
        digits[n++] = (char)('0' + pid % 10);
    while (n > 0)
        *to++ = digits[--n];
    *to = '\0';
}

static void __attribute__((noreturn))
run_child(const char *const argv[], const char **environment, const struct process_options *options,
          pid_t parent, int report_fd, char *pid_digits)
{
    sigset_t blocked;
    int errnum;

    if (set_up_descriptors(options) < 0)
        goto failed;
    write_pid(pid_digits);
    if (options->die_with_parent) {
        signal(SIGTERM, SIG_DFL); /* the caller's handler, which we still have, would swallow it */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(127); /* it died before we asked */
    }
    if (options->own_group)
        setpgid(0, 0);
    sigemptyset(&blocked);
    if (options->block_sigterm)
        sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    execvpe(argv[0], (char *const *)argv, (char *const *)environment);
failed:
    errnum = errno;
    while (write(report_fd, &errnum, sizeof errnum) < 0 && errno == EINTR)
        ;
    _exit(127);
}

pid_t process_start(const char *const argv[], const struct process_options *options,
                    struct error **err)
{
    static const struct process_options defaults = PROCESS_OPTIONS_INIT;
    CLEANUP_FREE const char **environment = NULL;
    char listen_pid[sizeof "LISTEN_PID=" + PID_DIGITS] = "LISTEN_PID=";
    const char *activation[] = { "LISTEN_FDS=1", listen_pid, NULL };
    int report[2];
    int errnum = 0;
    ssize_t n;
    pid_t parent = getpid();
    pid_t pid;

    if (!options)
        options = &defaults;
    environment = merge_environment((const char *const *)environ, options->env);
    if (environment && listening(options)) {
        CLEANUP_FREE const char **without = steal_ptr(environment);

        if (kept(options->keep_fds, LISTEN_FD))
            return error_set_errno(err, EINVAL, "starting %s: descriptor %d", argv[0], LISTEN_FD);
        environment = merge_environment(without, activation);
    }
    if (!environment)
        return error_set_errno(err, ENOMEM, "starting %s", argv[0]);
    /* The pipe closes on exec: end of file says that the program runs. */
    if (pipe2(report, O_CLOEXEC) < 0)
        return error_set_errno(err, errno, "starting %s: pipe", argv[0]);
    if (report[1] == LISTEN_FD) {
        report[1] = fcntl(LISTEN_FD, F_DUPFD_CLOEXEC, LISTEN_FD + 1);
        close(LISTEN_FD);
    }
    pid = fork();
    if (pid < 0) {
        errnum = errno;
        close(report[0]);
        close(report[1]);
        return error_set_errno(err, errnum, "starting %s: fork", argv[0]);
    }
    if (pid == 0)
        run_child(argv, environment, options, parent, report[1],
                  listen_pid + strlen("LISTEN_PID="));
    close(report[1]);
    if (options->at_once) {
        close(report[0]);
        return pid;
    }
    do
        n = read(report[0], &errnum, sizeof errnum);
    while (n < 0 && errno == EINTR);
    close(report[0]);
    if (n == (ssize_t)sizeof errnum) {
        waitpid(pid, NULL, 0);
        return error_set_errno(err, errnum, "starting %s", argv[0]);
    }
    return pid;
}

/* Until it has ended; 0, or an errno. */
static int wait_until(int pidfd, int64_t deadline)
{
    struct pollfd ended = { .fd = pidfd, .events = POLLIN };

    for (;;) {
        int64_t left = deadline - now_ms();
        int r = poll(&ended, 1, left > 0 ? (int)left : 0);

        if (r > 0)
            return 0;
        if (r == 0 || errno != EINTR)
            return r == 0 ? ETIMEDOUT : errno;
    }
}

/* The same where the kernel, a container's filter or valgrind knows no pidfd. */
static int look_until(pid_t pid, int64_t deadline)
{
    for (;;) {
        siginfo_t info = { .si_pid = 0 };

        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno != EINTR)
            return errno;
        if (info.si_pid == pid)
            return 0;
        if (now_ms() >= deadline)
            return ETIMEDOUT;
        nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
    }
}

int process_wait(pid_t pid, int timeout_ms, int *status, struct error **err)
{
    if (timeout_ms >= 0) {
        int64_t deadline = now_ms() + timeout_ms;
        CLEANUP_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        int errnum = pidfd >= 0 ? wait_until(pidfd, deadline) : look_until(pid, deadline);

        if (errnum)
            return error_set_errno(err, errnum, "waiting for process %d", (int)pid);
    }
    while (waitpid(pid, status, 0) < 0) {
        if (errno != EINTR)
            return error_set_errno(err, errno, "waiting for process %d", (int)pid);
    }
    return 0;
}

void process_stop(pid_t pid, int grace_ms)
{
    CLEANUP_ERROR struct error *ignored = NULL;
    int status;

    if (pid <= 0)
        return;
    kill(pid, SIGTERM);
    if (process_wait(pid, grace_ms, &status, &ignored) == 0)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
}

/* A growing buffer that keeps all of a program's stdout, or the end of its stderr. */
struct sink {
    char *data;
    size_t length;
    size_t capacity;
};

static int sink_add(struct sink *sink, const char *data, size_t length)
{
    if (sink->length + length + 1 > sink->capacity) {
        size_t capacity = (sink->length + length + 1) * 2;
        char *grown = realloc(sink->data, capacity);

        if (!grown)
            return -1;
        sink->data = grown;
        sink->capacity = capacity;
    }
    memcpy(sink->data + sink->length, data, length);
    sink->length += length;
    sink->data[sink->length] = '\0';
    return 0;
}

/* Forget all but the last `kept_bytes`. */
static void sink_trim(struct sink *sink, size_t kept_bytes)
{
    if (sink->length <= 2 * kept_bytes)
        return;
    memmove(sink->data, sink->data + sink->length - kept_bytes, kept_bytes + 1);
    sink->length = kept_bytes;
}

static void cleanup_sink(struct sink *sink)
{
    free(sink->data);
}

static bool is_stopped(const struct process_watch *watch)
{
    return watch && watch->stop && atomic_load(watch->stop);
}

/* How long poll() may wait. */
static int wait_at_most(int64_t deadline, const struct process_watch *watch)
{
    if (deadline >= 0)
        return (int)(deadline - now_ms());
    return watch && watch->stop ? STOP_LOOK_MS : -1;
}

/* Read both pipes until both end. Returns 0, or an errno. */
static int drain(int out_fd, int err_fd, int64_t deadline, const struct process_watch *watch,
                 bool keep_out, struct sink *out, struct sink *errors)
{
    struct pollfd fds[2] = { { .fd = out_fd, .events = POLLIN },
                             { .fd = err_fd, .events = POLLIN } };
    char buf[16384];

    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        int left = wait_at_most(deadline, watch);
        int r;

        if (deadline >= 0 && left <= 0)
            return ETIMEDOUT;
        if (is_stopped(watch))
            return ECANCELED;
        r = poll(fds, 2, left);
        if (r < 0 && errno != EINTR)
            return errno;
        for (int i = 0; r > 0 && i < 2; i++) {
            ssize_t n;

            if (fds[i].fd < 0 || fds[i].revents == 0)
                continue;
            n = read(fds[i].fd, buf, sizeof buf);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0) {
                fds[i].fd = -1;
                continue;
            }
            if (i == 0 && watch && watch->hear)
                watch->hear(watch->opaque, buf, (size_t)n);
            if (i == 0 && !keep_out)
                continue;
            if (sink_add(i == 0 ? out : errors, buf, (size_t)n) < 0)
                return ENOMEM;
            if (i == 0 && out->length > OUTPUT_MAX)
                return EFBIG;
            if (i == 1)
                sink_trim(errors, STDERR_KEPT);
        }
    }
    return 0;
}

static int describe_failure(const char *program, int status, struct sink *errors,
                            struct error **err)
{
    const char *text = errors->data ? errors->data : "";

    while (errors->length > 0 && strchr("\n\r ", errors->data[errors->length - 1]))
        errors->data[--errors->length] = '\0';
    if (WIFSIGNALED(status))
        return error_set(err, "%s was killed by signal %d%s%s", program, WTERMSIG(status),
                         *text ? ": " : "", text);
    return error_set(err, "%s exited with status %d%s%s", program, WEXITSTATUS(status),
                     *text ? ": " : "", text);
}

static int run(const char *const argv[], int timeout_ms, const struct process_watch *watch,
               char **out, struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    CLEANUP(cleanup_sink) struct sink output = { 0 };
    CLEANUP(cleanup_sink) struct sink errors = { 0 };
    CLEANUP_CLOSE int out_read = -1;
    CLEANUP_CLOSE int out_write = -1;
    CLEANUP_CLOSE int err_read = -1;
    CLEANUP_CLOSE int err_write = -1;
    int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    int pipes[2];
    int status = 0;
    int errnum;
    pid_t pid;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return error_set_errno(err, errno, "starting %s: pipe", argv[0]);
    out_read = pipes[0];
    out_write = pipes[1];
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return error_set_errno(err, errno, "starting %s: pipe", argv[0]);
    err_read = pipes[0];
    err_write = pipes[1];
    options.stdout_fd = out_write;
    options.stderr_fd = err_write;
    options.die_with_parent = true;
    options.own_group = watch != NULL;
    pid = process_start(argv, &options, err);
    if (pid < 0)
        return -1;
    close(steal_fd(out_write));
    close(steal_fd(err_write));

    errnum = drain(out_read, err_read, deadline, watch, out != NULL, &output, &errors);
    if (errnum != 0) {
        process_stop(pid, RUN_GRACE_MS);
        return error_set_errno(err, errnum, "running %s", argv[0]);
    }
    if (process_wait(pid, -1, &status, err) < 0)
        return -1;
    if (status != 0)
        return describe_failure(argv[0], status, &errors, err);
    if (out) {
        if (!output.data && sink_add(&output, "", 0) < 0)
            return error_set_errno(err, ENOMEM, "running %s", argv[0]);
        *out = steal_ptr(output.data);
    }
    return 0;
}

int process_run(const char *const argv[], int timeout_ms, char **out, struct error **err)
{
    return run(argv, timeout_ms, NULL, out, err);
}

int process_run_watched(const char *const argv[], const struct process_watch *watch,
                        struct error **err)
{
    return run(argv, -1, watch, NULL, err);
}
