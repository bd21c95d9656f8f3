/* Child processes and their words; see crew.h. */
#include "commands/crew.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"

#define TICK_MS         200
#define OUT_MAX         (16U << 20)
#define LINE_MAX_LENGTH 8192

struct member {
    pid_t pid; /* -1: nobody */
    size_t index;
    int out, err; /* -1: at its end */
    char *text;   /* stdout so far */
    size_t length;
    char line[LINE_MAX_LENGTH];
    size_t line_length;
};

struct work {
    const struct crew *crew;
    struct member members[CREW_MAX];
    unsigned running;
    bool over; /* nothing is started any more */
    bool told; /* to stop */
    char program[4096];
};

static void close_member(struct member *member)
{
    cleanup_close(&member->out);
    cleanup_close(&member->err);
    free(member->text);
    *member = (struct member){ .pid = -1, .out = -1, .err = -1 };
}

static void stop_all(struct work *work)
{
    for (unsigned i = 0; i < CREW_MAX; i++) {
        if (work->members[i].pid > 0)
            process_stop(work->members[i].pid, 5000);
        close_member(&work->members[i]);
    }
}

static int start(struct work *work, unsigned slot, size_t index, struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    struct member *member = &work->members[slot];
    const char *argv[CREW_MAX + 1] = { work->program };
    int out[2], messages[2];

    work->crew->arguments(work->crew->opaque, index, argv + 1);
    if (pipe2(out, O_CLOEXEC) < 0)
        return error_set_errno(err, errno, "starting a worker");
    if (pipe2(messages, O_CLOEXEC) < 0) {
        int errnum = errno;

        close(out[0]);
        close(out[1]);
        return error_set_errno(err, errnum, "starting a worker");
    }
    options.stdout_fd = out[1];
    options.stderr_fd = messages[1];
    options.env = work->crew->env;
    options.die_with_parent = true;
    options.own_group = true;
    member->pid = process_start(argv, &options, err);
    close(out[1]);
    close(messages[1]);
    member->index = index;
    member->out = out[0];
    member->err = messages[0];
    if (member->pid < 0) {
        close_member(member);
        return -1;
    }
    work->running++;
    return 0;
}

static int fill(struct work *work, struct error **err)
{
    for (unsigned slot = 0; !work->over && slot < work->crew->parallel; slot++) {
        size_t index;

        if (work->members[slot].pid > 0)
            continue;
        switch (work->crew->next(work->crew->opaque, &index)) {
        case CREW_DONE:
            work->over = true;
            return 0;
        case CREW_WAIT:
            return 0;
        case CREW_RUN:
            if (start(work, slot, index, err) < 0)
                return -1;
        }
    }
    return 0;
}

static void take_out(struct member *member, const char *data, size_t length)
{
    char *grown;

    if (length > OUT_MAX - member->length)
        return;
    grown = realloc(member->text, member->length + length + 1);
    if (!grown)
        return;
    member->text = grown;
    memcpy(grown + member->length, data, length);
    member->length += length;
    grown[member->length] = '\0';
}

static void end_line(struct work *work, unsigned slot)
{
    struct member *member = &work->members[slot];

    member->line[member->line_length] = '\0';
    if (member->line_length > 0)
        work->crew->line(work->crew->opaque, member->index, slot, member->line);
    member->line_length = 0;
}

/* What does not fit into a line is left out. */
static void take_lines(struct work *work, unsigned slot, const char *data, size_t length)
{
    struct member *member = &work->members[slot];

    for (size_t i = 0; i < length; i++) {
        if (data[i] == '\n')
            end_line(work, slot);
        else if (member->line_length < sizeof member->line - 1)
            member->line[member->line_length++] = data[i];
    }
}

/* Closes *fd at its end. */
static void read_some(struct work *work, unsigned slot, int *fd)
{
    struct member *member = &work->members[slot];
    char data[8192];
    ssize_t n = read(*fd, data, sizeof data);

    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0) {
        if (fd == &member->err)
            end_line(work, slot);
        close(*fd);
        *fd = -1;
    } else if (fd == &member->out) {
        take_out(member, data, (size_t)n);
    } else {
        take_lines(work, slot, data, (size_t)n);
    }
}

/* What it said last; something that it started may hold its pipes open for longer. */
static void drain(struct work *work, unsigned slot)
{
    struct member *member = &work->members[slot];
    int *both[] = { &member->out, &member->err };

    for (int i = 0; i < 2; i++) {
        struct pollfd pollfd = { .fd = *both[i], .events = POLLIN };

        while (*both[i] >= 0 && poll(&pollfd, 1, 0) > 0)
            read_some(work, slot, both[i]);
    }
    end_line(work, slot);
}

static void conclude(struct work *work, unsigned slot, int status)
{
    struct member *member = &work->members[slot];

    drain(work, slot);
    member->pid = -1;
    work->running--;
    status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    work->crew->ended(work->crew->opaque, member->index, slot, status,
                      member->text ? member->text : "");
    close_member(member);
}

static void wait_and_read(struct work *work)
{
    struct pollfd pollfds[2 * CREW_MAX];
    int *fds[2 * CREW_MAX];
    unsigned slots[2 * CREW_MAX];
    nfds_t count = 0;

    for (unsigned slot = 0; slot < work->crew->parallel; slot++) {
        struct member *member = &work->members[slot];
        int *both[] = { &member->out, &member->err };

        for (int i = 0; i < 2; i++) {
            if (*both[i] < 0)
                continue;
            pollfds[count] = (struct pollfd){ .fd = *both[i], .events = POLLIN };
            slots[count] = slot;
            fds[count++] = both[i];
        }
    }
    if (poll(pollfds, count, TICK_MS) <= 0)
        return;
    for (nfds_t i = 0; i < count; i++) {
        if (pollfds[i].revents)
            read_some(work, slots[i], fds[i]);
    }
}

static void reap(struct work *work)
{
    for (unsigned slot = 0; slot < work->crew->parallel; slot++) {
        CLEANUP_ERROR struct error *running = NULL;
        int status;

        if (work->members[slot].pid > 0 &&
            process_wait(work->members[slot].pid, 0, &status, &running) == 0)
            conclude(work, slot, status);
    }
}

/* They end by themselves, in order. */
static void tell_all(struct work *work)
{
    if (work->told || !work->crew->cancel || !atomic_load(work->crew->cancel))
        return;
    work->told = work->over = true;
    for (unsigned slot = 0; slot < work->crew->parallel; slot++) {
        if (work->members[slot].pid > 0)
            kill(work->members[slot].pid, SIGTERM);
    }
}

static int run_all(struct work *work, struct error **err)
{
    do {
        tell_all(work);
        if (fill(work, err) < 0)
            return -1;
        wait_and_read(work);
        reap(work);
        if (work->crew->tick && work->crew->tick(work->crew->opaque, err) < 0)
            return -1;
    } while (work->running > 0 || !work->over);
    return 0;
}

int crew_run(const struct crew *crew, struct error **err)
{
    CLEANUP_FREE struct work *work = calloc(1, sizeof *work);
    ssize_t n;
    int r;

    if (!work)
        return error_set_errno(err, ENOMEM, "starting workers");
    work->crew = crew;
    n = readlink("/proc/self/exe", work->program, sizeof work->program - 1);
    if (n < 0)
        return error_set_errno(err, errno, "reading /proc/self/exe");
    for (unsigned i = 0; i < CREW_MAX; i++)
        work->members[i] = (struct member){ .pid = -1, .out = -1, .err = -1 };
    r = run_all(work, err);
    if (r < 0)
        stop_all(work);
    return r;
}
